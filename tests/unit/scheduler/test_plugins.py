"""Each plugin as a table: what it refuses, in which words, and what it scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.scheduler.changes import ALL
from sampan.scheduler.cycle import Engine
from sampan.scheduler.framework import Plugin
from sampan.scheduler.plugins import node_balance
from sampan.scheduler.plugins.node_balance import NodeResourcesBalancedAllocation
from sampan.scheduler.plugins.node_resources import NodeResourcesFit
from sampan.scheduler.plugins.taint_toleration import TaintToleration
from sampan.scheduler.registry import default_profile
from sampan.scheduler.requests import MOST_AMOUNT, demand
from sampan.scheduler.world import World
from sampan.schema import api
from tests.unit.scheduler.objects import container, decide, node, pod, table, taint

TAINT = "node(s) had untolerated taint(s)"
AFFINITY = "node(s) didn't match Pod's node affinity/selector"
GPU = "example.com/gpu"


def put(world: World, placed: api.Pod, name: str) -> None:
    world.place(world.infos.of(placed), name)


def scores_of(plugin: Plugin, wanting: api.Pod, world: World) -> dict[str, int] | None:
    state = plugin.prepare_score(world.infos.of(wanting), world)
    scores = plugin.score(state, world, ALL) if state is not None else None
    return None if scores is None else {name: int(scores[row]) for name, row in world.table.rows.items()}


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": list(terms)}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def preferred(*weighted: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    terms = [{"weight": weight, "preference": term} for weight, term in weighted]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


def in_zone(*values: str) -> dict[str, Any]:
    return {"matchExpressions": [expression("zone", "In", *values)]}


def on_node(name: str) -> dict[str, Any]:
    return {"matchFields": [expression("metadata.name", "In", name)]}


@pytest.mark.parametrize(
    ("pod_spec", "node_spec", "reason"),
    [
        ({}, {}, ""),
        ({}, {"unschedulable": True}, "node(s) were unschedulable"),
        # A cordoned node has the taint too; the first plugin's words are told.
        (
            {},
            {"unschedulable": True, "taints": [taint("node.kubernetes.io/unschedulable")]},
            "node(s) were unschedulable",
        ),
        ({"tolerations": [{"operator": "Exists"}]}, {"unschedulable": True}, ""),
        ({"nodeName": "b"}, {}, "node(s) didn't match the requested node name"),
        ({}, {"taints": [taint("k", "v")]}, TAINT),
        ({}, {"taints": [taint("k", "v", "NoExecute")]}, TAINT),
        ({}, {"taints": [taint("k", "v", "PreferNoSchedule")]}, ""),
        ({"tolerations": [{"key": "k", "value": "v"}]}, {"taints": [taint("k", "v")]}, ""),
        ({"tolerations": [{"key": "k", "value": "w"}]}, {"taints": [taint("k", "v")]}, TAINT),
        ({"tolerations": [{"key": "k", "operator": "Exists"}]}, {"taints": [taint("k", "v")]}, ""),
        (
            {"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]},
            {"taints": [taint("k", "v")]},
            TAINT,
        ),
        ({"tolerations": [{"key": "k", "value": "v"}]}, {"taints": [taint("k", "v"), taint("l")]}, TAINT),
        ({"tolerations": [{"key": "k", "operator": "Gt", "value": "5"}]}, {"taints": [taint("k", "6")]}, ""),
        (
            {"tolerations": [{"key": "k", "operator": "Gt", "value": "5"}]},
            {"taints": [taint("k", "5")]},
            TAINT,
        ),
        (
            {"tolerations": [{"key": "k", "operator": "Lt", "value": "5"}]},
            {"taints": [taint("k", "x")]},
            TAINT,
        ),
        ({"nodeSelector": {"zone": "x"}}, {"labels": {"zone": "x"}}, ""),
        ({"nodeSelector": {"zone": "x"}}, {"labels": {"zone": "y"}}, AFFINITY),
        ({"nodeSelector": {"zone": "x"}}, {}, AFFINITY),
        ({"affinity": affinity(in_zone("x"), in_zone("y"))}, {"labels": {"zone": "y"}}, ""),
        ({"affinity": affinity(in_zone("x"))}, {"labels": {"zone": "y"}}, AFFINITY),
        (
            {"affinity": affinity(in_zone("y")), "nodeSelector": {"disk": "ssd"}},
            {"labels": {"zone": "y"}},
            AFFINITY,
        ),
        ({"affinity": affinity({})}, {"labels": {"zone": "y"}}, AFFINITY),
        (
            {"affinity": affinity({"matchExpressions": [expression("n", "Gt", "3")]})},
            {"labels": {"n": "4"}},
            "",
        ),
        (
            {"affinity": affinity({"matchExpressions": [expression("n", "Lt", "3")]})},
            {"labels": {"n": "4"}},
            AFFINITY,
        ),
        ({"affinity": affinity({"matchExpressions": [expression("n", "NotIn", "3")]})}, {}, ""),
        ({"affinity": affinity({"matchExpressions": [expression("n", "Exists")]})}, {}, AFFINITY),
        ({"affinity": affinity({"matchExpressions": [expression("n", "DoesNotExist")]})}, {}, ""),
        ({"affinity": affinity(on_node("a"))}, {}, ""),
        ({"affinity": affinity(on_node("b"))}, {}, "node(s) didn't satisfy plugin(s) [NodeAffinity]"),
        # One open term makes the pod look at every node.
        ({"affinity": affinity(on_node("b"), in_zone("x"))}, {}, AFFINITY),
        ({"containers": [container(cpu="4")]}, {}, ""),
        ({"containers": [container(cpu="4001m")]}, {}, "Insufficient cpu"),
        ({"containers": [container(memory="9Gi")]}, {}, "Insufficient memory"),
        ({"containers": [container(**{GPU: "1"})]}, {}, f"Insufficient {GPU}"),
        ({"containers": [container(**{GPU: "0"})]}, {}, ""),
        ({"containers": [container(cpu="9E")]}, {}, "Insufficient cpu"),
        ({}, {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "0"}}, "Too many pods"),
    ],
)
def test_filters(pod_spec: dict[str, Any], node_spec: dict[str, Any], reason: str) -> None:
    decision = decide(pod(**pod_spec), table(node("a", **node_spec)))
    if reason:
        assert decision.node == ""
        assert decision.message == f"0/1 nodes are available: 1 {reason}."
    else:
        assert decision.node == "a"


def test_the_message_counts_each_reason_and_sorts_them_as_text() -> None:
    nodes = table(
        node("a", allocatable={"cpu": "1", "memory": "1Mi", "pods": "9"}),
        node("b", allocatable={"cpu": "1", "memory": "9Gi", "pods": "9"}),
        node("c", taints=[taint("k")]),
        node("d", unschedulable=True),
    )
    decision = decide(pod(containers=[container(cpu="2", memory="2Gi")]), nodes)
    assert decision.message == (
        "0/4 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 2 Insufficient cpu."
    )
    assert decision.refused_by == {"NodeResourcesFit", "TaintToleration", "NodeUnschedulable"}


def test_no_nodes_at_all() -> None:
    assert decide(pod(), table()).message == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("taken", "wanted", "clash"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, True),
        ({"hostPort": 80}, {"hostPort": 81}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "0.0.0.0"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"containerPort": 80}, {"containerPort": 80}, False),
    ],
)
def test_host_ports(taken: dict[str, Any], wanted: dict[str, Any], clash: bool) -> None:
    def with_port(port: dict[str, Any]) -> api.Pod:
        return pod(containers=[{**container(), "ports": [{"containerPort": 1, **port}]}])

    nodes = table(node("a"))
    put(nodes, with_port(taken), "a")
    message = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    decision = decide(with_port(wanted), nodes)
    assert (decision.node, decision.reasons and decision.message) == (("", message) if clash else ("a", ()))


def test_only_sidecars_among_the_init_containers_hold_host_ports() -> None:
    ports = [{"containerPort": 1, "hostPort": 80}]
    step, sidecar = container("step"), {**container("side"), "restartPolicy": "Always"}
    assert demand(pod(initContainers=[{**step, "ports": ports}])).ports == ()
    assert len(demand(pod(initContainers=[{**sidecar, "ports": ports}])).ports) == 1


def side(cpu: str) -> dict[str, Any]:
    return {**container(f"side{cpu}", cpu=cpu), "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("spec", "cpu", "scored_cpu"),
    [
        ({}, 0, 100),
        ({"containers": [container("a", cpu="1"), container("b", cpu="250m")]}, 1250, 1250),
        ({"containers": [container("a", cpu="1"), container("b")]}, 1000, 1100),
        ({"containers": [container(cpu="1")], "initContainers": [container("i", cpu="3")]}, 3000, 3000),
        ({"containers": [container(cpu="1")], "initContainers": [container("i", cpu="500m")]}, 1000, 1000),
        # A sidecar counts with the containers, and with every step after it.
        ({"containers": [container(cpu="1")], "initContainers": [side("500m")]}, 1500, 1500),
        (
            {"containers": [container(cpu="1")], "initContainers": [side("2"), container("i", cpu="2")]},
            4000,
            4000,
        ),
        (
            {"containers": [container(cpu="1")], "initContainers": [container("i", cpu="2"), side("2")]},
            3000,
            3000,
        ),
        ({"containers": [container(cpu="1")], "overhead": {"cpu": "250m"}}, 1250, 1250),
        ({"resources": {"requests": {"cpu": "2"}}, "containers": [container(cpu="1")]}, 2000, 2000),
        ({"resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "1"}}, 3000, 3000),
        ({"resources": {"requests": {"memory": "2"}}, "containers": [container()]}, 0, 100),
        ({"containers": [container(cpu="100u")]}, 1, 1),
        ({"containers": [container(cpu="9E")]}, MOST_AMOUNT, MOST_AMOUNT),
    ],
)
def test_demand(spec: dict[str, Any], cpu: int, scored_cpu: int) -> None:
    asked = demand(pod(**spec))
    assert (asked.amounts.get("cpu", 0), asked.scored_cpu, asked.amounts["pods"]) == (cpu, scored_cpu, 1)


def test_pod_level_requests_leave_no_defaults_for_what_is_asked_for() -> None:
    containers = [container("a", memory="1Mi"), container("b")]
    asked = demand(pod(containers=containers, resources={"requests": {"cpu": "1"}}))
    assert asked.scored_memory == 2**20
    assert demand(pod(containers=containers)).scored_memory == 2**20 + 200 * 2**20


def test_a_container_that_is_resized_counts_with_the_larger_amount() -> None:
    status = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "3"}}]}
    assert demand(pod(containers=[container(cpu="1")], status=status)).amounts["cpu"] == 3000
    assert demand(pod(containers=[container(cpu="4")], status=status)).amounts["cpu"] == 4000


def test_least_allocated_leaves_out_what_a_node_has_none_of() -> None:
    nodes = table(node("a"), node("b", allocatable={"cpu": "2", "pods": "9"}), node("c", allocatable={}))
    wanting = pod(containers=[container(cpu="1", memory="2Gi")])
    assert scores_of(NodeResourcesFit(), wanting, nodes) == {"a": 75, "b": 50, "c": 0}


def test_balance_is_what_the_pod_improves() -> None:
    nodes = table(node("even"), node("uneven"))
    put(nodes, pod("x", containers=[container(memory="8Gi")]), "uneven")
    plugin = NodeResourcesBalancedAllocation()
    wanting = pod(containers=[container(cpu="4")])
    assert scores_of(plugin, wanting, nodes) == {"even": 50, "uneven": 100}
    assert scores_of(plugin, pod(), nodes) is None


@given(
    st.lists(
        st.tuples(*[st.sampled_from(["0", "1", "2", "7", "16"])] * 3, *[st.integers(0, 9000)] * 3),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 3000),
    st.booleans(),
)
def test_one_node_is_as_even_as_it_is_among_many(
    offers: list[tuple[Any, ...]], milli: int, three: bool
) -> None:
    names = ("cpu", "memory", "example.com/gpu")[: 3 if three else 2]
    nodes = table(
        *(
            node(f"n{at}", allocatable={"pods": "99", **dict(zip(names, offer[:3], strict=False))})
            for at, offer in enumerate(offers)
        )
    )
    for at, offer in enumerate(offers):
        asked = {"cpu": f"{offer[3]}m", "memory": f"{offer[4]}m", "example.com/gpu": str(offer[5])}
        wanted = {name: asked[name] for name in names}
        put(nodes, pod(f"p{at}", containers=[{"name": "c", "resources": {"requests": wanted}}]), f"n{at}")
    more = [(name, milli) for name in names]
    rows = [nodes.table.rows[f"n{at}"] for at in range(len(offers))]
    together = node_balance._evenness(nodes, slice(0, nodes.table.size), more)
    alone = [node_balance._evenness_of(nodes, row, more) for row in rows]
    assert alone == [int(together[row]) for row in rows]


def test_preferred_terms_add_up_and_scale_over_the_candidates_alone() -> None:
    nodes = table(
        node("x", labels={"zone": "x", "disk": "ssd"}, unschedulable=True),
        node("y", labels={"zone": "y"}),
        node("z", labels={"zone": "z"}),
    )
    ssd = {"matchExpressions": [expression("disk", "In", "ssd")]}
    wanting = pod(affinity=preferred((60, in_zone("x")), (30, in_zone("y")), (100, ssd), (100, {})))
    engine, info = Engine(default_profile(), nodes), nodes.infos.of(wanting)
    rows = engine.feasible(info)
    assert isinstance(rows, np.ndarray)
    totals = dict(zip(rows.tolist(), engine.totals(info, rows).tolist(), strict=True))
    assert totals[nodes.table.rows["y"]] - totals[nodes.table.rows["z"]] == 2 * 100
    assert decide(wanting, nodes).node == "y"


def test_fewer_soft_taints_are_better() -> None:
    soft = [taint(key, effect="PreferNoSchedule") for key in "ab"]
    nodes = table(node("two", taints=soft), node("one", taints=soft[:1]), node("none"))
    assert scores_of(TaintToleration(), pod(), nodes) == {"two": 2, "one": 1, "none": 0}
    assert decide(pod(), nodes).node == "none"
    assert scores_of(TaintToleration(), pod(), table(node())) is None


def test_explain_names_the_plugin_of_each_node() -> None:
    nodes = table(node("a"), node("b", unschedulable=True))
    assert Engine(default_profile(), nodes).explain(nodes.infos.of(pod())) == [
        ("a", "", ""),
        ("b", "NodeUnschedulable", "node(s) were unschedulable"),
    ]


def test_a_resource_that_is_only_asked_for_leaves_no_column_behind() -> None:
    nodes = table(node("a"))
    decide(pod(containers=[container(**{GPU: "1"})]), nodes)
    assert GPU not in nodes.table._allocatable
    assert GPU not in nodes.table._requested


def test_rows_are_used_again_and_the_table_grows() -> None:
    nodes = table(*(node(f"n{i}") for i in range(40)))
    put(nodes, pod(containers=[container(cpu="4")]), "n7")
    nodes.remove_node("n7")
    nodes.put_node(node("fresh"))
    assert nodes.table.count == 40
    assert nodes.table.contents()["fresh"] == table(node("fresh")).table.contents()["fresh"]
