"""What the descheduler evicts, strategy by strategy; that it wants nothing more once that is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.descheduler import policy as policies
from sampan.descheduler.evictable import EVICT, Evictable
from sampan.descheduler.planning import plan
from sampan.descheduler.policy import Policy
from sampan.descheduler.trial import Eviction
from sampan.scheduler.cycle import Engine
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.schema import api, codec
from sampan.simulation.draining import MIRROR, unbound
from tests.unit.scheduler.objects import container, node, pod, taint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UTILIZATION = {"thresholds": {"cpu": 30, "pods": 100}, "targetThresholds": {"cpu": 60, "pods": 100}}
SYSTEM = 2_000_000_000
OTHERS = {"matchLabels": {"x": "y"}}
APP = {"matchLabels": {"app": "web"}}


def policy(*names: str, evictor: dict[str, Any] | None = None, **rest: Any) -> Policy:
    args = rest.pop("args", {})
    config = [{"name": name, "args": given} for name, given in args.items()]
    if evictor is not None:
        config.append({"name": "DefaultEvictor", "args": evictor})
    if policies.UTILIZATION in names and policies.UTILIZATION not in args:
        config.append({"name": policies.UTILIZATION, "args": UTILIZATION})
    balancing = [n for n in names if n in (policies.DUPLICATES, policies.SPREAD, policies.UTILIZATION)]
    others = [n for n in names if n not in balancing]
    profile = {
        "name": "p",
        "pluginConfig": config,
        "plugins": {"balance": {"enabled": balancing}, "deschedule": {"enabled": others}},
    }
    head = {"apiVersion": policies.API_VERSION, "kind": policies.KIND}
    return policies.parse({**head, "profiles": [profile], **rest})


def owned(name: str, on: str, owner: str = "web", *, kind: str = "ReplicaSet", **spec: Any) -> api.Pod:
    """A running pod with a controller; `cpu` is what it asks for."""
    labels = spec.pop("labels", {"app": owner})
    age_s, cpu = spec.pop("age_s", 3600), spec.pop("cpu", "100m")
    annotations = spec.pop("annotations", {})
    made = pod(name, nodeName=on, containers=[container(cpu=cpu)], status={"phase": "Running"}, **spec)
    made.metadata.labels, made.metadata.annotations = labels, annotations
    made.metadata.creationTimestamp = NOW - timedelta(seconds=age_s)
    ref = {"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": f"uid-{owner}", "controller": True}
    made.metadata.ownerReferences = [codec.from_builtins(ref, api.OwnerReference)]
    return made


def budget(allowed: int) -> api.PodDisruptionBudget:
    meta = {"name": "b", "namespace": "default"}
    whole = {"metadata": meta, "spec": {"selector": APP}, "status": {"disruptionsAllowed": allowed}}
    return codec.from_builtins(whole, api.PodDisruptionBudget)


def snapshot(nodes: list[api.Node], pods: list[api.Pod], *budgets: api.PodDisruptionBudget) -> Snapshot:
    return Snapshot(nodes, pods, {api.PodDisruptionBudget: budgets})


def planned(found: Snapshot, rules: Policy) -> tuple[Eviction, ...]:
    return plan(found, rules, (), NOW)


def evicted(found: Snapshot, rules: Policy) -> list[tuple[str, str]]:
    return [(str(each.pod.metadata.name), each.to) for each in planned(found, rules)]


def apply(found: Snapshot, evictions: tuple[Eviction, ...]) -> Snapshot:
    """They are evicted one after the other, and made anew and placed by the scheduler each time."""
    pods = list(found.pods)
    world = world_of(found)
    engine = Engine(default_profile(), world)

    def first(rows: Any) -> int:
        return min(rows, key=lambda row: world.table.nodes[row].metadata.name)  # type: ignore[union-attr]

    for each in evictions:
        pods = [pod for pod in pods if pod is not each.pod]
        world.unplace(("default", each.pod.metadata.name or ""))
        successor = codec.copy(unbound(each.pod))
        decision = engine.decide(world.infos.of(successor), first)
        assert decision.node == each.to
        successor.spec.nodeName, successor.status.phase = decision.node, "Running"
        world.place(world.infos.of(successor), decision.node)
        pods.append(successor)
    return msgspec.structs.replace(found, pods=pods)


# -- strategies ------------------------------------------------------------------------------------------


def test_pods_that_a_taint_keeps_away_go() -> None:
    tainted = node("a", taints=[taint("k", "v"), taint("soft", effect="PreferNoSchedule")])
    tolerant = owned("t", "a", tolerations=[{"key": "k", "operator": "Exists"}])
    found = snapshot([tainted, node("b")], [owned("p", "a"), tolerant, owned("q", "b")])
    assert evicted(found, policy(policies.TAINTS)) == [("p", "b")]
    excluded = policy(policies.TAINTS, args={policies.TAINTS: {"excludedTaints": ["k=v"]}})
    assert evicted(found, excluded) == []
    soft = policy(policies.TAINTS, args={policies.TAINTS: {"includePreferNoSchedule": True}})
    assert evicted(found, soft) == [("p", "b"), ("t", "b")]


def test_pods_whose_node_lost_what_they_want_go_where_it_is() -> None:
    nodes = [node("a"), node("b", labels={"disk": "ssd"})]
    wanting = owned("p", "a", nodeSelector={"disk": "ssd"})
    found = snapshot(nodes, [wanting, owned("q", "a")])
    assert evicted(found, policy(policies.NODE_AFFINITY)) == [("p", "b")]
    # There is no such node: it had better stay, unless nobody asks.
    nowhere = snapshot(nodes[:1], [wanting])
    assert evicted(nowhere, policy(policies.NODE_AFFINITY)) == []
    careless = policy(policies.NODE_AFFINITY, evictor={"nodeFit": False})
    assert evicted(nowhere, careless) == [("p", "")]


def apart(**more: Any) -> dict[str, Any]:
    term = {"labelSelector": APP, "topologyKey": "host"}
    return {
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}},
        **more,
    }


def test_pods_that_keep_each_other_off_are_taken_apart() -> None:
    nodes = [node(name, labels={"host": name}) for name in "abc"]
    pods = [owned("old", "a", **apart(age_s=9000)), owned("young", "a", **apart(age_s=60))]
    assert evicted(snapshot(nodes, pods), policy(policies.ANTI_AFFINITY)) == [("young", "b")]
    # It is the less important one that goes, though the other one has the term.
    pods = [owned("high", "a", priority=10, **apart()), owned("low", "a")]
    assert evicted(snapshot(nodes, pods), policy(policies.ANTI_AFFINITY)) == [("low", "b")]
    assert evicted(snapshot(nodes[:1], pods), policy(policies.ANTI_AFFINITY)) == []


def spread(skew: int = 1) -> dict[str, Any]:
    rule = {
        "maxSkew": skew,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": APP,
    }
    return {"topologySpreadConstraints": [rule]}


def test_pods_are_spread_again() -> None:
    nodes = [node(name, labels={"zone": name}) for name in "ab"]
    pods = [owned(f"p{n}", "a", **spread()) for n in range(5)]
    found = snapshot(nodes, pods)
    assert evicted(found, policy(policies.SPREAD)) == [("p0", "b"), ("p1", "b")]
    wide = snapshot(nodes, [owned(f"p{n}", "a", **spread(3)) for n in range(5)])
    assert evicted(wide, policy(policies.SPREAD)) == [("p0", "b")]


def test_duplicates_go_to_nodes_that_have_none() -> None:
    nodes = [node("a"), node("b"), node("c", unschedulable=True)]
    found = snapshot(nodes, [owned(f"p{n}", "a") for n in range(4)])
    rules = policy(policies.DUPLICATES)
    assert evicted(found, rules) == [("p0", "b"), ("p1", "b")]
    assert planned(found, rules)[0].why == "there are 4 pods of its controller on the node, and 2 would do"
    other = snapshot(nodes, [owned("p0", "a"), owned("p1", "a", "db")])
    assert evicted(other, rules) == []
    spared = policy(policies.DUPLICATES, args={policies.DUPLICATES: {"excludeOwnerKinds": ["ReplicaSet"]}})
    assert evicted(found, spared) == []


def test_over_used_nodes_give_to_those_with_room_to_spare() -> None:
    nodes = [node("a"), node("b"), node("c")]
    pods = [owned(f"p{n}", "a", cpu="500m") for n in range(8)] + [owned("q", "c", cpu="1500m")]
    found = snapshot(nodes, pods)  # a: 100 %, b: 0 %, c: 37.5 %
    rules = policy(policies.UTILIZATION)
    assert evicted(found, rules) == [("p0", "b"), ("p1", "b"), ("p2", "b"), ("p3", "c")]
    assert planned(found, rules)[0].why == "the node is over-used: cpu 100%, pods 80%"
    full = snapshot(nodes[:1] + nodes[2:], pods)
    assert evicted(full, rules) == []  # nobody has room to spare
    many = policy(policies.UTILIZATION, args={policies.UTILIZATION: {**UTILIZATION, "numberOfNodes": 1}})
    assert evicted(found, many) == []


# -- who stays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "evictor", "why"),
    [
        (owned("p", "a"), {}, ""),
        (owned("p", "a", annotations={MIRROR: "x"}), {}, "it is a static pod of the node"),
        (owned("p", "a", kind="DaemonSet"), {}, "its DaemonSet keeps it there"),
        (pod("p", nodeName="a"), {}, "no controller would make it again"),
        (owned("p", "a", priority=SYSTEM), {}, "its priority is too high"),
        (owned("p", "a", priority=SYSTEM), {"evictSystemCriticalPods": True}, ""),
        (owned("p", "a", priority=5), {"priorityThreshold": {"value": 5}}, "its priority is too high"),
        (owned("p", "a", priority=5), {"priorityThreshold": {"name": "mid"}}, "its priority is too high"),
        (owned("p", "a", priority=4), {"priorityThreshold": {"name": "mid"}}, ""),
        (owned("p", "a", volumes=[{"name": "v", "emptyDir": {}}]), {}, "it has data on the node"),
        (owned("p", "a", volumes=[{"name": "v", "emptyDir": {}}]), {"evictLocalStoragePods": True}, ""),
        (
            owned("p", "a", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
            {"ignorePvcPods": True},
            "it has claims",
        ),
        (owned("p", "a"), {"labelSelector": OTHERS}, "its labels are not those asked for"),
        (owned("p", "a"), {"minReplicas": 2}, "its controller has too few pods"),
        (owned("p", "a", age_s=60), {"minPodAge": "5m"}, "it is too young"),
        (owned("p", "a", schedulingGroup={"podGroupName": "g"}), {}, "it belongs to a group"),
        (
            owned("p", "a", priority=SYSTEM, annotations={EVICT: ""}),
            {},
            "",
        ),
    ],
)  # fmt: skip
def test_who_stays_whatever_it_violates(made: api.Pod, evictor: dict[str, Any], why: str) -> None:
    rules = policy(policies.DUPLICATES, evictor=evictor)
    classes = [codec.from_builtins({"metadata": {"name": "mid"}, "value": 5}, api.PriorityClass)]
    assert Evictable(rules.strategies[0].evictor, [made], classes, NOW).why_not(made) == why


def test_caps_bound_one_run() -> None:
    tainted = [node(name, taints=[taint("k")]) for name in "ab"]
    pods = [owned(f"{name}{n}", name) for name in "ab" for n in range(3)]
    found = snapshot([*tainted, node("c")], pods)
    assert len(planned(found, policy(policies.TAINTS))) == 6
    assert len(planned(found, policy(policies.TAINTS, maxNoOfPodsToEvictTotal=4))) == 4
    assert evicted(found, policy(policies.TAINTS, maxNoOfPodsToEvictPerNode=1)) == [("a0", "c"), ("b0", "c")]
    assert len(planned(found, policy(policies.TAINTS, maxNoOfPodsToEvictPerNamespace=3))) == 3
    assert planned(found, policy(policies.TAINTS, maxNoOfPodsToEvictTotal=0)) == ()


def test_budgets_and_namespaces_are_heeded() -> None:
    nodes = [node("a", taints=[taint("k")]), node("b")]
    pods = [owned(f"p{n}", "a") for n in range(3)]
    assert len(planned(snapshot(nodes, pods, budget(1)), policy(policies.TAINTS))) == 1
    assert planned(snapshot(nodes, pods, budget(0)), policy(policies.TAINTS)) == ()
    assert planned(snapshot(nodes, pods, budget(3), budget(3)), policy(policies.TAINTS)) == ()
    elsewhere = {policies.TAINTS: {"namespaces": {"exclude": ["default"]}}}
    assert planned(snapshot(nodes, pods), policy(policies.TAINTS, args=elsewhere)) == ()


def test_nodes_that_the_selector_leaves_out_keep_their_pods() -> None:
    nodes = [node("a", taints=[taint("k")], labels={"pool": "x"}), node("b")]
    found = snapshot(nodes, [owned("p", "a")])
    assert evicted(found, policy(policies.TAINTS, nodeSelector="pool!=x")) == []
    assert evicted(found, policy(policies.TAINTS, nodeSelector="pool=x")) == [("p", "b")]


def test_room_that_waiting_pods_will_take_is_not_given_away() -> None:
    nodes = [
        node("a", taints=[taint("k")]),
        node("b", allocatable={"cpu": "1", "memory": "8Gi", "pods": "9"}),
    ]
    waiting = pod("w", containers=[container(cpu="1")], priority=5)
    going = owned("p", "a", cpu="500m")
    assert evicted(snapshot(nodes, [going]), policy(policies.TAINTS)) == [("p", "b")]
    assert evicted(snapshot(nodes, [going, waiting]), policy(policies.TAINTS)) == []


# -- what is done is done --------------------------------------------------------------------------------

NODES = st.sampled_from("abcd")
PODS = st.lists(
    st.tuples(
        NODES,
        st.sampled_from(["web", "db"]),
        st.sampled_from([100, 400, 900]),
        st.sampled_from(["", "apart", "spread", "ssd"]),
        st.integers(0, 1),
    ),
    max_size=14,
)


def cluster(pods: list[tuple[str, str, int, str, int]], tainted: str) -> Snapshot:
    nodes = [
        node(
            name,
            labels={
                "host": name,
                "zone": (name in "ab" and "x") or "y",
                "disk": "ssd" if name in "bd" else "hdd",
            },
            taints=[taint("k")] if name == tainted else [],
        )
        for name in "abcd"
    ]
    rules: dict[str, Any] = {
        "": {},
        "apart": apart(),
        "spread": spread(),
        "ssd": {"nodeSelector": {"disk": "ssd"}},
    }
    made = [
        owned(f"p{n:02}", on, owner, cpu=f"{cpu}m", priority=priority, **rules[rule])
        for n, (on, owner, cpu, rule, priority) in enumerate(pods)
    ]
    return snapshot(nodes, made)


@pytest.mark.parametrize("name", policies.STRATEGIES)
@settings(max_examples=40, deadline=None)
@given(pods=PODS, tainted=st.sampled_from(["", "a"]))
def test_once_it_is_done_nothing_more_is_wanted(
    name: str, pods: list[tuple[str, str, int, str, int]], tainted: str
) -> None:
    before, rules = cluster(pods, tainted), policy(name)
    after = apply(before, planned(before, rules))
    assert evicted(after, rules) == []
    assert sum(1 for p in before.pods if p.spec.nodeName) == sum(1 for p in after.pods if p.spec.nodeName)


@settings(max_examples=60, deadline=None)
@given(pods=PODS, tainted=st.sampled_from(["", "a"]))
def test_all_strategies_together_come_to_rest(
    pods: list[tuple[str, str, int, str, int]], tainted: str
) -> None:
    found, rules = cluster(pods, tainted), policy(*policies.STRATEGIES)
    for _ in range(6):
        evictions = planned(found, rules)
        if not evictions:
            return
        found = apply(found, evictions)
    raise AssertionError("it evicts for ever")
