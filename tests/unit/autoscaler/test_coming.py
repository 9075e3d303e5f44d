"""Which nodes are on their way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sampan.autoscaler.nodes.coming import SETTLED, look_out
from sampan.autoscaler.nodes.config import parse
from sampan.schema import api

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_S = 10_000.0
GROUP = {
    "name": "g",
    "max": 5,
    "provider": "simulated",
    "template": {"capacity": {"cpu": "2", "memory": "4Gi"}},
}
CONFIG = parse({"groups": [GROUP], "maxNodeProvisionTimeS": 900})
WAITS, LATE, STUCK = "on its way", "late", "stuck"


def node(ready: bool, age_s: float = 0.0) -> api.Node:
    said = api.NodeCondition(type="Ready", status="True" if ready else "Unknown")
    created = NOW - timedelta(seconds=age_s)
    return api.Node(
        metadata=api.ObjectMeta(name="a", creationTimestamp=created), status=api.NodeStatus(conditions=[said])
    )


@pytest.mark.parametrize(
    ("seen_s", "found", "is_", "since_s"),
    [
        (None, None, WAITS, NOW_S),
        (NOW_S - 899, None, WAITS, NOW_S - 899),
        (NOW_S - 900, None, LATE, NOW_S - 900),
        (None, node(False), WAITS, NOW_S),
        (NOW_S - 899, node(False), WAITS, NOW_S - 899),
        (NOW_S - 900, node(False), STUCK, SETTLED),
        # A new manager goes by when the node registered.
        (None, node(False, 899), WAITS, NOW_S - 899),
        (None, node(False, 900), STUCK, SETTLED),
        (None, node(True), "", SETTLED),
        (NOW_S - 5, node(True), "arrived", SETTLED),
        # Those that were Ready once are not on their way, whatever became of them.
        (SETTLED, node(True), "", SETTLED),
        (SETTLED, node(False), "", SETTLED),
        (SETTLED, None, "", SETTLED),
    ],
)
def test_what_a_node_is(seen_s: float | None, found: api.Node | None, is_: str, since_s: float) -> None:
    seen = {} if seen_s is None else {"a": seen_s}
    nodes = {} if found is None else {"a": found}
    coming = look_out(CONFIG, {"g": ["a"]}, nodes, seen, NOW, NOW_S)
    told = {
        WAITS: coming.upcoming == {"g": ("a",)},
        LATE: coming.late == (("g", "a"),),
        STUCK: coming.stuck == (("g", "a"),),
        "arrived": coming.arrived == ("g",),
    }
    assert [name for name, holds in told.items() if holds] == ([is_] if is_ else [])
    assert coming.seen == {"a": since_s}


def test_what_left_its_group_is_forgotten() -> None:
    assert look_out(CONFIG, {"g": []}, {}, {"a": 5.0}, NOW, NOW_S).seen == {}
