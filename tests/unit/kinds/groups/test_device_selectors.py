"""Expressions of device selectors are looked at when written: do they compile, and what may they cost."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.groups.resource.claims import CLAIM, TEMPLATE
from sampan.kinds.groups.resource.devices import DEVICE_CLASS
from sampan.schema import api, codec

TEN = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
GOOD = 'device.driver == "gpu.example.com" && device.attributes["gpu.example.com"].model == "a"'
DEAR = "device.attributes.all(a, ".join(("", "", "", "", "")) + "a != 'x'" + ")" * 4


def _class(*expressions: str) -> Any:
    spec = {"selectors": [{"cel": {"expression": each}} for each in expressions]}
    return codec.from_builtins({"metadata": {"name": "gpu"}, "spec": spec}, api.DeviceClass)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (GOOD, ""),
        ('device.attributes["a.example.com"].version.major() >= 1', ""),
        ('device.capacity["a.example.com"].memory.isGreaterThan(quantity("1Gi"))', ""),
        ('device.attributes["a.example.com"].healthy', ""),  # of the unknown type
        ("device.driver ==", "compilation failed: ERROR: <input>:1:17: Syntax error"),
        ("pod.name == 'a'", "undeclared reference to 'pod'"),
        ("1 + 1", "must evaluate to bool or the unknown type, not int"),
        (DEAR, "Forbidden: too complex, exceeds cost limit"),
        (f"{TEN}.all(a, {TEN}.all(b, a != b))", ""),
    ],
)
def test_an_expression_is_good_or_it_is_said_why_not(expression: str, expected: str) -> None:
    told = [str(error) for error in DEVICE_CLASS.validate_create(_class(expression))]
    if not expected:
        assert told == []
        return
    assert len(told) == 1
    assert told[0].startswith("spec.selectors[0].cel.expression: ")
    assert expected in told[0]


def test_what_is_stored_is_not_looked_at_again() -> None:
    old = _class("pod.name == 'a'")
    assert DEVICE_CLASS.validate_update(_class("pod.name == 'a'"), old) == []
    assert len(DEVICE_CLASS.validate_update(_class(GOOD, "device.driver =="), old)) == 1


def test_claims_and_templates_are_looked_at_in_all_their_requests() -> None:
    selectors = [{"cel": {"expression": "1"}}]
    wanted = {"deviceClassName": "gpu", "selectors": selectors}
    requests = [
        {"name": "one", "exactly": wanted},
        {"name": "two", "firstAvailable": [{"name": "a", **wanted}, {"name": "b", **wanted}]},
    ]
    spec = {"devices": {"requests": requests}}
    claim = codec.from_builtins({"metadata": {"name": "c"}, "spec": spec}, api.ResourceClaim)
    found = [str(error).partition(":")[0] for error in CLAIM.validate_create(claim)]
    at = "spec.devices.requests"
    assert found == [
        f"{at}[0].exactly.selectors[0].cel.expression",
        f"{at}[1].firstAvailable[0].selectors[0].cel.expression",
        f"{at}[1].firstAvailable[1].selectors[0].cel.expression",
    ]
    template = codec.from_builtins({"spec": {"spec": spec}}, api.ResourceClaimTemplate)
    assert [str(e).partition(":")[0] for e in TEMPLATE.validate_create(template)] == [
        each.replace("spec.", "spec.spec.", 1) for each in found
    ]
