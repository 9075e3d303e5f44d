"""Explanations: every refusal, scores, and changes that do let the pod run once they are made."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.base.errors import SampanError
from sampan.cli.explain import explanation_text
from sampan.scheduler.asking import explain_pod
from sampan.scheduler.explain import Explanation, explain
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api, codec
from sampan.testing.cluster import Cluster
from tests.unit.scheduler.objects import container, node, pod, taint

PORT = {"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}


def terms(*expressions: dict[str, Any]) -> dict[str, Any]:
    required = {"nodeSelectorTerms": [{"matchExpressions": [e]} for e in expressions]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def of(wanting: api.Pod, *nodes: api.Node, placed: tuple[api.Pod, ...] = ()) -> Explanation:
    return explain(Snapshot(nodes, (*placed, wanting)), wanting)


def ways(found: Explanation) -> list[list[str]]:
    return [[change.text for change in way.changes] for way in found.ways]


@pytest.mark.parametrize(
    ("nodes", "spec", "wanted"),
    [
        ([node("a")], {"containers": [container(cpu="6")]},
         [["2 more cpu on a, or a pod that asks for 4 instead of 6"]]),
        ([node("a"), node("b", allocatable={"cpu": "5500m", "memory": "8Gi", "pods": "9"})],
         {"containers": [container(cpu="6")]},
         [["500m more cpu on b, or a pod that asks for 5500m instead of 6"],
          ["2 more cpu on a, or a pod that asks for 4 instead of 6"]]),
        ([node("a", allocatable={"cpu": "4", "memory": "8Gi"})], {}, [["room for 1 more pod on a"]]),
        ([node("a")], {"containers": [container(**{"example.com/gpu": "2"})]},
         [["2 more example.com/gpu on a"]]),
        ([node("a", unschedulable=True)], {}, [["uncordon node a"]]),
        ([node("a", unschedulable=True, taints=[taint("node.kubernetes.io/unschedulable")])], {},
         [["uncordon node a"]]),
        ([node("a", taints=[taint("gpu", "yes")])], {},
         [["add a toleration of the taint gpu=yes:NoSchedule to the pod"]]),
        ([node("a", taints=[taint("k", effect="NoExecute"), taint("soft", effect="PreferNoSchedule")])], {},
         [["add a toleration of the taint k:NoExecute to the pod"]]),
        ([node("a")], {"nodeSelector": {"disk": "ssd"}}, [["label node a with disk=ssd (it is missing)"]]),
        ([node("a", labels={"disk": "hdd"})], {"nodeSelector": {"disk": "ssd"}},
         [["label node a with disk=ssd (it is 'hdd')"]]),
        ([node("a", labels={"gen": "2"})],
         {"affinity": terms({"key": "gen", "operator": "Gt", "values": ["4"]})},
         [["label node a with gen=5 (it is '2')"]]),
        ([node("a", labels={"old": "x"})], {"affinity": terms({"key": "old", "operator": "DoesNotExist"})},
         [["remove the label old from node a (it is 'x')"]]),
        # A contradiction cannot be mended by labels.
        ([node("a")],
         {"nodeSelector": {"z": "1"}, "affinity": terms({"key": "z", "operator": "In", "values": ["2"]})},
         []),
        # Fewer changes come first; both of a node's are told together.
        ([node("a", unschedulable=True, taints=[taint("k")]), node("b", taints=[taint("k")])], {},
         [["add a toleration of the taint k:NoSchedule to the pod"],
          ["uncordon node a", "add a toleration of the taint k:NoSchedule to the pod"]]),
        ([node("a")], {"schedulingGates": [{"name": "later"}]},
         [["remove the scheduling gate later from the pod"]]),
    ],
)  # fmt: skip
def test_smallest_changes(nodes: list[api.Node], spec: dict[str, Any], wanted: list[list[str]]) -> None:
    assert ways(of(pod("p", **spec), *nodes)) == wanted


def test_every_refusal_is_told_and_the_changes_made_open_the_node() -> None:
    shut = node("a", unschedulable=True, taints=[taint("k")], allocatable={"cpu": "1", "pods": "5"})
    spec = {"containers": [container(cpu="2")], "nodeSelector": {"x": "y"}}
    (answer,) = of(pod("p", **spec), shut).nodes
    assert [r.plugin for r in answer.refusals] == [
        "NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodeResourcesFit",
    ]  # fmt: skip
    assert [c.kind for c in answer.changes] == ["uncordon", "toleration", "label", "resource"]
    mended = node("a", labels={"x": "y"}, taints=[taint("k")], allocatable={"cpu": "2", "pods": "5"})
    tolerating = pod("p", **spec, tolerations=[{"key": "k", "operator": "Exists"}])
    assert of(tolerating, mended).nodes[0].score is not None


def test_a_taken_port_names_who_has_it() -> None:
    found = of(pod("p", containers=[PORT]), node("a"), placed=(pod("web", nodeName="a", containers=[PORT]),))
    assert ways(found) == [["free host port 80/TCP on a, which pod default/web has"]]


def test_a_placed_pod_is_scored_as_if_it_were_not_there() -> None:
    found = of(
        pod("p", nodeName="a", containers=[container(cpu="4")]), node("a"), node("b", unschedulable=True)
    )
    first, second = found.nodes
    assert (found.node, found.message, found.ways) == ("a", "", ())
    assert first.score == sum(first.scores.values())
    assert first.scores["NodeResourcesFit"] == 48  # no CPU left, of 8 GiB 200 MiB are taken: (0 + 97) // 2
    assert second.score is None


def test_no_nodes() -> None:
    assert of(pod("p")).message == "no nodes available to schedule pods"


def test_in_a_cluster() -> None:
    with Cluster(nodes=1) as cluster:
        data = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big", "namespace": "default"},
            "spec": {"containers": [container(cpu="5000")]},
        }  # fmt: skip
        cluster.client.create(codec.from_builtins(data, api.Pod))
        found = cluster.call(explain_pod(cluster.async_client, "default", "big"))
        assert "Insufficient cpu" in found.message
        (way,) = found.ways
        assert way.changes[0].kind == "resource"
        told = explanation_text(found)
        assert f"1. {way.changes[0].text}" in told
        assert "Pod default/big (Pending) is on no node." in told
        with pytest.raises(SampanError, match="There is no pod 'none' in namespace 'default'"):
            cluster.call(explain_pod(cluster.async_client, "default", "none"))
