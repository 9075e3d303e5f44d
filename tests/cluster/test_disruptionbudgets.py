from __future__ import annotations

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api
from sampan.testing import Cluster

LABELS = {"app": "web"}


def evict(cluster: Cluster, name: str) -> None:
    eviction = api.Eviction(
        apiVersion="policy/v1", kind="Eviction", metadata=api.ObjectMeta(name=name, namespace="default")
    )
    path = f"/api/v1/namespaces/default/pods/{name}/eviction"
    cluster.call(cluster.async_client.post(path, eviction, dict))


def status(cluster: Cluster) -> api.PodDisruptionBudgetStatus:
    return cluster.client.get(api.PodDisruptionBudget, "web", "default").status


def pods(cluster: Cluster) -> list[str]:
    return sorted(pod.metadata.name or "" for pod in cluster.client.list(api.Pod, "default"))


@pytest.mark.conformance("DisruptionController should block an eviction until the PDB is updated to allow it")
@pytest.mark.conformance("DisruptionController should create a PodDisruptionBudget")
@pytest.mark.conformance("DisruptionController should observe PodDisruptionBudget status updated")
def test_evictions_stop_at_the_budget_and_go_on_when_it_is_made_wider() -> None:
    with Cluster() as cluster:
        template = api.PodTemplateSpec(
            metadata=api.ObjectMeta(labels=LABELS),
            spec=api.PodSpec(containers=[api.Container(name="c", image="c:1")]),
        )
        selector = api.LabelSelector(matchLabels=LABELS)
        cluster.client.create(
            api.ReplicaSet(
                metadata=api.ObjectMeta(name="web", namespace="default"),
                spec=api.ReplicaSetSpec(replicas=3, selector=selector, template=template),
            )
        )
        cluster.client.create(
            api.PodDisruptionBudget(
                metadata=api.ObjectMeta(name="web", namespace="default"),
                spec=api.PodDisruptionBudgetSpec(selector=selector, maxUnavailable=0),
            )
        )
        cluster.wait_until(lambda: status(cluster).currentHealthy == 3)
        assert (status(cluster).expectedPods, status(cluster).disruptionsAllowed) == (3, 0)
        with pytest.raises(ApiError, match="disruption budget"):
            evict(cluster, pods(cluster)[0])
        wider = {"spec": {"maxUnavailable": 1}}
        cluster.client.patch(api.PodDisruptionBudget, "web", "default", wider)
        cluster.wait_until(lambda: status(cluster).disruptionsAllowed == 1)
        first = pods(cluster)[0]
        evict(cluster, first)
        cluster.wait_until(lambda: first not in pods(cluster) and len(pods(cluster)) == 3)
        cluster.wait_until(lambda: status(cluster).disruptionsAllowed == 1)
        assert status(cluster).disruptedPods == {}
