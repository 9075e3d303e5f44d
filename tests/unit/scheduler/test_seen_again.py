"""Pods that have a node are seen again and again; only what they take, and their end, makes a difference."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.scheduler.cycle import Engine
from sampan.scheduler.framework import SCALE_DOWN, UPDATE, UPDATE_LABELS, Event
from sampan.scheduler.podinfo import PodInfos
from sampan.scheduler.registry import default_profile
from sampan.scheduler.requests import demand
from sampan.schema import api, codec
from tests.unit.scheduler.harness import World, end, turns
from tests.unit.scheduler.objects import container, node, pod, table, taint

ZONE = "topology.kubernetes.io/zone"
RUNS: dict[str, Any] = {"phase": "Running", "containerStatuses": [{"name": "c", "ready": True}]}
EMPTY: dict[str, Any] = {"containerStatuses": [{"name": "c", "ready": True, "resources": {}}]}
SAYS: dict[str, Any] = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "1"}}]}
GREW: dict[str, Any] = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}}]}


def _with(known: api.Pod, status: dict[str, Any]) -> api.Pod:
    return replace(known, status=codec.from_builtins(status, api.PodStatus))


def _labelled(known: api.Pod, labels: dict[str, str]) -> api.Pod:
    return replace(known, metadata=replace(known.metadata, labels=labels))


def _deleted(known: api.Pod) -> api.Pod:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return replace(known, metadata=replace(known.metadata, deletionTimestamp=moment))


@pytest.mark.parametrize("status", [{}, RUNS, EMPTY, SAYS, GREW])
@pytest.mark.parametrize("labels", [{}, {"a": "b"}])
def test_what_is_known_of_a_pod_is_the_same_whoever_knew_it_before(
    status: dict[str, Any], labels: dict[str, str]
) -> None:
    infos = PodInfos()
    first = pod("a", containers=[container(cpu="1")])
    seen = _labelled(_with(first, status), labels)
    afresh, again = infos.of(seen), infos.of(seen, infos.of(first))
    assert again.template is afresh.template
    assert again.demand == afresh.demand == demand(seen)
    assert (again.key, again.uid, again.priority) == (afresh.key, afresh.uid, afresh.priority)
    assert again.pod is seen


def _seen(*changes: Any) -> tuple[list[frozenset[str]], int, bool]:
    """The actions that are told of when a pod of one CPU on n1 is seen again, what it then takes of the node
    in thousandths, and whether it counts as on its way out."""

    async def main() -> tuple[list[frozenset[str]], int, bool]:
        world = World(1)
        world.put_node("n1")
        held = pod("p1", containers=[container(cpu="1")], nodeName="n1")
        world.pods.set("p1", held)
        world.deliver_everything()
        told: list[Event | None] = []
        scheduler = world.scheduler
        scheduler._watching.happened = told.append  # type: ignore[method-assign,assignment]
        for change in changes:
            held = change(held)
            world.pods.set("p1", held)
            world.deliver_everything()
        world.check_table()
        placed = scheduler.world.placed[("default", "p1")]
        assert placed.pod.pod is held
        takes = int(scheduler.world.table.requested("cpu")[scheduler.world.table.rows["n1"]])
        return [event.actions for event in told if event is not None], takes, placed.pod.terminating

    return asyncio.run(main())


@pytest.mark.parametrize("status", [RUNS, EMPTY, SAYS])
def test_a_status_that_says_what_was_asked_for_is_no_event(status: dict[str, Any]) -> None:
    assert _seen(lambda held: _with(held, status), lambda held: _with(held, RUNS)) == ([], 1000, False)


def test_a_deletion_is_an_event() -> None:
    assert _seen(_deleted) == ([frozenset({UPDATE})], 1000, True)


def test_new_labels_are_an_event() -> None:
    assert _seen(lambda held: _labelled(held, {"a": "b"})) == ([frozenset({UPDATE_LABELS})], 1000, False)


def test_what_a_container_was_given_or_gives_back_counts() -> None:
    grown = _seen(lambda held: _with(held, GREW))
    assert grown == ([], 2000, False)
    shrunk = _seen(lambda held: _with(held, GREW), lambda held: _with(held, SAYS))
    assert shrunk == ([frozenset({SCALE_DOWN})], 1000, False)
    both = _seen(lambda held: _with(held, GREW), lambda held: _deleted(_with(held, RUNS)))
    assert both == ([frozenset({SCALE_DOWN, UPDATE})], 1000, True)


@pytest.mark.parametrize(
    "there",
    [node("a"), node("a", taints=[taint("x")]), node("a", unschedulable=True), node("b")],
    ids=["well", "tainted", "cordoned", "another"],
)
@pytest.mark.parametrize("asked", ["1", "5"])
def test_pods_of_one_shape_that_name_their_node_are_told_what_the_first_is(
    there: api.Node, asked: str
) -> None:
    """What was worked out for the first holds for the others, until nodes change."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    world = table(node("x"), there)
    engine = Engine(default_profile(), world)

    def wanting(name: str) -> api.Pod:
        wants = [container(cpu=asked)]
        return pod(name, containers=wants, affinity={"nodeAffinity": required})

    first, second = (engine.decide(world.infos.of(wanting(name)), lambda rows: rows[0]) for name in "pq")
    afresh = Engine(default_profile(), world).decide(world.infos.of(wanting("r")), lambda rows: rows[0])
    assert first == second == afresh
    expected = there.metadata.name == "a" and not there.spec.taints and not there.spec.unschedulable
    assert bool(first.node) == (expected and asked == "1")
    world.put_node(node("a"))
    world.place(world.infos.of(wanting("s")), "a")
    assert bool(engine.decide(world.infos.of(wanting("t")), lambda rows: rows[0]).node) == (asked == "1")


def _bound_in_a_zone(labels: dict[str, str]) -> tuple[list[Event | None], dict[str, str]]:
    """The events when a pod that was decided for a node of zone z is seen there with these labels, and with
    which labels it then counts."""

    async def main() -> tuple[list[Event | None], dict[str, str]]:
        world = World(1)
        world.nodes.set("n1", node("n1", labels={ZONE: "z"}))
        held = pod("p1", containers=[container(cpu="1")])
        world.pods.set("p1", held)
        running = asyncio.create_task(world.scheduler.run())
        try:
            world.deliver_everything()
            await turns()
            told: list[Event | None] = []
            world.scheduler._watching.happened = told.append  # type: ignore[method-assign]
            seen = replace(_labelled(held, labels), spec=replace(held.spec, nodeName="n1"))
            world.pods.set("p1", seen)
            world.deliver_everything()
            placed = world.scheduler.world.placed[("default", "p1")]
            assert (placed.node, placed.assumed, placed.pod.pod) == ("n1", False, seen)
            return told, dict(placed.pod.labels)
        finally:
            await end(running)

    return asyncio.run(main())


def test_the_labels_that_a_pod_gets_from_its_node_are_foreseen() -> None:
    assert _bound_in_a_zone({ZONE: "z"}) == ([], {ZONE: "z"})
    # A server of before 1.35 gives none: that is taken over when it is seen.
    assert _bound_in_a_zone({})[1] == {}
