from __future__ import annotations

from typing import Any

from sampan.schema import api
from sampan.testing import Cluster

LABELS = {"app": "db"}


def statefulset(replicas: int, **spec: Any) -> api.StatefulSet:
    return api.StatefulSet(
        metadata=api.ObjectMeta(name="db", namespace="default"),
        spec=api.StatefulSetSpec(
            replicas=replicas,
            serviceName="db",
            selector=api.LabelSelector(matchLabels=LABELS),
            template=api.PodTemplateSpec(
                metadata=api.ObjectMeta(labels=LABELS),
                spec=api.PodSpec(containers=[api.Container(name="db", image="db:1")]),
            ),
            **spec,
        ),
    )


def status(cluster: Cluster) -> Any:
    return cluster.client.get(api.StatefulSet, "db", "default").status


def pods(cluster: Cluster) -> list[api.Pod]:
    found = cluster.client.list(api.Pod, "default")
    return sorted(found, key=lambda pod: pod.metadata.name or "")


def names(cluster: Cluster) -> list[str | None]:
    return [pod.metadata.name for pod in pods(cluster)]


def scale(cluster: Cluster, replicas: int) -> None:
    cluster.client.patch(api.StatefulSet, "db", "default", {"spec": {"replicas": replicas}})


def test_pods_come_in_order_are_updated_in_reverse_and_go_in_reverse() -> None:
    with Cluster(nodes=2) as cluster:
        cluster.client.create(statefulset(3))
        cluster.wait_until(lambda: status(cluster).availableReplicas == 3)
        created = [pod.metadata.creationTimestamp for pod in pods(cluster)]
        assert created == sorted(created, key=lambda at: at or cluster.now())
        image = {"spec": {"template": {"spec": {"containers": [{"name": "db", "image": "db:2"}]}}}}
        cluster.client.patch(api.StatefulSet, "db", "default", image)
        cluster.wait_until(
            lambda: status(cluster).updatedReplicas == 3 and status(cluster).readyReplicas == 3
        )
        cluster.wait_until(lambda: status(cluster).currentRevision == status(cluster).updateRevision)
        assert {pod.spec.containers[0].image for pod in pods(cluster)} == {"db:2"}
        updated = [pod.metadata.resourceVersion for pod in pods(cluster)]
        assert len(updated) == 3
        scale(cluster, 1)
        cluster.wait_until(lambda: names(cluster) == ["db-0"])
        cluster.wait_until(lambda: status(cluster).replicas == 1)


def test_parallel_pods_and_a_partition() -> None:
    with Cluster(nodes=2) as cluster:
        strategy = api.StatefulSetUpdateStrategy(
            type="RollingUpdate", rollingUpdate=api.RollingUpdateStatefulSetStrategy(partition=2)
        )
        cluster.client.create(statefulset(4, podManagementPolicy="Parallel", updateStrategy=strategy))
        cluster.wait_until(lambda: status(cluster).availableReplicas == 4)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "db", "image": "db:2"}]}}}}
        cluster.client.patch(api.StatefulSet, "db", "default", image)
        cluster.wait_until(
            lambda: status(cluster).updatedReplicas == 2 and status(cluster).readyReplicas == 4
        )
        cluster.advance(60)
        images = [pod.spec.containers[0].image for pod in pods(cluster)]
        assert images == ["db:1", "db:1", "db:2", "db:2"]
        first = cluster.client.get(api.Pod, "db-0", "default").metadata.uid
        cluster.client.delete(api.Pod, "db-0", "default")
        # The status may be of before the deletion, and the old pod still be going.
        cluster.wait_until(
            lambda: (
                first not in {pod.metadata.uid for pod in pods(cluster)}
                and len(pods(cluster)) == 4
                and status(cluster).readyReplicas == 4
            )
        )
        assert [pod.spec.containers[0].image for pod in pods(cluster)] == images
