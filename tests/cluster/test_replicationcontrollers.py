from __future__ import annotations

from typing import Any

from sampan.schema import api
from sampan.testing import Cluster


def status(cluster: Cluster) -> Any:
    return cluster.client.get(api.ReplicationController, "web", "default").status


def test_replicas_come_and_go() -> None:
    with Cluster() as cluster:
        template = api.PodTemplateSpec(
            metadata=api.ObjectMeta(labels={"app": "web"}),
            spec=api.PodSpec(containers=[api.Container(name="c", image="c:1")]),
        )
        cluster.client.create(
            api.ReplicationController(
                metadata=api.ObjectMeta(name="web", namespace="default"),
                spec=api.ReplicationControllerSpec(replicas=3, template=template),
            )
        )
        cluster.wait_until(lambda: status(cluster).availableReplicas == 3)
        cluster.client.patch(api.ReplicationController, "web", "default", {"spec": {"replicas": 1}})
        cluster.wait_until(lambda: len(cluster.client.list(api.Pod, "default")) == 1)
        cluster.wait_until(lambda: status(cluster).replicas == 1)
        cluster.client.delete(api.ReplicationController, "web", "default", propagation="Background")
        cluster.wait_until(lambda: not cluster.client.list(api.Pod, "default"))
