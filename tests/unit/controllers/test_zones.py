"""Zones that fall silent: the more of one is silent, the slower pods are driven away from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sampan.client.cache import Cache
from sampan.controllers import nodelifecycle, zones
from sampan.controllers.runtime.controller import Key
from sampan.controllers.taints import MANAGED_NO_EXECUTE, NO_EXECUTE
from sampan.schema import api
from tests.fakes.managed import managed
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ZONE = "topology.kubernetes.io/zone"


def node(name: str, ready: str = "True", zone: str = "a", since: datetime = NOW) -> api.Node:
    condition = api.NodeCondition(
        type="Ready", status=ready, lastHeartbeatTime=since, lastTransitionTime=since
    )
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(name=name, labels={ZONE: zone}),
        status=api.NodeStatus(conditions=[condition]),
    )


@pytest.mark.parametrize(
    ("ready", "silent", "wanted"),
    [
        (3, 0, zones.NORMAL),
        (0, 0, zones.NORMAL),
        (1, 2, zones.NORMAL),  # too few to be sure
        (2, 3, zones.PARTIAL),
        (3, 3, zones.NORMAL),
        (0, 1, zones.FULL),
        (0, 9, zones.FULL),
    ],
)
def test_the_state_of_a_zone(ready: int, silent: int, wanted: str) -> None:
    assert zones.state(ready, silent) == wanted


@pytest.mark.parametrize(
    ("zone", "wanted"),
    [
        (zones.Zone(ready=9, silent=1), 0.1),
        (zones.Zone(ready=2, silent=8), 0.0),  # small, and most of it silent
        (zones.Zone(ready=10, silent=90), 0.01),
        (zones.Zone(ready=0, silent=90), 0.1),  # other zones are well: this one is gone
        (zones.Zone(ready=0, silent=90, any_ready=False), 0.0),
    ],
)
def test_how_many_nodes_a_second_are_emptied(zone: zones.Zone, wanted: float) -> None:
    assert zones.rate_per_s(zone) == wanted


def test_nodes_take_turns() -> None:
    assert zones.due(zones.Zone(9, 1), NOW) == NOW
    assert zones.due(zones.Zone(9, 2, before=1), NOW) == NOW + timedelta(seconds=10)
    recently = NOW - timedelta(seconds=4)
    assert zones.due(zones.Zone(9, 2, driven_at=recently), NOW) == NOW + timedelta(seconds=6)
    assert zones.due(zones.Zone(9, 2, driven_at=NOW - timedelta(seconds=60)), NOW) == NOW
    assert zones.due(zones.Zone(1, 9), NOW) is None


def test_who_has_been_silent_for_longest_goes_first() -> None:
    nodes: Cache[api.Node] = Cache(zones.INDEXES)
    for name, age_s in (("x", 5), ("y", 50), ("z", 500)):
        nodes.put(node(name, "Unknown", since=NOW - timedelta(seconds=age_s)))
    for name in ("r1", "r2", "r3", "r4"):
        nodes.put(node(name))
    order = {one: zones.look_up(nodes, node_of(nodes, one)).before for one in ("x", "y", "z")}
    assert order == {"z": 0, "y": 1, "x": 2}


def node_of(nodes: Cache[api.Node], name: str) -> api.Node:
    found = nodes.get("", name)
    assert found is not None
    return found


def test_only_a_change_of_state_concerns_the_others() -> None:
    nodes: Cache[api.Node] = Cache(zones.INDEXES)
    for number in range(5):
        nodes.put(node(f"n{number}", "Unknown" if number < 2 else "True"))
    nodes.put(node("far", zone="b"))
    changed = node("n2", "Unknown")
    nodes.put(changed)
    assert set(zones.concerned(nodes, changed)) == {"n0", "n1", "n2"}  # 3 of 5: partial now
    again = node("far", "Unknown", zone="b")
    nodes.put(again)
    assert set(zones.concerned(nodes, again)) == {"far"}
    few: Cache[api.Node] = Cache(zones.INDEXES)
    for number in range(20):
        few.put(node(f"n{number}", "Unknown" if number < 2 else "True"))
    assert list(zones.concerned(few, node_of(few, "n1"))) == []


def driven(nodes: list[api.Node]) -> list[str]:
    return sorted(
        one.metadata.name or ""
        for one in nodes
        if any(t.effect == NO_EXECUTE and t.key in MANAGED_NO_EXECUTE for t in one.spec.taints)
    )


@pytest.mark.parametrize(
    ("well", "silent", "counts"),
    [
        # After the first, one each ten seconds.
        (6, 3, (1, 2, 3)),
        # Most of a small zone: none, however long it lasts.
        (2, 4, (0, 0, 0)),
    ],
)
def test_nodes_are_emptied_one_after_the_other(well: int, silent: int, counts: tuple[int, ...]) -> None:
    async def main() -> None:
        async with managed([nodelifecycle.controller()]) as running:
            start = running.clock.now()
            for number in range(well):
                running.server.put(node(f"well-{number}", since=start + timedelta(days=1)))
            for number in range(silent):
                running.server.put(node(f"mute-{number}", "Unknown", since=start))
            running.server.put(node("other", zone="b", since=start + timedelta(days=1)))
            seen = []
            for _ in counts:
                await running.clock.advance(1)
                await running.quiet()
                seen.append(len(driven((await running.client.list(api.Node)).items)))
                await running.clock.advance(9.5)
            assert tuple(seen) == counts

    run(main())


def test_a_whole_zone_that_is_gone_is_emptied_at_the_usual_rate() -> None:
    async def main() -> None:
        async with managed([nodelifecycle.controller()]) as running:
            start = running.clock.now()
            for number in range(4):
                running.server.put(node(f"mute-{number}", "Unknown", since=start))
            await running.clock.advance(60)
            await running.quiet()
            assert driven((await running.client.list(api.Node)).items) == []  # nobody is ready: it may be us
            running.server.put(node("other", zone="b", since=start + timedelta(days=1)))
            await running.clock.advance(25)
            await running.quiet()
            assert len(driven((await running.client.list(api.Node)).items)) == 3
            assert running.manager.waiting_for("node-lifecycle", Key("", "mute-3")) == "a sign of life"

    run(main())
