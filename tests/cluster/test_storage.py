"""Claims, volumes and the default StorageClass in a whole cluster, under a moved clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.kinds import localpath
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=2) as running:
        yield running


def claim(name: str, size: str = "1Gi", **spec: Any) -> api.PersistentVolumeClaim:
    return api.PersistentVolumeClaim(
        metadata=api.ObjectMeta(name=name, namespace="default"),
        spec=api.PersistentVolumeClaimSpec(
            accessModes=spec.pop("accessModes", ["ReadWriteOnce"]),
            resources=api.VolumeResourceRequirements(requests={"storage": quantity(size)}),
            **spec,
        ),
    )


def volume(name: str, size: str, **spec: Any) -> api.PersistentVolume:
    return api.PersistentVolume(
        metadata=api.ObjectMeta(name=name),
        spec=api.PersistentVolumeSpec(
            accessModes=["ReadWriteOnce"],
            capacity={"storage": quantity(size)},
            hostPath=api.HostPathVolumeSource(path=f"/srv/{name}"),
            **spec,
        ),
    )


def pod(name: str, claim_name: str, **spec: Any) -> api.Pod:
    source = api.PersistentVolumeClaimVolumeSource(claimName=claim_name)
    return api.Pod(
        metadata=api.ObjectMeta(name=name, namespace="default"),
        spec=api.PodSpec(
            containers=[api.Container(name="main", image="main:1")],
            volumes=[api.Volume(name="data", persistentVolumeClaim=source)],
            terminationGracePeriodSeconds=0,
            **spec,
        ),
    )


def get(cluster: Cluster, name: str) -> Any:
    return cluster.client.get(api.PersistentVolumeClaim, name, "default")


def events(cluster: Cluster, name: str) -> set[str | None]:
    found = cluster.client.list(api.Event, "default")
    return {event.reason for event in found if event.involvedObject.name == name}


def volumes(cluster: Cluster) -> list[api.PersistentVolume]:
    return list(cluster.client.list(api.PersistentVolume))


def phase(cluster: Cluster, name: str) -> str | None:
    phase: str | None = cluster.client.get(api.PersistentVolume, name).status.phase
    return phase


def gone(cluster: Cluster, kind: Any, name: str, namespace: str = "") -> bool:
    try:
        cluster.client.get(kind, name, namespace)
    except ApiError as error:
        return error.code == 404
    return False


def test_a_claim_without_a_class_gets_the_default_and_waits_for_its_first_pod(cluster: Cluster) -> None:
    cluster.client.create(claim("data"))
    cluster.wait_until(lambda: "WaitForFirstConsumer" in events(cluster, "data"))
    assert get(cluster, "data").spec.storageClassName == "local-path"
    assert get(cluster, "data").status.phase == "Pending"
    assert volumes(cluster) == []
    cluster.client.create(pod("web", "data"))
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Bound")
    cluster.wait_until(lambda: cluster.client.get(api.Pod, "web", "default").status.phase == "Running")
    bound, found = get(cluster, "data"), volumes(cluster)[0]
    assert bound.status.capacity == {"storage": quantity("1Gi")}
    assert bound.status.accessModes == ["ReadWriteOnce"]
    assert bound.metadata.annotations["pv.kubernetes.io/bind-completed"] == "yes"
    assert bound.metadata.finalizers == ["kubernetes.io/pvc-protection"]
    assert found.metadata.name == f"pvc-{bound.metadata.uid}" == bound.spec.volumeName
    assert found.spec.nodeAffinity is not None and found.spec.nodeAffinity.required is not None
    node = cluster.client.get(api.Pod, "web", "default").spec.nodeName
    expression = found.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0]
    assert (expression.key, expression.values) == ("kubernetes.io/hostname", [node])
    cluster.wait_until(lambda: {"Provisioning", "ProvisioningSucceeded"} <= events(cluster, "data"))


def test_a_claim_in_use_stays_and_its_volume_goes_with_it(cluster: Cluster) -> None:
    cluster.client.create(claim("data"))
    cluster.client.create(pod("web", "data"))
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Bound")
    name = get(cluster, "data").spec.volumeName
    cluster.wait_until(lambda: cluster.client.get(api.Pod, "web", "default").spec.nodeName is not None)
    cluster.client.delete(api.PersistentVolumeClaim, "data", "default")
    cluster.client.delete(api.PersistentVolume, name)
    cluster.advance(60)
    assert get(cluster, "data").metadata.deletionTimestamp is not None
    assert phase(cluster, name) == "Bound"
    cluster.client.delete(api.Pod, "web", "default")
    cluster.wait_until(lambda: gone(cluster, api.PersistentVolumeClaim, "data", "default"))
    cluster.wait_until(lambda: gone(cluster, api.PersistentVolume, name))


def test_a_volume_to_be_retained_is_released_and_free_again_once_its_claim_is_struck_out(
    cluster: Cluster,
) -> None:
    cluster.client.create(volume("disk", "2Gi", storageClassName="slow"))
    cluster.client.create(claim("first", storageClassName="slow"))
    cluster.wait_until(lambda: get(cluster, "first").status.phase == "Bound")
    assert get(cluster, "first").status.capacity == {"storage": quantity("2Gi")}
    cluster.wait_until(lambda: phase(cluster, "disk") == "Bound")
    cluster.client.delete(api.PersistentVolumeClaim, "first", "default")
    cluster.wait_until(lambda: phase(cluster, "disk") == "Released")
    cluster.client.create(claim("second", storageClassName="slow"))
    cluster.advance(60)
    assert get(cluster, "second").status.phase == "Pending"
    cluster.wait_until(lambda: "ProvisioningFailed" in events(cluster, "second"))  # no such class
    cluster.client.patch(api.PersistentVolume, "disk", "", {"spec": {"claimRef": None}})
    cluster.wait_until(lambda: get(cluster, "second").status.phase == "Bound")


def test_the_smallest_volume_that_will_do_is_taken_and_a_reserved_one_is_left(cluster: Cluster) -> None:
    for name, size in (("large", "10Gi"), ("middle", "5Gi"), ("small", "1Gi")):
        cluster.client.create(volume(name, size, storageClassName=""))
    reserved = api.ObjectReference(namespace="default", name="late")
    cluster.client.create(volume("reserved", "3Gi", storageClassName="", claimRef=reserved))
    cluster.wait_until(lambda: {v.status.phase for v in volumes(cluster)} == {"Available"})
    cluster.client.create(claim("data", "2Gi", storageClassName=""))
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Bound")
    assert get(cluster, "data").spec.volumeName == "middle"
    cluster.client.create(claim("late", storageClassName=""))
    cluster.wait_until(lambda: get(cluster, "late").status.phase == "Bound")
    assert get(cluster, "late").spec.volumeName == "reserved"
    assert "pv.kubernetes.io/bound-by-controller" not in (
        cluster.client.get(api.PersistentVolume, "reserved").metadata.annotations
    )


def test_a_claim_whose_volume_is_taken_away_is_lost(cluster: Cluster) -> None:
    cluster.client.create(volume("disk", "1Gi", storageClassName=""))
    cluster.client.create(claim("data", storageClassName=""))
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Bound")
    cluster.wait_until(lambda: "kubernetes.io/pv-protection" in volumes(cluster)[0].metadata.finalizers)
    cluster.client.delete(api.PersistentVolume, "disk")
    cluster.client.patch(api.PersistentVolume, "disk", "", {"metadata": {"finalizers": None}})
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Lost")
    cluster.wait_until(lambda: "ClaimLost" in events(cluster, "data"))


def test_a_bound_claim_may_grow_where_its_class_allows(cluster: Cluster) -> None:
    cluster.client.create(claim("data"))
    cluster.client.create(pod("web", "data"))
    cluster.wait_until(lambda: get(cluster, "data").status.phase == "Bound")
    more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    cluster.client.patch(api.PersistentVolumeClaim, "data", "default", more)
    cluster.wait_until(lambda: get(cluster, "data").status.capacity == {"storage": quantity("3Gi")})
    assert volumes(cluster)[0].spec.capacity == {"storage": quantity("3Gi")}
    cluster.wait_until(lambda: "VolumeResizeSuccessful" in events(cluster, "data"))


def test_an_ephemeral_volume_comes_and_goes_with_its_pod(cluster: Cluster) -> None:
    template = api.PersistentVolumeClaimTemplate(spec=claim("any").spec)
    scratch = api.Volume(name="scratch", ephemeral=api.EphemeralVolumeSource(volumeClaimTemplate=template))
    user = pod("web", "none")
    user.spec.volumes = [scratch]
    cluster.client.create(user)
    cluster.wait_until(lambda: not gone(cluster, api.PersistentVolumeClaim, "web-scratch", "default"))
    cluster.wait_until(lambda: get(cluster, "web-scratch").status.phase == "Bound")
    assert [o.name for o in get(cluster, "web-scratch").metadata.ownerReferences] == ["web"]
    cluster.client.delete(api.Pod, "web", "default")
    cluster.wait_until(lambda: gone(cluster, api.PersistentVolumeClaim, "web-scratch", "default"))
    cluster.wait_until(lambda: volumes(cluster) == [])


def test_a_class_that_binds_at_once_spreads_volumes_over_the_nodes(cluster: Cluster) -> None:
    cluster.client.create(
        api.StorageClass(
            metadata=api.ObjectMeta(name="now"),
            provisioner=localpath.PROVISIONER,
            volumeBindingMode="Immediate",
        )
    )
    for name in ("a", "b"):
        cluster.client.create(claim(name, storageClassName="now"))
        cluster.wait_until(lambda name=name: get(cluster, name).status.phase == "Bound")  # type: ignore[misc]
    homes = {v.metadata.annotations[localpath.VOLUME_NODE] for v in volumes(cluster)}
    assert homes == {"node-1", "node-2"}


def test_what_a_directory_cannot_be_is_said(cluster: Cluster) -> None:
    cluster.client.create(claim("raw", volumeMode="Block"))
    cluster.client.create(pod("web", "raw"))
    cluster.wait_until(lambda: "ProvisioningFailed" in events(cluster, "raw"))
    assert get(cluster, "raw").status.phase == "Pending"


def test_a_claim_older_than_the_default_class_gets_it_later(cluster: Cluster) -> None:
    cluster.client.delete(api.StorageClass, "local-path")
    cluster.client.create(claim("data"))
    cluster.wait_until(lambda: "FailedBinding" in events(cluster, "data"))
    assert get(cluster, "data").spec.storageClassName is None
    marks = {"storageclass.kubernetes.io/is-default-class": "true"}
    cluster.client.create(
        api.StorageClass(
            metadata=api.ObjectMeta(name="new", annotations=marks),
            provisioner="example.com/disks",
            volumeBindingMode="Immediate",
        )
    )
    cluster.wait_until(lambda: get(cluster, "data").spec.storageClassName == "new")
    cluster.wait_until(lambda: "ExternalProvisioning" in events(cluster, "data"))
    marked = get(cluster, "data").metadata.annotations
    assert marked["volume.kubernetes.io/storage-provisioner"] == "example.com/disks"


def test_a_class_of_attributes_goes_when_the_last_claim_has_let_go_of_it(cluster: Cluster) -> None:
    client = cluster.client
    for name in ("gold", "silver"):
        client.create(
            api.VolumeAttributesClass(
                metadata=api.ObjectMeta(name=name), driverName="disks.example.com", parameters={"tier": name}
            )
        )
    made = client.get(api.VolumeAttributesClass, "gold")
    assert made.metadata.finalizers == ["kubernetes.io/vac-protection"]
    client.create(claim("data", volumeAttributesClassName="gold"))
    client.create(claim("more", volumeAttributesClassName="silver"))
    client.delete(api.VolumeAttributesClass, "gold")
    client.delete(api.VolumeAttributesClass, "silver")
    cluster.advance(60)
    cluster.settle()
    assert not gone(cluster, api.VolumeAttributesClass, "gold")
    assert not gone(cluster, api.VolumeAttributesClass, "silver")
    client.delete(api.PersistentVolumeClaim, "data", "default")
    cluster.wait_until(lambda: gone(cluster, api.VolumeAttributesClass, "gold"))
    assert not gone(cluster, api.VolumeAttributesClass, "silver")
    # A volume that is made of the class holds it as well.
    disk = volume("disk", "1Gi", volumeAttributesClassName="silver")
    disk.spec.hostPath = None
    disk.spec.csi = api.CSIPersistentVolumeSource(driver="disks.example.com", volumeHandle="disk")
    client.create(disk)
    client.delete(api.PersistentVolumeClaim, "more", "default")
    cluster.advance(60)
    cluster.settle()
    assert not gone(cluster, api.VolumeAttributesClass, "silver")
    client.delete(api.PersistentVolume, "disk")
    cluster.wait_until(lambda: gone(cluster, api.VolumeAttributesClass, "silver"))
