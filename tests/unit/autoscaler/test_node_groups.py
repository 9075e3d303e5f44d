"""Node groups: what the file may say, and when they grow and shrink."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.autoscaler.nodes import room
from sampan.autoscaler.nodes.config import Config, Group, parse
from sampan.autoscaler.nodes.down import CANDIDATE, DISABLED, SAFE, TO_BE_DELETED, plan_down
from sampan.autoscaler.nodes.up import Growth, Option, best, plan_up
from sampan.machinery.quantity import quantity
from sampan.scheduler.configuration import configuration
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.schema import api

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = {"capacity": {"cpu": "2", "memory": "4Gi"}}
SMALL = {"name": "small", "max": 5, "provider": "simulated", "template": TEMPLATE}
LARGE = {**SMALL, "name": "large", "priority": 9, "template": {"capacity": {"cpu": "16", "memory": "32Gi"}}}


def config(*groups: Mapping[str, Any], **more: Any) -> Config:
    return parse({"groups": list(groups) or [SMALL], **more})


def group(**more: Any) -> Group:
    return config({**SMALL, **more}).groups[0]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"groups": []}, "at least one"),
        ({"groups": [SMALL, SMALL]}, "two node groups named 'small'"),
        ({"groups": [{**SMALL, "min": 6}]}, "min must be"),
        ({"groups": [{**SMALL, "provider": "aws"}]}, "none of spare, simulated, command"),
        ({"groups": [{**SMALL, "provider": "command"}]}, "give a command"),
        ({"groups": [{**SMALL, "template": {"capacity": {"cpu": "1"}}}]}, "must say memory"),
        ({"groups": [{**SMALL, "template": {"capacity": {"cpu": "x", "memory": "1"}}}]}, "capacity.cpu"),
        ({"groups": [SMALL], "expander": "price"}, "expander 'price'"),
        ({"groups": [SMALL], "unknown": 1}, "unknown"),
        ({"groups": [{**SMALL, "max": "5"}]}, "max"),
    ],
)
def test_what_cannot_be_used_is_named(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(document)


def pod(name: str, cpu: str = "1500m", node: str = "", **meta: Any) -> api.Pod:
    resources = api.ResourceRequirements(requests={"cpu": quantity(cpu)})
    condition = api.PodCondition(type="PodScheduled", status="False", reason="Unschedulable")
    owner = api.OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="r", uid="r", controller=True)
    meta = {"namespace": "default", "ownerReferences": [owner], "labels": {"app": "web"}, **meta}
    return api.Pod(
        metadata=api.ObjectMeta(name=name, uid=name, **meta),
        spec=api.PodSpec(
            nodeName=node or None, containers=[api.Container(name="c", image="c", resources=resources)]
        ),
        status=api.PodStatus(conditions=[] if node else [condition]),
    )


def grow(pods: list[api.Pod], chosen: Config, size: int = 0, **given: Any) -> tuple[str, int]:
    sizes = {g.name: size for g in chosen.groups}
    upcoming, backed_off = given.get("upcoming", {}), frozenset(given.get("backed_off", ()))
    growth = plan_up(Snapshot(pods=pods), chosen, sizes, upcoming, backed_off, lambda n: 0)
    option = growth.chosen
    return (option.group.name, option.count) if option is not None else ("", 0)


@pytest.mark.parametrize(
    ("count", "cpu", "size", "given", "grows"),
    [
        (0, "1", 0, {}, ("", 0)),
        (3, "1500m", 0, {}, ("small", 3)),
        (4, "1", 0, {}, ("small", 2)),
        (9, "1500m", 0, {}, ("small", 5)),
        (9, "1500m", 4, {}, ("small", 1)),
        (1, "1500m", 5, {}, ("", 0)),
        (1, "3", 0, {}, ("", 0)),
        (2, "1500m", 2, {"upcoming": {"small": ["a", "b"]}}, ("", 0)),
        (3, "1500m", 2, {"upcoming": {"small": ["a", "b"]}}, ("small", 1)),
        (1, "1", 0, {"backed_off": ["small"]}, ("", 0)),
    ],
)
def test_growth(count: int, cpu: str, size: int, given: Any, grows: tuple[str, int]) -> None:
    assert grow([pod(f"p{n}", cpu) for n in range(count)], config(), size, **given) == grows


def test_a_group_below_its_least_size_grows() -> None:
    assert grow([], config({**SMALL, "min": 2})) == ("small", 2)


@pytest.mark.parametrize(
    ("expander", "cpu", "name"),
    [("least-waste", "1500m", "small"), ("least-waste", "15", "large"), ("priority", "1500m", "large")],
)
def test_expanders(expander: str, cpu: str, name: str) -> None:
    assert grow([pod("p", cpu)], config(SMALL, LARGE, expander=expander))[0] == name


def test_chance_and_most_pods() -> None:
    few = Option(group(), 1, (pod("a"),))
    many = Option(group(name="b"), 1, (pod("a"), pod("b")))
    assert best([few, many], "most-pods", lambda n: 0) is many
    assert best([few, many], "random", lambda n: n - 1) is many


def node(name: str, cpu: str = "2", *taints: api.Taint, ready: str = "True", **annotations: str) -> api.Node:
    amounts = {"cpu": quantity(cpu), "memory": quantity("4Gi"), "pods": quantity("110")}
    said = api.NodeCondition(type="Ready", status=ready)
    return api.Node(
        metadata=api.ObjectMeta(name=name, annotations=annotations),
        spec=api.NodeSpec(taints=list(taints)),
        status=api.NodeStatus(capacity=amounts, allocatable=amounts, conditions=[said]),
    )


def candidate(seconds: int) -> api.Taint:
    at = int((NOW - timedelta(seconds=seconds)).timestamp())
    return api.Taint(key=CANDIDATE, value=str(at), effect="PreferNoSchedule")


def budget(allowed: int) -> api.PodDisruptionBudget:
    return api.PodDisruptionBudget(
        metadata=api.ObjectMeta(name="web", namespace="default"),
        spec=api.PodDisruptionBudgetSpec(selector=api.LabelSelector(matchLabels={"app": "web"})),
        status=api.PodDisruptionBudgetStatus(disruptionsAllowed=allowed),
    )


DIRECTORY = api.Volume(name="v", emptyDir=api.EmptyDirVolumeSource())
LITTLE = "100m"


def on_disk() -> api.Pod:
    made = pod("p", LITTLE, "a")
    made.spec.volumes = [DIRECTORY]
    return made


@pytest.mark.parametrize(
    ("pods", "budgets", "why"),
    [
        ([], [], ""),
        ([pod("p", LITTLE, "a")], [], ""),
        ([pod("p", "1", "a")], [], "utilization is 0.50"),
        ([pod("p", LITTLE, "a")], [budget(0)], "PodDisruptionBudget web"),
        ([pod("p", LITTLE, "a")], [budget(1)], ""),
        ([pod("p", LITTLE, "a", ownerReferences=[])], [], "no controller"),
        ([pod("p", LITTLE, "a", ownerReferences=[], annotations={SAFE: "true"})], [], ""),
        ([pod("p", LITTLE, "a", annotations={SAFE: "false"})], [], "safe-to-evict: false"),
        ([pod("p", LITTLE, "a", namespace="kube-system")], [], "system pod"),
        ([on_disk()], [], "local storage"),
        ([pod("p", "900m", "a"), pod("full", "1500m", "rest")], [], "no other node"),
    ],
)
def test_what_keeps_a_node(pods: list[api.Pod], budgets: list[api.PodDisruptionBudget], why: str) -> None:
    world = Snapshot([node("a"), node("rest")], pods)
    plan = plan_down(world, config(), {"small": ["a"]}, {}, budgets, NOW)
    assert plan.mark == (() if why else ("a",))
    assert why in plan.kept.get("a", "")


@pytest.mark.parametrize(
    ("nodes", "least", "mark", "unmark", "drain"),
    [
        ([node("a")], 0, ("a",), (), ()),
        ([node("a", "2", candidate(599))], 0, (), (), ()),
        ([node("a", "2", candidate(600))], 0, (), (), ("a",)),
        ([node("a", "2", candidate(600))], 1, (), ("a",), ()),
        ([node("a", "2", candidate(600)), node("b", "2", candidate(600))], 0, (), (), ("a",)),
        ([node("a", "2", candidate(600), api.Taint(key=TO_BE_DELETED, effect="NoSchedule"))], 0, (), (), ()),
        ([node("a", **{DISABLED: "true"})], 0, (), (), ()),
        ([node("a", "2", candidate(1199), ready="Unknown")], 0, (), (), ()),
        ([node("a", "2", candidate(1200), ready="Unknown")], 0, (), (), ("a",)),
    ],
)
def test_shrinking(nodes: list[api.Node], least: int, mark: Any, unmark: Any, drain: Any) -> None:
    names = [n.metadata.name or "" for n in nodes]
    plan = plan_down(Snapshot(nodes), config({**SMALL, "min": least}), {"small": names}, {}, [], NOW)
    assert (plan.mark, plan.unmark, plan.drain) == (mark, unmark, drain)


def test_a_node_that_is_on_its_way_is_no_candidate() -> None:
    names = {"small": ["a"]}
    plan = plan_down(Snapshot([node("a", ready="False")]), config(), names, names, [], NOW)
    assert plan.kept == {"a": "it is on its way"}


def test_a_node_that_registered_and_is_not_ready_counts_as_what_it_will_be() -> None:
    bare = node("a", "0", api.Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule"), ready="False")
    world = Snapshot([bare], [pod("p")])
    sizes = {"small": 1}
    assert plan_up(world, config(), sizes, {}, frozenset(), lambda n: 0).chosen is not None
    growth = plan_up(world, config(), sizes, {"small": ["a"]}, frozenset(), lambda n: 0)
    assert (growth.chosen, growth.unhelped) == (None, ())


def daemons(cpu: str, **labels: str) -> api.DaemonSet:
    resources = api.ResourceRequirements(requests={"cpu": quantity(cpu)})
    spec = api.PodSpec(
        containers=[api.Container(name="c", image="c", resources=resources)], nodeSelector=labels
    )
    template = api.PodTemplateSpec(metadata=api.ObjectMeta(labels={"app": "agent"}), spec=spec)
    return api.DaemonSet(
        apiVersion="apps/v1",
        kind="DaemonSet",
        metadata=api.ObjectMeta(name="agent", namespace="kube-system", uid="agent"),
        spec=api.DaemonSetSpec(template=template),
    )


@pytest.mark.parametrize(
    ("agents", "upcoming", "count", "why"),
    [
        ([], 0, 2, ""),
        ([daemons("500m")], 0, 4, ""),  # one pod of 900m each is all that is left of 2 CPUs
        ([daemons("500m", pool="other")], 0, 2, ""),
        ([daemons("1200m")], 0, 0, "Insufficient cpu"),
        ([daemons("500m")], 2, 2, ""),
    ],
)
def test_what_daemons_take_of_a_new_node(
    agents: list[api.DaemonSet], upcoming: int, count: int, why: str
) -> None:
    pods = [pod(f"p{n}", "900m") for n in range(4)]
    names = [f"n{n}" for n in range(upcoming)]
    world = Snapshot(pods=pods, others={api.DaemonSet: agents})
    growth = plan_up(world, config(), {"small": upcoming}, {"small": names}, frozenset(), lambda n: 0)
    assert (growth.chosen.count if growth.chosen is not None else 0) == count
    assert all(why in text for _, text in growth.unhelped)
    assert bool(growth.unhelped) == bool(why)


def test_daemons_that_a_coming_node_has_already_count_once() -> None:
    there = pod("agent-x", "500m", "a")
    there.metadata.ownerReferences[0].kind, there.metadata.ownerReferences[0].uid = "DaemonSet", "agent"
    world = Snapshot([node("a", ready="False")], [there, pod("p")], {api.DaemonSet: [daemons("500m")]})
    growth = plan_up(world, config(), {"small": 1}, {"small": ["a"]}, frozenset(), lambda n: 0)
    assert growth == Growth()


def test_a_daemon_that_waits_brings_no_node() -> None:
    waiting = pod("agent-x")
    waiting.metadata.ownerReferences[0].kind = "DaemonSet"
    assert grow([waiting], config()) == ("", 0)


def test_a_growth_that_was_carried_out_is_not_planned_again() -> None:
    chosen, world = config(SMALL, LARGE), Snapshot(pods=[pod(f"p{n}") for n in range(3)])
    sizes, upcoming = {"small": 0, "large": 0}, {"small": [], "large": []}
    option = plan_up(world, chosen, sizes, upcoming, frozenset(), lambda n: 0).chosen
    assert option is not None
    sizes[option.group.name] += option.count
    upcoming[option.group.name] += [f"n{index}" for index in range(option.count)]
    assert plan_up(world, chosen, sizes, upcoming, frozenset(), lambda n: 0) == Growth()


def test_a_shrinking_that_was_carried_out_is_not_planned_again() -> None:
    nodes = {n.metadata.name or "": n for n in (node("a", "2", candidate(600)), node("b"), node("c"))}
    pods = [pod("p", "1500m", "c")]
    members = {"small": list(nodes)}
    plan = plan_down(Snapshot(list(nodes.values()), pods), config(), members, {}, [], NOW)
    assert (plan.mark, plan.drain) == (("b",), ("a",))
    nodes["b"].spec.taints = [candidate(0)]
    nodes["a"].spec.taints += [api.Taint(key=TO_BE_DELETED, effect="NoSchedule")]
    again = plan_down(Snapshot(list(nodes.values()), pods), config(), members, {}, [], NOW)
    assert (again.mark, again.unmark, again.drain) == ((), (), ())


def test_pods_of_a_node_that_is_being_drained_take_room_elsewhere() -> None:
    going = node("a", "2", api.Taint(key=TO_BE_DELETED, effect="NoSchedule"))
    pods = [pod("p", "900m", "a"), pod("q", "900m", "b"), pod("r", "900m", "c")]
    plan = plan_down(Snapshot([going, node("b"), node("c")], pods), config(), {"small": "abc"}, {}, [], NOW)
    assert "would find no other node" in plan.kept["b"] + plan.kept["c"]


def test_the_scheduler_s_profiles_say_where_pods_could_go() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["extra"]}]}
    added = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    args = [{"name": "NodeAffinity", "args": {"addedAffinity": added}}]
    profiles = configuration(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [{"schedulerName": "picky", "pluginConfig": args}, {"schedulerName": "other"}],
        }
    ).profiles
    chosen = config(SMALL, {**LARGE, "template": {**LARGE["template"], "labels": {"pool": "extra"}}})
    sizes = {"small": 0, "large": 0}
    waiting = pod("p")
    for name, group_name in (("picky", "large"), ("other", "small")):
        waiting.spec.schedulerName = name
        world = Snapshot(pods=[waiting])
        growth = plan_up(world, chosen, sizes, {}, frozenset(), lambda n: 0, profiles)
        assert growth.chosen is not None
        assert growth.chosen.group.name == group_name
    little = pod("p", LITTLE, "a")
    little.spec.schedulerName = "picky"
    world = Snapshot([node("a"), node("b")], [little])
    plan = plan_down(world, config(), {"small": ["a"]}, {}, [], NOW, profiles)
    assert plan.kept == {"a": "pod default/p would find no other node"}


def test_all_nodes_are_asked_about_in_one_world(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Snapshot] = []
    monkeypatch.setattr(room, "world_of", lambda snapshot: made.append(snapshot) or world_of(snapshot))
    nodes = [node(f"n{n}") for n in range(20)]
    pods = [pod(f"p{n}", LITTLE, f"n{n}") for n in range(20)]
    names = {"small": [n.metadata.name or "" for n in nodes]}
    plan = plan_down(Snapshot(nodes, pods), config({**SMALL, "max": 20}), names, {}, [], NOW)
    assert (len(plan.mark), len(made)) == (20, 1)
