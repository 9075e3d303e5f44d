"""A profile that orders pods by deadline: the earliest gets the room, whoever came first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sampan.schema import api
from sampan.testing import Cluster
from tests.unit.scheduler.test_shell import web

CONFIG = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "profiles": [
        {
            "schedulerName": "by-deadline",
            "plugins": {"queueSort": {"disabled": [{"name": "*"}], "enabled": [{"name": "DeadlineSort"}]}},
        },
        {"schedulerName": "default-scheduler"},
    ],
}
DEADLINE = "scheduling.sampan.dev/deadline"


def job(cluster: Cluster, name: str, due_s: float | None = None, **spec: Any) -> None:
    """A pod that fills the node, to be done after so many seconds."""
    ask = {"requests": {"cpu": "5"}}
    containers = [{"name": "c", "image": "i", "resources": ask}]
    one = web(name, schedulerName="by-deadline", containers=containers, **spec)
    if due_s is not None:
        one.metadata.annotations = {DEADLINE: due(cluster, due_s)}
    cluster.client.create(one)


def due(cluster: Cluster, seconds: float) -> str:
    return (cluster.now() + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def running(cluster: Cluster) -> str:
    """The one pod that has the node."""

    def holders() -> list[str]:
        return [p.metadata.name or "" for p in cluster.client.list(api.Pod, "default") if p.spec.nodeName]

    cluster.wait_until(lambda: len(holders()) == 1)
    return holders()[0]


def order(cluster: Cluster, count: int) -> list[str]:
    """Who has the node, one after the other."""
    found = []
    for _ in range(count):
        found.append(running(cluster))
        cluster.client.delete(api.Pod, found[-1], "default", grace_s=0)
    return found


def cordon(cluster: Cluster, yes: bool) -> None:
    cluster.client.patch(api.Node, "node-1", "", {"spec": {"unschedulable": yes or None}})
    cluster.wait_until(lambda: bool(cluster.scheduler.world.table.unschedulable.any()) == yes)


def all_wait(cluster: Cluster, count: int) -> None:
    def waits(pod: api.Pod) -> bool:
        return any(c.type == "PodScheduled" and c.reason == "Unschedulable" for c in pod.status.conditions)

    cluster.wait_until(lambda: sum(map(waits, cluster.client.list(api.Pod, "default"))) == count)


def test_the_earliest_deadline_first() -> None:
    with Cluster(scheduler_config=CONFIG) as cluster:
        cordon(cluster, True)
        cluster.client.create(api.PriorityClass(metadata=api.ObjectMeta(name="high"), value=10))
        job(cluster, "whenever")
        job(cluster, "late", 90_000)
        job(cluster, "limited", activeDeadlineSeconds=50_000)
        job(cluster, "soon", 30_000)
        job(cluster, "important", priorityClassName="high")
        all_wait(cluster, 5)
        cordon(cluster, False)
        assert order(cluster, 5) == ["important", "soon", "limited", "late", "whenever"]


def test_a_deadline_that_changes_while_the_pod_waits() -> None:
    with Cluster(scheduler_config=CONFIG) as cluster:
        cordon(cluster, True)
        for name, due_s in (("a", 40_000), ("b", 50_000), ("c", 60_000)):
            job(cluster, name, due_s)
        all_wait(cluster, 3)
        sooner = {"metadata": {"annotations": {DEADLINE: due(cluster, 20_000)}}}
        cluster.client.patch(api.Pod, "c", "default", sooner)

        def moved() -> bool:
            held = cluster.scheduler.queue.find(("default", "c"))
            return held is not None and held.rank < _rank(cluster, "a")

        cluster.wait_until(moved)
        cordon(cluster, False)
        assert order(cluster, 3) == ["c", "a", "b"]


def _rank(cluster: Cluster, name: str) -> float:
    held = cluster.scheduler.queue.find(("default", name))
    return held.rank if held is not None else 0.0
