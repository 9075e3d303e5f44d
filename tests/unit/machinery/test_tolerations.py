"""One table for everybody who matches tolerations with taints."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.tolerations import mentions, tolerated, tolerates, untolerated
from sampan.schema import api

TAINT = api.Taint(key="k", value="v", effect="NoSchedule")


def toleration(**given: Any) -> api.Toleration:
    return api.Toleration(**given)


@pytest.mark.parametrize(
    ("given", "covers"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k"}, False),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "operator": "Near", "value": "v"}, False),
    ],
)
def test_tolerates(given: dict[str, Any], covers: bool) -> None:
    assert tolerates(toleration(**given), TAINT) is covers
    device = api.DeviceTaint(key="k", value="v", effect="NoSchedule")
    assert tolerates(api.DeviceToleration(**given), device) is covers


@pytest.mark.parametrize(
    ("operator", "wanted", "present", "covers"),
    [
        ("Lt", "5", "4", True),
        ("Lt", "5", "5", False),
        ("Gt", "5", "6", True),
        ("Gt", "-5", "-4", True),
        ("Gt", "5", "06", False),  # leading zeros are no number
        ("Gt", "5", "x", False),
        ("Lt", "", "4", False),
        ("Gt", "9" * 30, "1" + "0" * 30, True),
    ],
)
def test_numbers(operator: str, wanted: str, present: str, covers: bool) -> None:
    taint = api.Taint(key="k", value=present, effect="NoSchedule")
    assert tolerates(toleration(key="k", operator=operator, value=wanted), taint) is covers


def test_of_several() -> None:
    soft = api.Taint(key="soft", effect="PreferNoSchedule")
    own = [toleration(key="k", operator="Exists")]
    assert tolerated(TAINT, own) and not tolerated(soft, own)
    assert not untolerated([TAINT, soft], own) and untolerated([TAINT, soft], [])


@pytest.mark.parametrize(
    ("given", "speaks"),
    [
        ({"key": "k", "operator": "Equal", "value": "whatever"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "other"}, False),
    ],
)
def test_mentions(given: dict[str, Any], speaks: bool) -> None:
    assert mentions(toleration(**given), "k", "NoExecute") is speaks
