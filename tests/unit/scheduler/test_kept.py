"""What is kept of earlier pods of a shape, and told of one row at a time, is what all rows at once say."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.scheduler import columns
from sampan.scheduler.beside import Beside
from sampan.scheduler.cycle import Engine
from sampan.scheduler.decision import Decision
from sampan.scheduler.framework import CLUSTER, Rejected
from sampan.scheduler.kept import ONE_BY_ONE
from sampan.scheduler.plugins import node_resources
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import PLUGINS, default_profile
from sampan.scheduler.world import World
from sampan.schema import api
from tests.unit.scheduler.objects import node, pod, table

NAMES = [f"n{at}" for at in range(6)]
SHAPE = [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]
SCORING: list[dict[str, Any]] = [
    {},
    {"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 3}, {"name": "x/gpu", "weight": 1}]},
    {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": SHAPE}},
]


def profile_with(scoring: dict[str, Any]) -> Profile:
    fit = node_resources.made_of({"scoringStrategy": scoring} if scoring else {})
    whole = default_profile()
    balance = PLUGINS["NodeResourcesBalancedAllocation"](
        {"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "x/gpu"}]}
    )
    swapped = {fit.name: fit} | ({balance.name: balance} if scoring else {})
    return msgspec.structs.replace(
        whole,
        filters=tuple(swapped.get(p.name, p) for p in whole.filters),
        scorers=tuple((swapped.get(p.name, p), w) for p, w in whole.scorers),
    )


def asking(name: str, cpu: str, gpu: int, more: dict[str, Any]) -> api.Pod:
    requests = {**({"cpu": cpu} if cpu else {}), **({"x/gpu": str(gpu)} if gpu else {})}
    ports = more.get("ports", [])
    container = {"name": "c", "image": "i", "resources": {"requests": requests}, "ports": ports}
    spec = {key: value for key, value in more.items() if key != "ports"}
    made = pod(name, containers=[container], **spec)
    made.metadata.labels = {"app": "web"}
    return made


def about(**kinds: Any) -> dict[str, Any]:
    return {"affinity": kinds}


ZONE_TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
NEAR = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
KINDS: list[dict[str, Any]] = [
    {},
    {"ports": [{"containerPort": 80, "hostPort": 80}]},
    {"nodeSelector": {"zone": "a"}},
    about(nodeAffinity={"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 7, "preference": ZONE_TERM}]}),
    {"tolerations": [{"key": "k", "operator": "Exists"}]},
    {"topologySpreadConstraints": [{**SPREAD, "whenUnsatisfiable": "DoNotSchedule"}]},
    {"topologySpreadConstraints": [{**SPREAD, "whenUnsatisfiable": "ScheduleAnyway"}]},
    about(podAffinity={"requiredDuringSchedulingIgnoredDuringExecution": [NEAR]}),
    about(podAntiAffinity={"requiredDuringSchedulingIgnoredDuringExecution": [
        {**NEAR, "topologyKey": "kubernetes.io/hostname"}]}),
    about(podAntiAffinity={"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 5, "podAffinityTerm": NEAR}]}),
]  # fmt: skip


def a_node(name: str, zone: str, taint: str, cpu: str, images: bool) -> api.Node:
    taints = [{"key": "k", "effect": taint}] if taint else []
    made = node(
        name,
        labels={"zone": zone, "kubernetes.io/hostname": name},
        taints=taints,
        allocatable={"cpu": cpu, "memory": "8Gi", "pods": "5", **({} if images else {"x/gpu": "2"})},
    )
    if images:
        made.status.images = [api.ContainerImage(names=["i:latest"], sizeBytes=900_000_000)]
    return made


def slow(engine: Engine, wanting: api.Pod, world: World) -> Decision:
    """The decision by way of all rows that will do, with nothing kept."""
    fresh = Engine(engine.profile, world)
    fresh._confining = ()
    fresh.by_amounts = lambda pod: None  # type: ignore[method-assign]
    whole = fresh._beside

    def one_by_one(pod: PodInfo) -> Beside:
        beside = whole(pod)
        beside.unpromised = lambda rows: (rows, None)  # type: ignore[method-assign]
        return beside

    fresh._beside = one_by_one  # type: ignore[method-assign]
    info = world.infos.of(wanting)
    rows = fresh.feasible(info)
    return rows if isinstance(rows, Decision) else fresh.pick(info, rows, lambda best: best[-1])


NODES = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "", "NoSchedule", "PreferNoSchedule"]),
    st.sampled_from(["1", "3", "16"]),
    st.booleans(),
)
PODS = st.tuples(st.sampled_from(["", "200m", "1100m"]), st.integers(0, 1), st.sampled_from(KINDS))
STEPS = st.one_of(
    st.tuples(st.just("pod"), PODS),
    st.tuples(st.just("pod"), PODS),
    st.tuples(st.just("put"), NODES),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(st.just("unplace"), st.integers(0, 50)),
    st.tuples(st.just("promise"), st.tuples(st.integers(0, 3), st.sampled_from(NAMES), PODS)),
    st.tuples(st.just("take back"), st.integers(0, 3)),
)


@settings(max_examples=60)
@given(
    st.sampled_from(SCORING),
    st.lists(NODES, min_size=1),
    st.lists(STEPS, min_size=5, max_size=40),
    st.sampled_from([columns.SMALL, 0]),
)
def test_every_decision_is_the_one_that_all_rows_at_once_lead_to(
    scoring: dict[str, Any], nodes: list[Any], steps: list[Any], small: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "SMALL", small)
        patch.setattr(columns, "MOST_PAIRS", 2)
        _decide_in_turn(scoring, nodes, steps)


def _decide_in_turn(scoring: dict[str, Any], nodes: list[Any], steps: list[Any]) -> None:
    world = table(*(a_node(*each) for each in nodes))
    engine = Engine(profile_with(scoring), world)
    for number, (what, chosen) in enumerate(steps):
        if what == "put":
            world.put_node(a_node(*chosen))
        elif what == "remove":
            world.remove_node(chosen)
        elif what == "unplace":
            world.unplace(("default", f"p{chosen}"))
        elif what == "promise":
            which, on, asked = chosen
            world.nominate(world.infos.of(asking(f"r{which}", *asked)), on)
        elif what == "take back":
            world.nominate(world.infos.of(asking(f"r{chosen}", "", 0, {})), "")
        else:
            wanting = asking(f"p{number}", *chosen)
            decision = engine.decide(world.infos.of(wanting), lambda best: best[-1])
            assert decision == slow(engine, wanting, world)
            if decision.node:
                world.place(world.infos.of(wanting), decision.node)


@settings(max_examples=60)
@given(
    st.sampled_from(SCORING),
    st.lists(NODES, min_size=1),
    st.lists(PODS, min_size=1, max_size=12),
    PODS,
    st.booleans(),
)
def test_one_row_alone_is_told_what_it_is_told_among_all(
    scoring: dict[str, Any], nodes: list[Any], placed: list[Any], chosen: Any, by_claim: bool
) -> None:
    world = table(*(a_node(*each) for each in nodes))
    world.devices.extended = {"x/gpu": "gpus"} if by_claim else {}
    for number, each in enumerate(placed):
        world.place(world.infos.of(asking(f"p{number}", *each)), nodes[number % len(nodes)][0])
    info = world.infos.of(asking("w", *chosen))
    rows = np.array(sorted(world.table.rows.values()), dtype=np.intp)
    for plugin in profile_with(scoring).plugins:
        if plugin.reach == CLUSTER:
            continue
        state = plugin.prepare(info, world)
        if state is not None and not isinstance(state, Rejected):
            verdict = plugin.filter(state, world, rows)
            passing = [True] * len(rows) if verdict is None else (~verdict.refused).tolist()
            assert [plugin.passes(state, world, row) for row in rows.tolist()] == passing
        state = plugin.prepare_score(info, world)
        scores = plugin.score(state, world, rows) if state is not None else None
        if scores is not None:
            assert [plugin.score_one(state, world, row) for row in rows.tolist()] == scores.tolist()


@pytest.mark.parametrize("changes", [1, ONE_BY_ONE, ONE_BY_ONE + 1, 40])
def test_any_number_of_changes_is_caught_up_with(changes: int) -> None:
    world = table(*(a_node(f"n{at}", "a", "", "16", False) for at in range(50)))
    engine = Engine(default_profile(), world)
    wanting = asking("w", "1", 0, {})
    assert engine.decide(world.infos.of(wanting), lambda best: best[0]).row == min(world.table.rows.values())
    for at in range(changes):
        world.place(world.infos.of(asking(f"p{at}", "1", 0, {})), f"n{at}")
    decision = engine.decide(world.infos.of(wanting), lambda best: best[-1])
    assert decision == slow(engine, wanting, world)
    assert int(decision.node[1:]) >= changes


def test_a_promise_counts_for_as_long_as_it_stands() -> None:
    world = table(a_node("n0", "a", "", "3", False))
    engine = Engine(default_profile(), world)
    wanting = world.infos.of(asking("w", "1100m", 0, {}))

    def node_of() -> str:
        return engine.decide(wanting, lambda best: best[0]).node

    first, second = (world.infos.of(asking(name, "1", 0, {})) for name in ("r1", "r2"))
    world.nominate(first, "n0")
    assert [node_of(), node_of()] == ["n0", "n0"]
    world.nominate(second, "n0")
    assert [node_of(), node_of()] == ["", ""]
    assert engine.decide(wanting, lambda best: best[0]).message == (
        "0/1 nodes are available: 1 Insufficient cpu."
    )
    world.nominate(first, "")
    assert [node_of(), node_of()] == ["n0", "n0"]
    world.place(first, "n0")
    assert [node_of(), node_of()] == ["", ""]
    world.unplace(first.key)
    assert node_of() == "n0"
    world.nominate(second, "")
    assert node_of() == "n0"
