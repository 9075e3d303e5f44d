"""The order in which a StatefulSet's pods come, change and go. No nodes: the tests write who is ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.schema import api
from sampan.testing import Cluster

NAMESPACE = "default"
LABELS = {"app": "db"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=0, scheduler=False) as made:
        yield made


def create(cluster: Cluster, replicas: int, **spec: Any) -> None:
    pod = api.PodSpec(containers=[api.Container(name="db", image="db:1")])
    template = api.PodTemplateSpec(metadata=api.ObjectMeta(labels=LABELS), spec=pod)
    given = api.StatefulSetSpec(
        replicas=replicas,
        serviceName="db",
        selector=api.LabelSelector(matchLabels=LABELS),
        template=template,
        **spec,
    )
    cluster.client.create(
        api.StatefulSet(metadata=api.ObjectMeta(name="db", namespace=NAMESPACE), spec=given)
    )
    settle(cluster)


def settle(cluster: Cluster) -> None:
    """Let the controller do all it can at this instant and the next."""
    cluster.settle()
    cluster.advance(1)
    cluster.settle()


def change(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.client.patch(api.StatefulSet, "db", NAMESPACE, {"spec": spec})
    settle(cluster)


def image(tag: str) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "db", "image": f"db:{tag}"}]}}}


def pods(cluster: Cluster) -> dict[str, api.Pod]:
    found = cluster.client.list(api.Pod, NAMESPACE)
    return {pod.metadata.name or "": pod for pod in sorted(found, key=lambda pod: pod.metadata.name or "")}


def images(cluster: Cluster) -> list[str]:
    return [(pod.spec.containers[0].image or "").removeprefix("db:") for pod in pods(cluster).values()]


def ready(cluster: Cluster, *ordinals: int, is_ready: bool = True) -> None:
    """Report pods to run and to be ready, or not to be."""
    at = cluster.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": str(is_ready), "lastTransitionTime": at}
    status = {"status": {"phase": "Running", "conditions": [condition]}}
    for ordinal in ordinals:
        cluster.client.patch(api.Pod, f"db-{ordinal}", NAMESPACE, status, subresource="status")
    settle(cluster)


def all_ready(cluster: Cluster, tags: list[str]) -> None:
    """Make whatever pods there are ready until these images run."""
    for _ in range(4 * len(tags)):
        ready(cluster, *(int(name.removeprefix("db-")) for name in pods(cluster)))
    assert images(cluster) == tags


def status(cluster: Cluster) -> api.StatefulSetStatus:
    return cluster.client.get(api.StatefulSet, "db", NAMESPACE).status


@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality Scaling should happen in predictable "
    "order and halt if any stateful pod is unhealthy"
)
def test_scaling_is_in_order_and_halts_while_a_pod_is_not_ready(cluster: Cluster) -> None:
    create(cluster, 3)
    assert list(pods(cluster)) == ["db-0"]
    ready(cluster, 0)
    assert list(pods(cluster)) == ["db-0", "db-1"]
    ready(cluster, 0, is_ready=False)
    ready(cluster, 1)
    assert list(pods(cluster)) == ["db-0", "db-1"]
    ready(cluster, 0)
    assert list(pods(cluster)) == ["db-0", "db-1", "db-2"]
    ready(cluster, 2)
    ready(cluster, 0, 1, 2, is_ready=False)
    change(cluster, {"replicas": 0})
    assert list(pods(cluster)) == ["db-0", "db-1", "db-2"]
    ready(cluster, 2)
    settle(cluster)
    assert list(pods(cluster)) == ["db-0", "db-1"]
    ready(cluster, 1)
    for _ in range(3):  # the first that is not ready may go: nothing before it waits to be mended
        settle(cluster)
    assert list(pods(cluster)) == []


@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality Burst scaling should run to completion "
    "even with unhealthy pods"
)
def test_a_burst_does_not_wait(cluster: Cluster) -> None:
    create(cluster, 3, podManagementPolicy="Parallel")
    assert list(pods(cluster)) == ["db-0", "db-1", "db-2"]
    ready(cluster, 1, 2)
    change(cluster, {"replicas": 5})
    assert list(pods(cluster)) == [f"db-{n}" for n in range(5)]
    change(cluster, {"replicas": 0})
    assert list(pods(cluster)) == []
    cluster.wait_until(lambda: status(cluster).replicas == 0)


@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality should perform rolling updates and roll "
    "backs of template modifications"
)
def test_rolling_updates_go_from_the_last_pod_and_wait_for_each(cluster: Cluster) -> None:
    create(cluster, 3)
    all_ready(cluster, ["1", "1", "1"])
    first = status(cluster).currentRevision
    assert status(cluster).updateRevision == first
    change(cluster, image("2"))
    settle(cluster)
    assert images(cluster) == ["1", "1", "2"]
    settle(cluster)
    assert images(cluster) == ["1", "1", "2"]  # the new one is not ready
    ready(cluster, 2)
    settle(cluster)
    assert images(cluster) == ["1", "2", "2"]
    all_ready(cluster, ["2", "2", "2"])
    assert status(cluster).currentRevision == status(cluster).updateRevision != first
    change(cluster, image("1"))  # back, to the revision that there was
    all_ready(cluster, ["1", "1", "1"])
    assert status(cluster).currentRevision == status(cluster).updateRevision == first


@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality should perform canary updates and phased "
    "rolling updates of template modifications"
)
def test_canaries_and_phases_by_a_partition(cluster: Cluster) -> None:
    def partition(ordinal: int) -> dict[str, Any]:
        return {"updateStrategy": {"rollingUpdate": {"partition": ordinal}}}

    create(cluster, 3)
    all_ready(cluster, ["1", "1", "1"])
    change(cluster, partition(3))
    change(cluster, image("2"))
    all_ready(cluster, ["1", "1", "1"])
    assert status(cluster).updateRevision != status(cluster).currentRevision
    change(cluster, partition(2))
    all_ready(cluster, ["1", "1", "2"])
    # A pod that goes comes back in the revision of its side of the partition.
    for name in ("db-0", "db-2"):
        cluster.client.delete(api.Pod, name, NAMESPACE, grace_s=0)
    all_ready(cluster, ["1", "1", "2"])
    change(cluster, partition(1))
    all_ready(cluster, ["1", "2", "2"])
    change(cluster, partition(0))
    all_ready(cluster, ["2", "2", "2"])
    assert status(cluster).updateRevision == status(cluster).currentRevision


def test_on_delete_changes_only_what_is_deleted(cluster: Cluster) -> None:
    create(cluster, 2, updateStrategy=api.StatefulSetUpdateStrategy(type="OnDelete"))
    all_ready(cluster, ["1", "1"])
    change(cluster, image("2"))
    all_ready(cluster, ["1", "1"])
    cluster.client.delete(api.Pod, "db-0", NAMESPACE, grace_s=0)
    all_ready(cluster, ["2", "1"])


def test_a_broken_pod_of_an_ordered_set_holds_the_update_back_until_it_is_mended(cluster: Cluster) -> None:
    create(cluster, 2)
    all_ready(cluster, ["1", "1"])
    change(cluster, image("broken"))
    settle(cluster)
    assert images(cluster) == ["1", "broken"]
    change(cluster, image("3"))
    for _ in range(3):
        settle(cluster)
    # The pod of the revision between is never ready, and the set waits for it; its deletion is the mend.
    cluster.client.delete(api.Pod, "db-1", NAMESPACE, grace_s=0)
    all_ready(cluster, ["3", "3"])


def test_ordinals_start_where_asked(cluster: Cluster) -> None:
    create(cluster, 2, ordinals=api.StatefulSetOrdinals(start=5), podManagementPolicy="Parallel")
    assert list(pods(cluster)) == ["db-5", "db-6"]
    change(cluster, {"ordinals": {"start": 6}})
    for _ in range(3):
        ready(cluster, *(int(name.removeprefix("db-")) for name in pods(cluster)))
    assert list(pods(cluster)) == ["db-6", "db-7"]


def test_claims_are_kept_or_go_as_asked(cluster: Cluster) -> None:
    spec = api.PersistentVolumeClaimSpec(
        accessModes=["ReadWriteOnce"], resources=api.VolumeResourceRequirements(requests={"storage": "1Gi"})
    )
    claim = api.PersistentVolumeClaim(metadata=api.ObjectMeta(name="data"), spec=spec)
    policy = api.StatefulSetPersistentVolumeClaimRetentionPolicy(whenScaled="Delete", whenDeleted="Retain")
    create(
        cluster,
        2,
        podManagementPolicy="Parallel",
        volumeClaimTemplates=[claim],
        persistentVolumeClaimRetentionPolicy=policy,
    )

    def claims() -> list[str]:
        found = cluster.client.list(api.PersistentVolumeClaim, NAMESPACE)
        return sorted(one.metadata.name or "" for one in found)

    assert claims() == ["data-db-0", "data-db-1"]
    ready(cluster, 0, 1)
    change(cluster, {"replicas": 1})
    cluster.wait_until(lambda: claims() == ["data-db-0"])
    cluster.client.delete(api.StatefulSet, "db", NAMESPACE, propagation="Background")
    cluster.wait_until(lambda: not pods(cluster))
    settle(cluster)
    assert claims() == ["data-db-0"]
