"""Pod groups: who may be tried, the cycle of a group, and that no gang is ever bound in part."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.scheduler import gangdryrun, gangs, groupcycle
from sampan.scheduler.cycle import Engine
from sampan.scheduler.ganging import condition, whole_groups
from sampan.scheduler.preemption import Preemption, Victims
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.scheduler.world import World as Table
from sampan.schema import api, codec
from tests.unit.scheduler.harness import CPUS, World, end, start, turns
from tests.unit.scheduler.objects import container, node, pod


def group(name: str = "g", least: int = 0, **spec: Any) -> api.PodGroupV1beta1:
    policy = {"gang": {"minCount": least}} if least else {"basic": {}}
    meta = {"name": name, "namespace": "default", "uid": f"group-{name}"}
    whole = {"metadata": meta, "spec": {"schedulingPolicy": policy, **spec}}
    return codec.from_builtins(whole, api.PodGroupV1beta1)


def member(name: str, cpu: str = "1", of: str = "g", **spec: Any) -> api.Pod:
    return pod(name, containers=[container(cpu=cpu)], **{"schedulingGroup": {"podGroupName": of}, **spec})


def world(nodes: list[api.Node], pods: list[api.Pod], *groups: api.PodGroupV1beta1) -> Table:
    return world_of(Snapshot(nodes, pods, {api.PodGroupV1beta1: groups}))


def sized(name: str, cpu: int, **labels: str) -> api.Node:
    return node(name, labels=labels, allocatable={"cpu": str(cpu), "memory": "8Gi", "pods": "10"})


def contents(table: Table) -> Any:
    return table.table.contents()


# -- who may be tried ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "there", "why"),
    [
        ((), ["a"], 'waiting for pod\'s pod group "g" to appear in scheduling queue'),
        ((group(least=2),), ["a"], gangs.TOO_FEW),
        ((group(least=2),), ["a", "b"], ""),
        ((group(),), ["a"], ""),
        ((group("other", least=1),), ["a"], 'waiting for pod\'s pod group "g" to appear in scheduling queue'),
    ],
)
def test_pods_wait_until_their_group_is_there(groups: Any, there: list[str], why: str) -> None:
    members = [member(name) for name in there]
    assert world([], members, *groups).gangs.waits_for(members[0]) == why


def test_pods_that_end_or_go_count_no_more() -> None:
    ended, going = member("a", status=None), member("b")
    table = world([], [ended, going, member("c")], group(least=3))
    assert table.gangs.waits(("default", "g")) == ""
    table.gangs.see(pod("a", status={"phase": "Failed"}, schedulingGroup={"podGroupName": "g"}))
    assert table.gangs.waits(("default", "g")) == gangs.TOO_FEW
    table.gangs.see(member("d"))
    assert table.gangs.waits(("default", "g")) == ""
    table.gangs.see(going, gone=True)
    assert list(table.gangs.members(("default", "g"))) == [("default", "c"), ("default", "d")]


def test_a_pod_of_a_group_that_nobody_serves_is_a_pod_like_any_other() -> None:
    table = world_of(Snapshot([sized("n", 2)], [], {}))
    assert table.gangs.waits_for(member("a")) == ""


# -- the cycle -------------------------------------------------------------------------------------------


def run(
    table: Table, names: list[str], least: int, scheduled: int = 0, cpu: str = "1"
) -> groupcycle.GroupCycle:
    engine = Engine(default_profile(), table)
    table.gangs.see_all(member(name) for name in names)
    pods = [table.infos.of(member(name, cpu)) for name in names]
    return groupcycle.run(engine, pods, least, scheduled, lambda rows: rows[0])


@pytest.mark.parametrize(
    ("cpus", "names", "least", "scheduled", "placed", "message"),
    [
        ((2, 2), "abcd", 4, 0, 4, ""),
        ((2, 1), "abcd", 4, 0, 3, "minCount (4) cannot be satisfied: 3 scheduled, 0 remaining"),
        ((1, 0), "abcd", 4, 0, 1, "minCount (4) cannot be satisfied: 1 scheduled, 2 remaining"),
        ((2, 1), "abcd", 3, 0, 3, ""),  # more than enough: the fourth waits by itself
        ((2, 0), "ab", 4, 2, 2, ""),
        ((1, 0), "ab", 4, 2, 1, "minCount (4) cannot be satisfied: 3 scheduled, 0 remaining"),
        ((1, 0), "abc", 1, 0, 1, ""),
    ],
)
def test_all_or_nothing(
    cpus: tuple[int, int], names: str, least: int, scheduled: int, placed: int, message: str
) -> None:
    table = world([sized("n1", cpus[0]), sized("n2", cpus[1])], [], group(least=least))
    before = contents(table)
    cycle = run(table, list(names), least, scheduled)
    assert (len(cycle.taken), cycle.message, cycle.succeeded) == (placed, message, not message)
    cycle.undo()
    assert contents(table) == before and not table.placed


def test_the_cycle_leaves_nothing_behind_where_a_plugin_raises() -> None:
    table = world([sized("n1", 4)], [], group(least=2))
    engine = Engine(default_profile(), table)
    pods = [table.infos.of(member(name)) for name in "ab"]

    def raises(_pod: Any) -> Any:
        raise RuntimeError("no")

    pods.append(table.infos.of(member("c", "9")))
    with pytest.raises(RuntimeError):
        groupcycle.run(engine, pods, 2, 0, lambda rows: rows[0], make_room=raises)
    assert not table.placed


def test_a_topology_constraint_keeps_the_group_in_one_domain() -> None:
    nodes = [
        sized("a1", 1, rack="a"),
        sized("a2", 1, rack="a"),
        sized("b1", 2, rack="b"),
        sized("b2", 2, rack="b"),
    ]
    table = world([*nodes, sized("c", 9)], [], group(least=3))
    engine = Engine(default_profile(), table)
    pods = [table.infos.of(member(name)) for name in "wxyz"]
    cycle, why = groupcycle.run_in_domain(engine, pods, 3, [], "rack", lambda rows: rows[0])
    assert why == "" and {each.node for each in cycle.taken} == {"b1", "b2"} and len(cycle.taken) == 4
    cycle.undo()
    cycle, why = groupcycle.run_in_domain(engine, pods, 4, ["a1"], "rack", lambda rows: rows[0])
    assert not cycle.succeeded
    assert why.startswith("0/1 placements are available, first placement status: minCount (4) cannot")
    cycle.undo()
    cycle, why = groupcycle.run_in_domain(engine, pods, 1, [], "row", lambda rows: rows[0])
    assert why.startswith("0/0 placements are available")


def test_room_is_made_for_the_whole_gang_or_for_none_of_it() -> None:
    low = [pod(f"low{n}", containers=[container(cpu="2")], nodeName=f"n{n}", priority=-1) for n in (1, 2)]
    nodes = [sized("n1", 2), sized("n2", 2)]
    table = world(nodes, low, group(least=2))
    before = contents(table)
    engine = Engine(default_profile(), table)
    preemption = Preemption(engine)

    def room(each: Any) -> Any:
        return preemption.find(each, engine.diagnose(each), lambda _count: 0)

    table.gangs.see_all(member(name) for name in "abc")
    two = [table.infos.of(member(name, "2")) for name in "ab"]
    cycle = groupcycle.run(engine, two, 2, 0, lambda rows: rows[0], make_room=room)
    assert cycle.succeeded and sorted(p.key[1] for v in cycle.victims for p in v.pods) == ["low1", "low2"]
    cycle.undo()
    assert contents(table) == before
    three = [*two, table.infos.of(member("c", "2"))]
    cycle = groupcycle.run(engine, three, 3, 0, lambda rows: rows[0], make_room=room)
    assert not cycle.succeeded
    cycle.undo()
    assert contents(table) == before


def test_groups_that_go_whole_are_victims_as_a_whole() -> None:
    mates = [member(f"m{n}", "1", nodeName=f"n{n}", priority=n - 2) for n in (1, 2)]
    whole = group(disruptionMode={"all": {}})
    nodes = [sized("n1", 1), sized("n2", 1)]
    table = world(nodes, mates, whole)
    wanting = table.infos.of(pod("high", containers=[container(cpu="1")], priority=5))
    engine = Engine(default_profile(), table)
    found = Preemption(engine).find(wanting, engine.diagnose(wanting), lambda _count: 0)
    assert found.victims is not None and [p.key[1] for p in found.victims.pods] == ["m1"]
    assert [p.key[1] for p in whole_groups(table, found.victims).pods] == ["m1", "m2"]
    # One of them is as important: then none of them goes.
    equal = table.infos.of(pod("equal", containers=[container(cpu="1")], priority=0))
    found = Preemption(engine).find(equal, engine.diagnose(equal), lambda _count: 0)
    assert found.victims is None
    single = world(nodes, mates, group())
    alone = Victims("n1", (single.placed["default", "m1"].pod,))
    assert whole_groups(single, alone) is alone


# -- what is said ----------------------------------------------------------------------------------------


def test_the_condition_of_a_group() -> None:
    fresh = group(least=2)
    assert condition(fresh, False, "Unschedulable", "why", "2026-01-01T00:00:00Z") == {
        "type": "PodGroupInitiallyScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "why",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }

    def told(status: str, reason: str, message: str) -> api.PodGroupV1beta1:
        known = {"type": "PodGroupInitiallyScheduled", "status": status, "reason": reason, "message": message}
        whole = codec.to_builtins(fresh)
        whole["status"] = {"conditions": [{**known, "lastTransitionTime": "2025-01-01T00:00:00Z"}]}
        return codec.from_builtins(whole, api.PodGroupV1beta1)

    now = "2026-01-01T00:00:00Z"
    waits = told("False", "Unschedulable", "why")
    assert condition(waits, False, "Unschedulable", "why", now) is None
    other = condition(waits, False, "Unschedulable", "else", now)
    assert other is not None and other["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    turned = condition(waits, True, "Scheduled", "", now)
    assert turned is not None and turned["lastTransitionTime"] == now
    assert condition(told("True", "Scheduled", ""), False, "Unschedulable", "why", now) is None


def test_why_a_group_waits_though_there_is_a_node_for_the_pod() -> None:
    pods = [member("a", "1"), member("b", "2")]
    table = world([sized("n1", 2)], pods, group(least=2))
    why = gangdryrun.why_group_waits(Engine(default_profile(), table), pods, pods[0])
    assert why == (
        "pod group g: minCount (2) cannot be satisfied: 1 scheduled, 0 remaining; "
        "b: 0/1 nodes are available: 1 Insufficient cpu."
    )
    assert not table.placed


# -- the whole scheduler ---------------------------------------------------------------------------------


def names(told: World) -> list[str]:
    return sorted(str(binding.metadata.name) for binding, _ in told.bindings)


def test_a_gang_is_bound_once_it_is_whole() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told, "n3")
        for number in (1, 2):
            told.add_member(number, 1, "g")
        told.deliver_everything()
        await turns()
        assert told.bindings == []
        told.put_group("g", 3)
        told.deliver_everything()
        await turns()
        assert told.bindings == []
        told.add_member(3, 1, "g")
        told.deliver_everything()
        await turns()
        assert names(told) == ["p1", "p2", "p3"]
        assert told.conditions["g"]["status"] == "True"
        await end(running)

    asyncio.run(main())


def test_a_gang_without_room_waits_as_a_whole_and_goes_when_a_node_comes() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told, "n2")
        told.put_group("g", 3)
        for number in (1, 2, 3):
            told.add_member(number, 1, "g")
        told.add_pod(4, 2, 0)
        told.deliver_everything()
        await turns()
        # The gang keeps no room from others while it waits.
        assert names(told) == ["p4"]
        said = told.conditions["g"]
        assert (said["status"], said["reason"]) == ("False", "Unschedulable")
        assert said["message"].startswith("minCount (3) cannot be satisfied: ")
        told.put_node("n3")
        told.deliver_everything()
        await told.clock.advance(2)
        await turns()
        assert names(told) == ["p1", "p2", "p3", "p4"]
        await end(running)

    asyncio.run(main())


def test_a_gang_goes_as_soon_as_there_are_nodes_at_all() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told)
        told.put_group("g", 2)
        for number in (1, 2):
            told.add_member(number, 1, "g")
        told.deliver_everything()
        await turns()
        assert told.bindings == [] and told.conditions["g"]["reason"] == "Unschedulable"
        told.put_node("n2")
        told.deliver_everything()
        await told.clock.advance(2)
        await turns()
        assert names(told) == ["p1", "p2"]
        await end(running)

    asyncio.run(main())


def test_fewer_pods_wanted_frees_a_gang() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told, "n2")
        told.put_group("g", 3)
        for number in (1, 2, 3):
            told.add_member(number, 1, "g")
        told.deliver_everything()
        await turns()
        assert told.bindings == []
        told.put_group("g", 2)
        told.deliver_everything()
        await told.clock.advance(2)
        await turns()
        assert names(told) == ["p1", "p2"]
        await end(running)

    asyncio.run(main())


def test_a_restart_in_mid_gang_binds_the_rest() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told, "n3")
        told.put_group("g", 3)
        for number in (1, 2, 3):
            told.add_member(number, 1, "g")
        told.deliver_everything()
        await turns()
        told.answer("bound")
        await end(running)
        told.bindings.clear()  # the others were never made
        running = await start(told)
        assert len(told.bindings) == 2
        await end(running)

    asyncio.run(main())


def test_all_members_keep_the_places_that_they_were_promised() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        running = await start(told, "n1")
        told.add_pod(1, 3, 0)
        told.deliver_everything()
        await turns()
        told.answer("bound")
        told.deliver_everything()
        told.put_group("g", 2, priority=10)
        told.add_member(2, 1, "g", priority=10)
        told.add_member(3, 1, "g", priority=10)
        told.deliver_everything()
        await turns()
        promised = told.scheduler.world.nominated["n1"].values()
        assert sorted(each.key[1] for each in promised) == ["p2", "p3"]
        await end(running)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("own", "others", "why"),
    [
        ({"priority": 10}, {"priority": 10}, ""),
        ({"priority": 10}, {"priority": 5}, "priority as the pod group's priority, got 5 and 10"),
        ({}, {}, "priority as the pod group's priority, got 0 and 10"),
        (
            {"priority": 10},
            {"priority": 10, "preemptionPolicy": "Never"},
            "preemption policy, got Never and PreemptLowerPriority",
        ),
    ],
)
def test_a_gang_is_as_important_as_its_group_and_preempts_alike(
    own: dict[str, Any], others: dict[str, Any], why: str
) -> None:
    members = [pod("a", **own), pod("b", **others)]
    important = group(least=2, priority=10)
    if not why:
        gangs.check_alike(members, important)
        return
    with pytest.raises(ValueError, match=f"^all pods in a single pod group should have the same {why}$"):
        gangs.check_alike(members, important)


def test_pods_of_one_group_that_want_different_schedulers_are_told() -> None:
    async def main() -> None:
        told = World(0, pod_groups=True)
        told.scheduler.engines["other"] = told.scheduler.engines["default-scheduler"]
        told.scheduler._watching._plugins["other"] = told.scheduler._watching._plugins["default-scheduler"]
        running = await start(told, "n3")
        told.put_group("g", 2)
        told.add_member(1, 1, "g")
        told.add_member(2, 1, "g", schedulerName="other")
        told.deliver_everything()
        await turns()
        assert told.bindings == []
        assert told.conditions["g"]["reason"] == "SchedulerError"
        assert "should have the same .spec.schedulerName set" in told.conditions["g"]["message"]
        assert told.scheduler.queue.next_due_s() is not None  # it is tried again: nothing is stuck
        await end(running)

    asyncio.run(main())


# -- whatever happens ------------------------------------------------------------------------------------

LEAST = {"g0": 2, "g1": 3}


class Groups(World):
    """Knows which groups something happened to that may leave them short."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, pod_groups=True)
        self.excused: set[str] = set()

    def check(self) -> None:
        super().check()
        placed = self.scheduler.world.placed
        for name, least in LEAST.items():
            count = sum(1 for key in self.scheduler.world.gangs.members(("default", name)) if key in placed)
            assert name in self.excused or count == 0 or count >= least

    def excuse(self, *names: str) -> None:
        self.excused |= set(names or LEAST)


async def play(seed: int, operations: list[tuple[Any, ...]]) -> None:
    told = Groups(seed)
    running = await start(told, "n1", "n2")
    try:
        for what, *arguments in operations:
            if what == "restart":
                told.excuse()
                await end(running)
                told.bindings.clear()
                running = asyncio.create_task(told.scheduler.run())
            elif what == "deliver":
                told.of(arguments[0]).deliver()
            elif what == "node goes":
                told.nodes.set(arguments[0], None)
            elif what == "pod goes":
                told.excuse()
                told.pods.set(f"p{arguments[0]}", None)
            elif what == "group goes":
                told.of(api.PodGroupV1beta1).set(arguments[0], None)
            elif what == "advance":
                await told.clock.advance(arguments[0])
            elif what == "flow":
                await flow(told)
            else:
                if what == "answer" and arguments[0] != "bound":
                    told.excuse()
                if what == "finish_pod":
                    told.excuse()
                getattr(told, what)(*arguments)
            await turns()
            told.check()
        for _ in range(8):  # less than the time after which the queue tries everybody anyhow
            await flow(told)
            await told.clock.advance(15)
        told.check_table()
        assert not running.done()
        check_rest(told)
    finally:
        await end(running)


async def flow(told: Groups) -> None:
    told.deliver_everything()
    await turns()
    while told.bindings:
        told.answer("bound")
        await turns()
        told.check()
    told.deliver_everything()


def check_rest(told: Groups) -> None:
    """Who waits, waits for a reason: alone, for its group, or with it."""
    table = told.scheduler.world
    engine = told.scheduler.engines["default-scheduler"]
    for held in told.pods.truth.values():
        if held.spec.nodeName or all(why for _, _, why in told.scheduler.explain(held)):
            continue
        assert table.gangs.waits_for(held) or gangdryrun.why_group_waits(
            engine, list(told.pods.truth.values()), held
        )


NUMBERS = st.integers(0, 7)
NODES = st.sampled_from(sorted(CPUS))
MEMBER = st.tuples(st.just("add_member"), NUMBERS, st.integers(1, 2), st.sampled_from(["g0", "g1", "basic"]))
OPERATION = st.one_of(
    *[MEMBER] * 4,
    *[st.tuples(st.just("flow"))] * 2,
    st.sampled_from([("put_group", "g0", 2), ("put_group", "g1", 3), ("put_group", "basic", 0)]),
    st.sampled_from([("put_group", "g0", 2), ("put_group", "g1", 3)]),
    st.tuples(st.just("group goes"), st.sampled_from(["g0", "g1", "basic"])),
    st.tuples(st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from([0, 80])),
    st.tuples(st.just("deliver"), st.sampled_from([api.Pod, api.Node, api.PodGroupV1beta1])),
    st.tuples(st.just("answer"), st.just("bound")),
    st.tuples(st.just("answer"), st.sampled_from(["bound but unanswered", "lost", "broken", "refused"])),
    st.tuples(st.just("touch_pod"), NUMBERS),
    st.tuples(st.just("finish_pod"), NUMBERS),
    st.tuples(st.just("pod goes"), NUMBERS),
    st.tuples(st.just("put_node"), NODES),
    st.tuples(st.just("node goes"), NODES),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 1, 15, 400])),
    st.tuples(st.just("restart")),
)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.lists(OPERATION, min_size=8, max_size=45))
def test_no_gang_is_ever_placed_in_part(seed: int, operations: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(seed, operations))
