"""Preemption: whose room is taken, in which order, and what users see of it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.client.cache import Cache
from sampan.scheduler.configuration import ConfigurationError, configuration
from sampan.scheduler.cycle import Engine
from sampan.scheduler.deadlines import DEADLINE, rank_of
from sampan.scheduler.preemption import Outcome, Preemption
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api, codec
from sampan.testing.cluster import Cluster
from tests.unit.scheduler.objects import container, node, pod, taint

START = datetime(2026, 1, 1, tzinfo=UTC)


def world_of(*nodes: api.Node, budgets: tuple[dict[str, Any], ...] = ()) -> World:
    cache: Cache[Any] = Cache()
    for number, each in enumerate(budgets):
        whole = {"metadata": {"name": f"b{number}", "namespace": "default"}, **each}
        cache.put(codec.from_builtins(whole, api.PodDisruptionBudget))
    made = World({api.PodDisruptionBudget: cache})
    for each in nodes:
        made.put_node(each)
    return made


def put(
    world: World, name: str, on: str, priority: int, cpu: str = "1", age_s: int = 0, app: str = ""
) -> None:
    made = pod(name, priority=priority, containers=[container(cpu=cpu)])
    made.metadata.labels = {"app": app} if app else {}
    made.status.startTime = START - timedelta(seconds=age_s)
    world.place(world.infos.of(made), on)


def find(world: World, wanting: api.Pod) -> Outcome:
    engine, info = Engine(default_profile(), world), world.infos.of(wanting)
    return Preemption(engine).find(info, engine.diagnose(info), lambda count: 0)


def victims(world: World, cpu: str = "4", priority: int = 10, **spec: Any) -> tuple[str, list[str]]:
    found = find(world, pod("high", priority=priority, containers=[container(cpu=cpu)], **spec)).victims
    return ("", []) if found is None else (found.node, [p.key[1] for p in found.pods])


PODS = st.tuples(
    st.sampled_from(["a", "b"]),
    st.integers(0, 12),
    st.sampled_from(["0", "500m", "1", "3"]),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    placed=st.lists(PODS, max_size=9),
    promised=st.lists(PODS, max_size=3),
    cpu=st.sampled_from(["1", "2", "4", "9"]),
    allowed=st.integers(0, 1),
)
def test_sums_lead_to_the_victims_of_trials(
    placed: list[tuple[Any, ...]], promised: list[tuple[Any, ...]], cpu: str, allowed: int
) -> None:
    selects = {"spec": {"selector": {"matchLabels": {"app": "guarded"}}}}
    budget = {**selects, "status": {"disruptionsAllowed": allowed}}
    nodes = (node("a", allocatable={"cpu": "4", "pods": "4"}), node("b", allocatable={"cpu": "5"}))
    world = world_of(*nodes, budgets=(budget,))
    for number, (on, priority, amount, guarded, _) in enumerate(placed):
        put(world, f"p{number}", on, priority, cpu=amount, app="guarded" if guarded else "")
    for number, (on, priority, amount, _, is_placed) in enumerate(promised):
        waiting = world.infos.of(pod(f"w{number}", priority=priority, containers=[container(cpu=amount)]))
        world.nominate(waiting, on)
        if is_placed:  # decided for meanwhile: it counts where it is
            world.place(waiting, on)
    info = world.infos.of(pod("high", priority=10, containers=[container(cpu=cpu)]))
    summing, trying = Engine(default_profile(), world), Engine(default_profile(), world)
    assert summing.by_amounts(info) is not None
    trying.by_amounts = lambda pod: None  # type: ignore[method-assign]
    told, expected = summing.diagnose(info), trying.diagnose(info)
    assert (told.reasons, told.refused_by) == (expected.reasons, expected.refused_by)
    assert told.resolvable.tolist() == expected.resolvable.tolist()
    both = [Preemption(e).candidates(info, told, lambda count: 0) for e in (summing, trying)]
    assert both[0][0] == both[1][0]
    shapes = [[(v.node, [p.key for p in v.pods], v.violations) for v in found] for _, found in both]
    assert shapes[0] == shapes[1]
    last = [e.decide(info, lambda rows: rows[-1]).node for e in (summing, trying)]
    assert last[0] == last[1]


def test_no_more_victims_than_needed_and_the_least_important_ones() -> None:
    world = world_of(node("a"))
    for name, priority in (("p1", 1), ("p2", 2), ("p3", 3), ("p4", 4)):
        put(world, name, "a", priority)
    assert victims(world, cpu="1") == ("a", ["p1"])
    assert victims(world, cpu="2") == ("a", ["p2", "p1"])
    assert victims(world, cpu="4", priority=4) == ("", [])


def test_among_equals_the_youngest_goes() -> None:
    world = world_of(node("a"))
    for name, age_s in (("old", 300), ("young", 10), ("older", 400), ("oldest", 500)):
        put(world, name, "a", 1, age_s=age_s)
    assert victims(world, cpu="1") == ("a", ["young"])


@pytest.mark.parametrize(
    ("on_a", "on_b", "chosen"),
    [
        ([(5, "4")], [(1, "4")], "b"),  # the least important victim
        ([(1, "2"), (1, "2")], [(1, "4")], "b"),  # the smaller sum of priorities
        ([(1, "4")], [(1, "2"), (1, "2")], "a"),
    ],
)
def test_the_best_node(on_a: list[tuple[int, str]], on_b: list[tuple[int, str]], chosen: str) -> None:
    world = world_of(node("a"), node("b"))
    for name, pods in (("a", on_a), ("b", on_b)):
        for number, (priority, cpu) in enumerate(pods):
            put(world, f"{name}{number}", name, priority, cpu)
    assert victims(world)[0] == chosen


def test_budgets_are_kept_where_another_node_will_do() -> None:
    budget = {"spec": {"selector": {"matchLabels": {"app": "db"}}}, "status": {"disruptionsAllowed": 0}}
    world = world_of(node("a"), node("b"), budgets=(budget,))
    put(world, "db", "a", 1, "4", app="db")
    put(world, "web", "b", 5, "4", app="web")
    assert victims(world) == ("b", ["web"])
    world.unplace(("default", "web"))
    put(world, "vital", "b", 100, "4")
    assert victims(world) == ("a", ["db"])  # better than not at all


def test_what_nothing_helps_against() -> None:
    world = world_of(node("a", taints=[taint("k")]), node("b"), node("c", allocatable={"cpu": "1"}))
    put(world, "p", "b", 100, "4")
    put(world, "q", "a", 1, "4")
    outcome = find(world, pod("high", priority=10, containers=[container(cpu="4")]))
    assert outcome.message == (
        "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )
    never = pod("high", priority=10, preemptionPolicy="Never", containers=[container(cpu="4")])
    assert find(world, never).message == "preemption: not eligible due to preemptionPolicy=Never."


def test_a_trial_leaves_no_trace() -> None:
    world = world_of(node("a"))
    for number in range(4):
        put(world, f"p{number}", "a", number)
    before, at = world.table.contents(), world.table.usage.position
    victims(world, cpu="3")
    assert (world.table.contents(), world.table.usage.position) == (before, at)


def test_promised_room_is_not_given_to_less_important_pods() -> None:
    world = world_of(node("a"))
    first = world.infos.of(pod("first", priority=10, containers=[container(cpu="3")]))
    world.nominate(first, "a")
    engine = Engine(default_profile(), world)

    def fits(name: str, priority: int) -> bool:
        wanting = pod(name, priority=priority, containers=[container(cpu="2")])
        return bool(engine.decide(world.infos.of(wanting), lambda rows: rows[0]).node)

    assert not fits("lower", 5)
    assert fits("higher", 20)
    assert engine.decide(first, lambda rows: rows[0]).node == "a"


# -- what users see ------------------------------------------------------------------------------------


def create(cluster: Cluster, name: str, cpu: str, **spec: Any) -> None:
    data = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }
    cluster.client.create(codec.from_builtins(data, api.Pod))


def nominated(cluster: Cluster, name: str) -> str:
    """The node that the pod was promised; its binding, which may be over, took the promise away."""

    async def look() -> str:
        events = cluster.async_client.watch(
            api.Pod, "default", resource_version="1", fields=f"metadata.name={name}"
        )
        async with asyncio.timeout(10), aclosing(cast(Any, events)):
            async for event in events:
                if event.object.status.nominatedNodeName:
                    return event.object.status.nominatedNodeName
        return ""

    return cluster.call(look())


def test_a_more_important_pod_takes_the_place_of_another(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(api.PriorityClass(metadata=api.ObjectMeta(name="high"), value=1000, description=""))
    held = cluster.client.get(api.Node, "node-1").status.allocatable["cpu"].whole()
    create(cluster, "low", str(held - 1))
    cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, "low", "default").spec.nodeName))
    keep = {"metadata": {"finalizers": ["example.com/keep"]}}
    cluster.client.patch(api.Pod, "low", "default", keep)
    create(cluster, "high", str(held - 1), priorityClassName="high")
    cluster.wait_until(
        lambda: cluster.client.get(api.Pod, "low", "default").metadata.deletionTimestamp is not None
    )
    low = cluster.client.get(api.Pod, "low", "default")
    condition = next(c for c in low.status.conditions if c.type == "DisruptionTarget")
    assert (condition.status, condition.reason) == ("True", "PreemptionByScheduler")
    assert condition.message == "default-scheduler: preempting to accommodate a higher priority pod"
    assert nominated(cluster, "high") == "node-1"
    high = cluster.client.get(api.Pod, "high", "default")
    cluster.wait_until(
        lambda: any(
            e.reason == "Preempted" and e.message == f"Preempted by pod {high.metadata.uid} on node node-1"
            for e in cluster.client.list(api.Event, "default", fields="involvedObject.name=low")
        )
    )
    cluster.client.patch(api.Pod, "low", "default", {"metadata": {"finalizers": None}})
    cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, "high", "default").spec.nodeName))
    assert not cluster.client.get(api.Pod, "high", "default").status.nominatedNodeName


# -- configuration and deadlines -----------------------------------------------------------------------

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def test_profiles_enable_disable_and_weigh_plugins() -> None:
    plugins = {
        "multiPoint": {"disabled": [{"name": "ImageLocality"}]},
        "score": {
            "disabled": [{"name": "PodTopologySpread"}],
            "enabled": [{"name": "NodeAffinity", "weight": 7}],
        },
        "queueSort": {"enabled": [{"name": "DeadlineSort"}]},
    }
    args = {"scoringStrategy": {"type": "MostAllocated"}}
    given = {
        **HEAD,
        "percentageOfNodesToScore": 50,
        "profiles": [
            {"schedulerName": "packing", "pluginConfig": [{"name": "NodeResourcesFit", "args": args}]},
            {"schedulerName": "other", "plugins": plugins},
        ],
    }
    packing, other = configuration(given).profiles
    weights = {plugin.name: weight for plugin, weight in other.scorers}
    assert "ImageLocality" not in weights and "PodTopologySpread" not in weights
    assert weights["NodeAffinity"] == 7
    assert "PodTopologySpread" in {plugin.name for plugin in other.filters}
    assert (packing.by_deadline, other.by_deadline) == (False, True)
    world = world_of(node("a"), node("b"))
    put(world, "p", "b", 0)
    info = world.infos.of(pod(containers=[container(cpu="1")]))
    assert Engine(packing, world).decide(info, lambda rows: rows[0]).node == "b"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"apiVersion": "v1"}, "write kubescheduler.config.k8s.io/v1"),
        ({"percentageOfNodesToScore": 101}, "not in the range 0 to 100"),
        ({"profiles": [{}, {}]}, "is there twice"),
        ({"profiles": [{"plugins": {"score": {"enabled": [{"name": "Nobody"}]}}}]}, "no plugin 'Nobody'"),
        (
            {
                "profiles": [
                    {
                        "pluginConfig": [
                            {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "x"}}}
                        ]
                    }
                ]
            },
            "scoringStrategy.type 'x'",
        ),
        ({"podInitialBackoffSeconds": 0}, "must be greater than 0"),
    ],
)
def test_bad_configurations_name_the_mend(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configuration({**HEAD, **given})


def test_deadlines() -> None:
    plain = pod()
    assert rank_of(plain) == float("inf")
    plain.metadata.annotations = {DEADLINE: "2026-01-01T00:00:00Z"}
    assert rank_of(plain) == START.timestamp()
    timed = pod(activeDeadlineSeconds=60)
    timed.metadata.creationTimestamp = START
    timed.metadata.annotations = {DEADLINE: "soon"}
    assert rank_of(timed) == START.timestamp() + 60
