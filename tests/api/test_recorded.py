"""Objects as kube-apiserver 1.37.2 answers: what it fills in of every kind, and what it says of wrong ones.

`recorded_defaults.json` has a place, an object, and the fields that a create adds to or changes in it, by
their paths. `recorded_refusals.json` has for some objects a place, the object, and cases: the one field that
is set to a value (or taken out, where there is no value), and all errors in their order. So does
`recorded_acceptance.json`, where some cases have no errors: they are accepted.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.server import Api, served

_HERE: Final = Path(__file__).parent
DEFAULTS: Final[list[Any]] = json.loads((_HERE / "recorded_defaults.json").read_text())
REFUSALS: Final[dict[str, Any]] = json.loads((_HERE / "recorded_refusals.json").read_text())
ACCEPTANCE: Final[dict[str, Any]] = json.loads((_HERE / "recorded_acceptance.json").read_text())
SETTING: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("/api/v1/namespaces", {"metadata": {"name": "t"}}),
    ("/api/v1/namespaces", {"metadata": {"name": "t2"}}),
    ("/api/v1/namespaces/t/serviceaccounts", {"metadata": {"name": "default"}}),
    ("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "high"}, "value": 100}),
    (
        "/apis/node.k8s.io/v1/runtimeclasses",
        {
            "metadata": {"name": "rc"},
            "handler": "runc",
            "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}},
            "scheduling": {
                "nodeSelector": {"a": "b"},
                "tolerations": [{"key": "k", "operator": "Exists"}],
            },
        },
    ),
)


async def prepare(api: Api) -> None:
    for place, body in SETTING:
        (await api.post(place, body)).ok(201)


def at(value: Any, path: str) -> Any:
    """The value at `a.b.0.c`; the names of some fields have dots in them."""
    if not path:
        return value
    if isinstance(value, list):
        first, _, rest = path.partition(".")
        return at(value[int(first)], rest)
    for name in sorted(value or {}, key=len, reverse=True):
        if path == name:
            return value[name]
        if path.startswith(name + "."):
            return at(value[name], path[len(name) + 1 :])
    return None


def changed(body: Any, path: list[Any], *value: Any) -> Any:
    """The body with the value at the path; without a value, with nothing there."""
    if not path:
        return value[0]
    whole = deepcopy(body)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if value:
        inner[path[-1]] = value[0]
    else:
        del inner[path[-1]]
    return whole


@served
async def test_defaults(api: Api) -> None:
    await prepare(api)
    wrong = []
    for place, body, filled in DEFAULTS:
        made = await api.post(place, body, dryRun="All")
        if made.code != 201:
            wrong.append((body["kind"], body["metadata"]["name"], made.message))
            continue
        for path, value in filled.items():
            found = at(made.json, path)
            if found != value:
                wrong.append((body["kind"], body["metadata"]["name"], path, value, found))
    assert not wrong


@pytest.mark.parametrize("name", REFUSALS)
@served
async def test_refusals(api: Api, name: str) -> None:
    await prepare(api)
    place, body, cases = REFUSALS[name]
    for change, errors in cases:
        answer = await api.post(place, changed(body, *change), dryRun="All")
        answer.refused(422, "Invalid")
        causes = answer.json["details"]["causes"]
        assert [f"{cause['field']}: {cause['message']}" for cause in causes] == errors, (name, change)


@pytest.mark.parametrize("name", ACCEPTANCE)
@served
async def test_acceptance(api: Api, name: str) -> None:
    await prepare(api)
    place, body, cases = ACCEPTANCE[name]
    wrong = []
    for change, errors in cases:
        answer = await api.post(place, changed(body, *change), dryRun="All")
        causes = answer.json.get("details", {}).get("causes", [])
        found = [f"{cause['field']}: {cause['message']}" for cause in causes]
        if (answer.code, found) != ((422, errors) if errors else (201, [])):
            wrong.append((change, errors, answer.code, found))
    assert not wrong
