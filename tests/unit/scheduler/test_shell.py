"""The scheduler in a running cluster of simulated nodes: what users see of a pod that waits."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.schema import api, codec
from sampan.testing.cluster import Cluster

NOT_HELPFUL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
NO_MATCH = f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {NOT_HELPFUL}"
NO_VICTIMS = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
STRATEGIC_GATES: dict[str, Any] = {"spec": {"schedulingGates": []}}


def web(name: str = "web", **spec: Any) -> api.Pod:
    whole = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0, **spec}
    data = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": whole,
    }
    return codec.from_builtins(data, api.Pod)


def get(cluster: Cluster, name: str = "web") -> api.Pod:
    return cluster.client.get(api.Pod, name, "default")


def scheduled(pod: api.Pod) -> api.PodCondition | None:
    return next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)


def waits_because(cluster: Cluster, message: str, name: str = "web") -> None:
    def says_so() -> bool:
        condition = scheduled(get(cluster, name))
        return condition is not None and (condition.status, condition.message) == ("False", message)

    cluster.wait_until(says_so)
    condition = scheduled(get(cluster, name))
    assert condition is not None
    assert condition.reason == "Unschedulable"


def has_a_node(cluster: Cluster, name: str = "web") -> None:
    cluster.wait_until(lambda: bool(get(cluster, name).spec.nodeName))
    condition = scheduled(get(cluster, name))
    assert condition is not None
    assert condition.status == "True"


def events(cluster: Cluster, reason: str) -> list[str]:
    found = cluster.client.list(api.Event, "default", fields="involvedObject.name=web")
    return [event.message or "" for event in found if event.reason == reason]


def test_a_label_makes_a_pod_fit(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(web(nodeSelector={"disk": "ssd"}))
    message = NO_MATCH
    waits_because(cluster, message)
    cluster.wait_until(lambda: events(cluster, "FailedScheduling") == [message])
    cluster.client.patch(api.Node, "node-1", "", {"metadata": {"labels": {"disk": "ssd"}}})
    has_a_node(cluster)
    cluster.wait_until(
        lambda: events(cluster, "Scheduled") == ["Successfully assigned default/web to node-1"]
    )


def test_a_taint_that_goes_lets_a_pod_in(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    tainted = {"spec": {"taints": [{"key": "team", "value": "red", "effect": "NoSchedule"}]}}
    cluster.client.patch(api.Node, "node-1", "", tainted)
    cluster.client.create(web())
    waits_because(cluster, f"0/1 nodes are available: 1 node(s) had untolerated taint(s). {NOT_HELPFUL}")
    cluster.client.patch(api.Node, "node-1", "", {"spec": {"taints": None}})
    has_a_node(cluster)


def test_a_pod_that_goes_makes_room(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    big = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "5"}}}]
    cluster.client.create(web("first", containers=big))
    has_a_node(cluster, "first")
    cluster.client.create(web(containers=big))
    waits_because(cluster, f"0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}")
    since = scheduled(get(cluster)).lastTransitionTime  # type: ignore[union-attr]
    cluster.client.patch(api.Node, "node-1", "", {"metadata": {"labels": {"any": "thing"}}})
    cluster.advance(30)
    assert scheduled(get(cluster)).lastTransitionTime == since  # type: ignore[union-attr]
    cluster.client.delete(api.Pod, "first", "default", grace_s=0)
    has_a_node(cluster)


def test_a_neighbour_that_comes_lets_a_pod_in(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    term = {"labelSelector": {"matchLabels": {"app": "near"}}, "topologyKey": "kubernetes.io/hostname"}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.client.create(web("waiting", affinity=near))
    cluster.wait_until(lambda: scheduled(get(cluster, "waiting")) is not None)
    neighbour = web("neighbour")
    neighbour.metadata.labels = {"app": "near"}
    cluster.client.create(neighbour)
    has_a_node(cluster, "neighbour")
    cluster.advance(15)  # its back-off, and not the five minutes after which everybody is tried again
    has_a_node(cluster, "waiting")


def test_gates_hold_a_pod_back(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(web(schedulingGates=[{"name": "example.com/quota"}]))
    cluster.advance(10)
    condition = scheduled(get(cluster))
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "SchedulingGated")
    assert condition.message == "Scheduling is blocked due to non-empty scheduling gates"
    assert get(cluster).spec.nodeName is None
    cluster.client.patch(api.Pod, "web", "default", STRATEGIC_GATES)
    has_a_node(cluster)


def test_anothers_pods_are_left_alone(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(web(schedulerName="theirs"))
    cluster.client.create(web("ours"))
    has_a_node(cluster, "ours")
    cluster.advance(400)
    assert get(cluster).spec.nodeName is None
    assert scheduled(get(cluster)) is None
    assert events(cluster, "FailedScheduling") == []


def test_without_nodes() -> None:
    with Cluster(nodes=0) as cluster:
        cluster.wait_until(lambda: bool(cluster.client.list(api.ServiceAccount, "default")))
        cluster.client.create(web())
        waits_because(cluster, "no nodes available to schedule pods")


@pytest.mark.parametrize("count", [40])
def test_pods_spread_over_equal_nodes(count: int) -> None:
    with Cluster(nodes=4) as cluster:
        for number in range(count):
            cluster.client.create(web(f"p{number}"))
        cluster.wait_until(lambda: all(p.spec.nodeName for p in cluster.client.list(api.Pod, "default")))
        nodes = [p.spec.nodeName for p in cluster.client.list(api.Pod, "default")]
        assert sorted(nodes.count(name) for name in set(nodes)) == [10, 10, 10, 10]


def test_an_idle_scheduler_does_not_turn(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    cluster.client.create(web(nodeSelector={"disk": "ssd"}))
    waits_because(cluster, NO_MATCH)
    scheduler, tried = cluster.scheduler, 0
    pop = scheduler.queue.pop

    def counting(now_s: float) -> Any:
        nonlocal tried
        tried += 1
        return pop(now_s)

    scheduler.queue.pop = counting  # type: ignore[method-assign]
    cluster.advance(290)
    assert tried <= 3
    cluster.advance(700)
    assert 2 <= tried <= 12
