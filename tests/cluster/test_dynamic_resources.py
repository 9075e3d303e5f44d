"""Pods that use ResourceClaims, in a whole cluster under a moved clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api, codec
from sampan.testing import Cluster

DRIVER = "gpu.example.com"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=2) as running:
        make(
            running,
            api.DeviceClass,
            "gpu",
            spec={"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]},
        )
        wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}
        make(running, api.ResourceClaimTemplate, "gpu", "default", spec={"spec": {"devices": wanted}})
        yield running


def make(cluster: Cluster, kind: Any, name: str, namespace: str = "", **parts: Any) -> Any:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    version = "v1" if kind is api.Pod else "resource.k8s.io/v1"
    whole = {"apiVersion": version, "kind": kind.__name__.rpartition("_")[2], "metadata": metadata, **parts}
    return cluster.client.create(codec.from_builtins(whole, kind))


def offer(cluster: Cluster, node: str, *devices: str, generation: int = 1) -> None:
    pool = {"name": node, "generation": generation, "resourceSliceCount": 1}
    listed = [{"name": name, "attributes": {"memory": {"int": 40}}} for name in devices]
    spec = {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": listed}
    make(cluster, api.ResourceSlice, f"{node}-{generation}", spec=spec)


def pod(cluster: Cluster, name: str, **claim: str) -> None:
    source = claim or {"resourceClaimTemplateName": "gpu"}
    container = {"name": "main", "image": "main:1", "resources": {"claims": [{"name": "gpu"}]}}
    spec = {
        "containers": [container],
        "resourceClaims": [{"name": "gpu", **source}],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
    }
    make(cluster, api.Pod, name, "default", spec=spec)


def get(cluster: Cluster, name: str) -> Any:
    return cluster.client.get(api.Pod, name, "default")


def has_a_node(cluster: Cluster, name: str, node: str) -> None:
    cluster.wait_until(lambda: get(cluster, name).spec.nodeName == node)


def waits_because(cluster: Cluster, name: str, text: str) -> None:
    def says_so() -> bool:
        found = [c for c in get(cluster, name).status.conditions if c.type == "PodScheduled"]
        return bool(found) and found[0].status == "False" and text in (found[0].message or "")

    cluster.wait_until(says_so)


def claims(cluster: Cluster) -> list[Any]:
    return list(cluster.client.list(api.ResourceClaim, "default"))


def test_a_second_pod_waits_until_the_first_has_ended(cluster: Cluster) -> None:
    offer(cluster, "node-1", "gpu-0")
    pod(cluster, "first")
    has_a_node(cluster, "first", "node-1")
    (claim,) = claims(cluster)
    (result,) = claim.status.allocation.devices.results
    assert (result.request, result.driver, result.pool, result.device) == ("one", DRIVER, "node-1", "gpu-0")
    assert [user.name for user in claim.status.reservedFor] == ["first"]
    assert claim.metadata.annotations == {"resource.kubernetes.io/pod-claim-name": "gpu"}
    assert claim.metadata.finalizers == ["resource.kubernetes.io/delete-protection"]
    (term,) = claim.status.allocation.nodeSelector.nodeSelectorTerms
    assert term.matchFields[0].values == ["node-1"]
    (status,) = get(cluster, "first").status.resourceClaimStatuses
    assert (status.name, status.resourceClaimName) == ("gpu", claim.metadata.name)

    pod(cluster, "second")
    waits_because(cluster, "second", "0/2 nodes are available: 2 cannot allocate all claims.")
    cluster.client.delete(api.Pod, "first", "default", grace_s=0)
    has_a_node(cluster, "second", "node-1")
    cluster.wait_until(
        lambda: [[u.name for u in c.status.reservedFor] for c in claims(cluster)] == [["second"]]
    )


def test_a_pod_waits_for_its_template_and_for_devices(cluster: Cluster) -> None:
    pod(cluster, "early", resourceClaimTemplateName="late")
    waits_because(cluster, "early", 'pod "default/early": ResourceClaim not created yet')
    wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}
    make(cluster, api.ResourceClaimTemplate, "late", "default", spec={"spec": {"devices": wanted}})
    waits_because(cluster, "early", "cannot allocate all claims")
    offer(cluster, "node-2", "gpu-0")
    has_a_node(cluster, "early", "node-2")


def test_a_claim_of_its_own_name_is_shared_and_given_back(cluster: Cluster) -> None:
    offer(cluster, "node-2", "gpu-0")
    pod(cluster, "a", resourceClaimName="shared")
    waits_because(cluster, "a", 'resourceclaim "shared" not found')
    wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}
    make(cluster, api.ResourceClaim, "shared", "default", spec={"devices": wanted})
    has_a_node(cluster, "a", "node-2")
    pod(cluster, "b", resourceClaimName="shared")
    has_a_node(cluster, "b", "node-2")
    (claim,) = claims(cluster)
    assert sorted(user.name for user in claim.status.reservedFor) == ["a", "b"]
    for name in ("a", "b"):
        cluster.client.delete(api.Pod, name, "default", grace_s=0)
    cluster.wait_until(lambda: claims(cluster)[0].status.allocation is None)
    cluster.client.delete(api.ResourceClaim, "shared", "default")
    cluster.wait_until(lambda: not claims(cluster))


def test_a_claim_ends_with_its_pod(cluster: Cluster) -> None:
    offer(cluster, "node-2", "gpu-0")
    pod(cluster, "short")
    has_a_node(cluster, "short", "node-2")
    ended = {"status": {"phase": "Succeeded"}}
    cluster.client.patch(api.Pod, "short", "default", ended, subresource="status")
    cluster.wait_until(lambda: not claims(cluster))
    pod(cluster, "next")
    has_a_node(cluster, "next", "node-2")


def test_admin_access_is_for_namespaces_that_are_labelled_for_it(cluster: Cluster) -> None:
    request = {"name": "all", "exactly": {"deviceClassName": "gpu", "adminAccess": True}}
    spec = {"devices": {"requests": [request]}}
    refused = r"adminAccess: Forbidden: admin access to devices requires the `[\w./-]+: true` label"
    with pytest.raises(ApiError, match=refused):
        make(cluster, api.ResourceClaim, "mine", "default", spec=spec)
    with pytest.raises(ApiError, match=refused):
        make(cluster, api.ResourceClaimTemplate, "mine", "default", spec={"spec": spec})
    label = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    cluster.client.patch(api.Namespace, "default", "", label)
    made = make(cluster, api.ResourceClaim, "mine", "default", spec=spec)
    assert made.spec.devices.requests[0].exactly.adminAccess is True
