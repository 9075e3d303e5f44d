from __future__ import annotations

from typing import Any

import pytest

from sampan.schema import api
from sampan.testing import Cluster


def status(cluster: Cluster) -> Any:
    return cluster.client.get(api.ReplicationController, "web", "default").status


def create(cluster: Cluster, replicas: int) -> None:
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels={"app": "web"}),
        spec=api.PodSpec(containers=[api.Container(name="c", image="c:1")]),
    )
    cluster.client.create(
        api.ReplicationController(
            metadata=api.ObjectMeta(name="web", namespace="default"),
            spec=api.ReplicationControllerSpec(replicas=replicas, template=template),
        )
    )


def test_replicas_come_and_go() -> None:
    with Cluster() as cluster:
        create(cluster, 3)
        cluster.wait_until(lambda: status(cluster).availableReplicas == 3)
        cluster.client.patch(api.ReplicationController, "web", "default", {"spec": {"replicas": 1}})
        cluster.wait_until(lambda: len(cluster.client.list(api.Pod, "default")) == 1)
        cluster.wait_until(lambda: status(cluster).replicas == 1)
        cluster.client.delete(api.ReplicationController, "web", "default", propagation="Background")
        cluster.wait_until(lambda: not cluster.client.list(api.Pod, "default"))


@pytest.mark.conformance(
    "ReplicationController should surface a failure condition on a common issue like exceeded quota"
)
def test_a_quota_that_is_used_up_shows_as_a_failure_until_it_is_not() -> None:
    with Cluster() as cluster:
        quota = api.ResourceQuotaSpec(hard={"pods": "2"})
        meta = api.ObjectMeta(name="two", namespace="default")
        cluster.client.create(api.ResourceQuota(metadata=meta, spec=quota))
        cluster.wait_until(lambda: bool(cluster.client.get(api.ResourceQuota, "two", "default").status.hard))
        create(cluster, 3)

        def failure() -> api.ReplicationControllerCondition | None:
            return next((c for c in status(cluster).conditions if c.type == "ReplicaFailure"), None)

        cluster.wait_until(lambda: failure() is not None and status(cluster).replicas == 2)
        found = failure()
        assert found is not None
        assert (found.status, found.reason) == ("True", "FailedCreate")
        assert "exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2" in (
            found.message or ""
        )
        cluster.client.patch(api.ReplicationController, "web", "default", {"spec": {"replicas": 2}})
        cluster.wait_until(lambda: failure() is None)
