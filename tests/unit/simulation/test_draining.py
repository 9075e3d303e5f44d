"""What draining a node would come to."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.simulate import drain_text
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api, codec
from sampan.simulation.draining import drain
from sampan.simulation.workloads import SimulationError
from tests.unit.scheduler.objects import container, node, pod

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def owned(name: str, kind: str = "ReplicaSet", cpu: str = "1", status: Any = None, **spec: Any) -> api.Pod:
    found = pod(name, nodeName="a", containers=[container(cpu=cpu)], status=status or READY, **spec)
    found.metadata.labels = {"app": "w"}
    found.metadata.ownerReferences = [
        api.OwnerReference(apiVersion="apps/v1", kind=kind, name="o", uid="u", controller=True)
    ]
    return found


def budget(allowed: int, name: str = "keep", **spec: Any) -> api.PodDisruptionBudget:
    whole = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}, **spec},
        "status": {"disruptionsAllowed": allowed, "currentHealthy": 2, "desiredHealthy": 2 - allowed},
    }
    return codec.from_builtins(whole, api.PodDisruptionBudget)


def snapshot(pods: list[api.Pod], *budgets: api.PodDisruptionBudget, cpu: str = "4") -> Snapshot:
    other = node("b", allocatable={"cpu": cpu, "memory": "8Gi", "pods": "10"})
    return Snapshot([node("a"), other], pods, {api.PodDisruptionBudget: list(budgets)})


def test_who_goes_where() -> None:
    ended = owned("ended", "Job", status={"phase": "Succeeded"})
    data = [{"name": "cache", "emptyDir": {}}]
    pods = [owned("d", "DaemonSet"), owned("w1"), owned("w2", cpu="4"), pod("alone", nodeName="a"), ended]
    found = drain(snapshot([*pods, owned("w3", volumes=data)]), "a")
    assert [(p.name, p.node) for p in found.moved] == [("w1", "b"), ("w2", ""), ("w3", "b")]
    assert found.moved[1].why == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
    assert found.moved[2].why == "what is in its emptyDir cache is lost"
    assert [p.name for p in found.lost] == ["alone", "ended"]
    assert [(p.name, p.why) for p in found.stays] == [("d", "DaemonSet o keeps it there")]
    assert drain_text(found).startswith(
        "Draining a would move 2 pods, leave 1 without a node, lose 2, and be"
    )


@pytest.mark.parametrize(
    ("allowed", "cpu", "moved", "blocked"),
    [
        (0, "4", [], ["w1", "w2", "w3"]),
        (1, "4", ["w1", "w2", "w3"], []),  # one after the other, as each is ready elsewhere
        (1, "1", ["w1", "w2"], ["w3"]),  # the second finds no room, and the budget stays spent
        (3, "1", ["w1", "w2", "w3"], []),
    ],
)
def test_budgets_are_heeded(allowed: int, cpu: str, moved: list[str], blocked: list[str]) -> None:
    found = drain(snapshot([owned("w1"), owned("w2"), owned("w3")], budget(allowed), cpu=cpu), "a")
    assert [p.name for p in found.moved] == moved
    assert [p.name for p in found.blocked] == blocked
    assert all(p.why.startswith("PodDisruptionBudget keep needs ") for p in found.blocked)


def test_pods_that_cost_no_budget() -> None:
    pending = owned("pending", status={"phase": "Pending"})
    unready = owned("unready", status={"phase": "Running"})
    found = drain(snapshot([pending, unready], budget(0, unhealthyPodEvictionPolicy="AlwaysAllow")), "a")
    assert [p.name for p in found.moved] == ["pending", "unready"]


def test_two_budgets_for_one_pod() -> None:
    found = drain(snapshot([owned("w1")], budget(1), budget(1, "too")), "a")
    assert "the PodDisruptionBudgets keep, too select it" in found.blocked[0].why


def test_an_unknown_node() -> None:
    with pytest.raises(SimulationError, match="there is no node 'x'"):
        drain(Snapshot(), "x")


def test_neighbours_move_together_as_their_affinity_allows() -> None:
    """What was on the node does not keep its successors away from each other's new place."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    there = [node(name, labels={"kubernetes.io/hostname": name}) for name in ("a", "b")]
    found = drain(Snapshot(there, [owned("w1", affinity=apart), owned("w2", affinity=apart)]), "a")
    assert [p.node for p in found.moved] == ["b", ""]
