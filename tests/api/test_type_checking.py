"""What the status of a ValidatingAdmissionPolicy says of expressions that do not fit its kinds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import MERGE, Api, served
from tests.api.test_admission_policies import POLICIES, match
from tests.api.test_customresources import define

DEPLOYMENT = {**match()["resourceRules"][0], "apiVersions": ["v1"]}
TABS = {**DEPLOYMENT, "apiGroups": ["stable.example.com"], "resources": ["crontabs"]}


async def looked_at(api: Api, generation: int = 1) -> dict[str, Any]:
    """The status once the policy's generation is observed."""
    watch = await api.watch(POLICIES)
    while True:
        found: dict[str, Any] = (await watch.next())["object"]
        if found["status"].get("observedGeneration") == generation:
            await watch.close()
            return found["status"]


async def warned(api: Api, *rules: Any, **spec: Any) -> list[dict[str, str]]:
    body = {"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": list(rules)}, **spec}}
    (await api.post(POLICIES, body)).ok(201)
    return (await looked_at(api))["typeChecking"].get("expressionWarnings", [])


@pytest.mark.parametrize(
    ("expression", "warning"),
    [
        ("object.spec.replicas > 1", ""),
        (
            "object.replicas > 1",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n"
            " | object.replicas > 1\n"
            " | ......^",
        ),
        (
            "object.spec.replicas > '1'",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to "
            "'(int, string)'\n"
            " | object.spec.replicas > '1'\n"
            " | .....................^",
        ),
        (
            "object.spec.template.spec.containers.all(c, c.imag == 'x') &&\n oldObject.nope == 1",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:46: undefined field 'imag'\n"
            " | object.spec.template.spec.containers.all(c, c.imag == 'x') &&\n"
            " | .............................................^\n"
            "ERROR: <input>:2:11: undefined field 'nope'\n"
            " |  oldObject.nope == 1\n"
            " | ..........^",
        ),
        ("has(object.spec.paused) && object.metadata.labels.anything == 'x'", ""),
        ("object.metadata.labels['a'] == 'b' && object.spec.replicas == params.x", ""),
        ("object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')", ""),
        ("object.spec.strategy.rollingUpdate.maxSurge == 1", ""),
        ("object.spec.template.spec.containers[0].resources.limits['cpu'] == '1'", ""),
        ("variables.spec.replicas == 1 && variables.spec.replica == 1", "undefined field 'replica'"),
        ("object.metadata.name.first == 'a'", "type 'string' does not support field selection"),
        ("object.spec.paused && object.spec.replicas", "found no matching overload for '_&&_'"),
    ],
)
@served
async def test_warnings(api: Api, expression: str, warning: str) -> None:
    validations = [{"expression": "true"}, {"expression": expression, "message": "no"}]
    spec = {
        "validations": validations,
        "variables": [{"name": "spec", "expression": "object.spec"}],
        "paramKind": {"apiVersion": "nobody.example.com/v1", "kind": "Limit"},
    }
    found = await warned(api, DEPLOYMENT, **spec)
    if not warning:
        assert found == []
        return
    (only,) = found
    assert only["fieldRef"] == "spec.validations[1].expression"
    if warning.startswith("apps/v1"):
        assert only["warning"] == warning
    else:
        assert warning in only["warning"]


@served
async def test_kinds_are_custom_ones_too_and_parameters_have_types(api: Api) -> None:
    await define(api)
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [
            {
                "expression": "object.spec.replicas < int(params.data.max)",
                "messageExpression": "'at most ' + params.max",
            },
            {"expression": "object.spec.cronSpec == 'x'"},
        ],
    }
    found = await warned(api, DEPLOYMENT, TABS, **spec)
    assert [each["fieldRef"] for each in found] == [
        "spec.validations[0].messageExpression",
        "spec.validations[1].expression",
    ]
    both, one = (each["warning"] for each in found)
    assert both.startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:20: undefined field 'max'")
    assert "\nstable.example.com/v1, Kind=CronTab: ERROR: <input>:1:20: undefined field 'max'" in both
    assert one.startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'cronSpec'")
    assert "CronTab" not in one


@pytest.mark.parametrize(
    "rule",
    [
        {**DEPLOYMENT, "apiGroups": ["*"]},
        {**DEPLOYMENT, "resources": ["deployments/scale"]},
        {**DEPLOYMENT, "resources": ["nothings"]},
    ],
)
@served
async def test_rules_that_name_no_kind(api: Api, rule: Any) -> None:
    assert await warned(api, rule, validations=[{"expression": "object.nope == 1"}]) == []


@served
async def test_each_generation_is_looked_at(api: Api) -> None:
    assert len(await warned(api, DEPLOYMENT, validations=[{"expression": "object.nope == 1"}])) == 1
    mended = {"spec": {"validations": [{"expression": "object.spec.replicas == 1"}]}}
    (await api.patch(f"{POLICIES}/p", mended, MERGE)).ok()
    status = await looked_at(api, 2)
    assert not status["typeChecking"].get("expressionWarnings")
    # Nobody writes it again, and clients do not write it with the rest.
    before = (await api.get(f"{POLICIES}/p")).ok()
    after = (await api.put(f"{POLICIES}/p", {**before, "status": {}})).ok()
    assert after == before
