"""Pods with claims on several nodes: the scheduler and the binder of volumes agree on where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.schema import api
from sampan.testing import Cluster
from tests.cluster.test_storage import claim, pod, volume

NODE = "volume.kubernetes.io/selected-node"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=3) as running:
        yield running


def node_of(cluster: Cluster, name: str) -> str:
    cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, name, "default").spec.nodeName))
    return cluster.client.get(api.Pod, name, "default").spec.nodeName or ""


def says(cluster: Cluster, name: str) -> str:
    conditions = cluster.client.get(api.Pod, name, "default").status.conditions
    return next((c.message or "" for c in conditions if c.type == "PodScheduled"), "")


def test_a_second_pod_follows_the_local_volume(cluster: Cluster) -> None:
    cluster.client.create(claim("data"))
    cluster.client.create(pod("first", "data"))
    first = node_of(cluster, "first")
    bound = cluster.client.get(api.PersistentVolumeClaim, "data", "default")
    assert bound.status.phase == "Bound" or bound.spec.volumeName  # the pod is bound only after its claim
    assert bound.metadata.annotations[NODE] == first
    for name in ("second", "third"):
        cluster.client.create(pod(name, "data"))
        assert node_of(cluster, name) == first
    away: dict[str, Any] = {"spec": {"unschedulable": True}}
    cluster.client.patch(api.Node, first, "", away)
    cluster.client.create(pod("fourth", "data"))
    text = "2 node(s) had volume node affinity conflict"
    cluster.wait_until(lambda: text in says(cluster, "fourth"))
    assert "1 node(s) were unschedulable" in says(cluster, "fourth")
    cluster.client.patch(api.Node, first, "", {"spec": {"unschedulable": None}})
    assert node_of(cluster, "fourth") == first


def test_a_claim_that_comes_wakes_its_pod(cluster: Cluster) -> None:
    cluster.client.create(pod("web", "later"))
    text = '0/3 nodes are available: persistentvolumeclaim "later" not found.'
    cluster.wait_until(lambda: says(cluster, "web").startswith(text))
    cluster.client.create(claim("later"))
    assert node_of(cluster, "web")


def test_a_volume_that_is_there_is_bound_before_the_pod(cluster: Cluster) -> None:
    manual = api.StorageClass(
        metadata=api.ObjectMeta(name="manual"),
        provisioner="kubernetes.io/no-provisioner",
        volumeBindingMode="WaitForFirstConsumer",
    )
    cluster.client.create(manual)
    cluster.client.create(claim("data", storageClassName="manual"))
    cluster.client.create(pod("web", "data"))
    text = "3 node(s) didn't find available persistent volumes to bind"
    cluster.wait_until(lambda: text in says(cluster, "web"))
    term = api.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=["node-2"])
    only = api.NodeSelector(nodeSelectorTerms=[api.NodeSelectorTerm(matchExpressions=[term])])
    there = volume("disk", "2Gi", storageClassName="manual")
    there.spec.nodeAffinity = api.VolumeNodeAffinity(required=only)
    cluster.client.create(there)
    assert node_of(cluster, "web") == "node-2"
    assert cluster.client.get(api.PersistentVolumeClaim, "data", "default").spec.volumeName == "disk"


def test_a_volume_made_for_one_pod_alone(cluster: Cluster) -> None:
    template = api.PersistentVolumeClaimTemplate(spec=claim("x").spec)
    source = api.EphemeralVolumeSource(volumeClaimTemplate=template)
    one = pod("web", "unused")
    one.spec.volumes[0].persistentVolumeClaim = None
    one.spec.volumes[0].ephemeral = source
    cluster.client.create(one)
    node = node_of(cluster, "web")
    made = cluster.client.get(api.PersistentVolumeClaim, "web-data", "default")
    assert made.metadata.annotations[NODE] == node
    assert made.status.phase == "Bound" or made.spec.volumeName


def test_until_the_claim_of_such_a_volume_is_there_the_pod_waits() -> None:
    with Cluster(nodes=1, controllers=False) as cluster:
        one = pod("web", "unused")
        one.spec.volumes[0].persistentVolumeClaim = None
        template = api.PersistentVolumeClaimTemplate(spec=claim("x").spec)
        one.spec.volumes[0].ephemeral = api.EphemeralVolumeSource(volumeClaimTemplate=template)
        cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name="shop")))
        account = api.ObjectMeta(name="default", namespace="shop")
        cluster.client.create(api.ServiceAccount(metadata=account))
        one.metadata.namespace = "shop"
        cluster.client.create(one)
        text = "0/1 nodes are available: waiting for ephemeral volume controller to create the "
        text += 'persistentvolumeclaim "web-data".'

        def condition() -> str:
            conditions = cluster.client.get(api.Pod, "web", "shop").status.conditions
            return next((c.message or "" for c in conditions if c.type == "PodScheduled"), "")

        cluster.wait_until(lambda: condition().startswith(text))
