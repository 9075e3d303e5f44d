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
