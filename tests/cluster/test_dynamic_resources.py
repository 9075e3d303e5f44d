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


def test_a_selector_that_fails_on_one_device_keeps_the_pod_from_every_node(cluster: Cluster) -> None:
    """As in Kubernetes: what is wrong with a pod does not hide behind the nodes where all is well."""
    offer(cluster, "node-1", "gpu-0")
    pool = {"name": "node-2", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "node-2", "pool": pool, "devices": [{"name": "gpu-0"}]}
    make(cluster, api.ResourceSlice, "without-memory", spec=spec)
    selector = {"cel": {"expression": f'device.attributes["{DRIVER}"].memory > 1'}}
    wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu", "selectors": [selector]}}]}
    make(cluster, api.ResourceClaimTemplate, "picky", "default", spec={"spec": {"devices": wanted}})
    pod(cluster, "web", resourceClaimTemplateName="picky")
    waits_because(cluster, "web", "0/2 nodes are available: 2 selector #")
    waits_because(cluster, "web", "CEL runtime error: no such key: memory")
    cluster.client.delete(api.ResourceSlice, "without-memory")
    has_a_node(cluster, "web", "node-1")


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
    # Not before the node has said that it runs, which would put the end out of the status again.
    cluster.wait_until(lambda: cluster.client.get(api.Pod, "short", "default").status.phase == "Running")
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


# -- devices that are shared, tainted, or asked for as resources of containers -----------------------------


def test_a_device_is_shared_until_its_capacity_is_given_away(cluster: Cluster) -> None:
    policy = {"default": "1", "validRange": {"min": "1", "step": "1"}}
    line = {
        "name": "line",
        "allowMultipleAllocations": True,
        "capacity": {"speed": {"value": "10", "requestPolicy": policy}},
    }
    pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "node-1", "pool": pool, "devices": [line]}
    make(cluster, api.ResourceSlice, "lines", spec=spec)
    exactly = {"deviceClassName": "gpu", "capacity": {"requests": {"speed": "4500m"}}}
    wanted = {"requests": [{"name": "one", "exactly": exactly}]}
    make(cluster, api.ResourceClaimTemplate, "half", "default", spec={"spec": {"devices": wanted}})
    for name in ("a", "b"):
        pod(cluster, name, resourceClaimTemplateName="half")
        has_a_node(cluster, name, "node-1")
    results = [result for claim in claims(cluster) for result in claim.status.allocation.devices.results]
    assert [{n: str(q) for n, q in r.consumedCapacity.items()} for r in results] == [{"speed": "5"}] * 2
    assert len({r.shareID for r in results}) == 2
    pod(cluster, "c", resourceClaimTemplateName="half")
    waits_because(cluster, "c", "cannot allocate all claims")
    cluster.client.delete(api.Pod, "a", "default", grace_s=0)
    has_a_node(cluster, "c", "node-1")


def extended_pod(cluster: Cluster, name: str, resource: str = "example.com/gpu", count: int = 1) -> None:
    asked = {resource: str(count)}
    containers = [{"name": "main", "image": "main:1", "resources": {"requests": asked, "limits": asked}}]
    spec = {"containers": containers, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    make(cluster, api.Pod, name, "default", spec=spec)


@pytest.mark.parametrize("resource", ["example.com/gpu", "deviceclass.resource.kubernetes.io/gpu"])
def test_devices_serve_resources_of_containers(cluster: Cluster, resource: str) -> None:
    extended_pod(cluster, "early", resource)
    waits_because(
        cluster,
        "early",
        f"Insufficient {resource}" if "example" in resource else "cannot allocate all claims",
    )
    change = {"spec": {"extendedResourceName": "example.com/gpu"}}
    cluster.client.patch(api.DeviceClass, "gpu", "", change)
    waits_because(cluster, "early", "cannot allocate all claims")
    offer(cluster, "node-2", "gpu-0", "gpu-1")
    has_a_node(cluster, "early", "node-2")
    (claim,) = claims(cluster)
    assert claim.metadata.name.startswith("early-extended-resources-")
    assert claim.metadata.annotations == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert [(o.kind, o.name, o.controller) for o in claim.metadata.ownerReferences] == [
        ("Pod", "early", True)
    ]
    (request,) = claim.spec.devices.requests
    assert (request.name, request.exactly.deviceClassName, request.exactly.count) == (
        "container-0-request-0", "gpu", 1
    )  # fmt: skip
    assert [user.name for user in claim.status.reservedFor] == ["early"]
    status = get(cluster, "early").status.extendedResourceClaimStatus
    assert status.resourceClaimName == claim.metadata.name
    assert [(m.containerName, m.resourceName, m.requestName) for m in status.requestMappings] == [
        ("main", resource, "container-0-request-0")
    ]
    extended_pod(cluster, "big", resource, 2)
    waits_because(cluster, "big", "cannot allocate all claims")
    cluster.client.delete(api.Pod, "early", "default", grace_s=0)
    has_a_node(cluster, "big", "node-2")
    cluster.wait_until(lambda: [c.metadata.name.partition("-")[0] for c in claims(cluster)] == ["big"])


def test_what_an_earlier_try_left_behind_is_deleted(cluster: Cluster) -> None:
    """As where the scheduler ends between the claim and the binding."""
    resource = "deviceclass.resource.kubernetes.io/gpu"
    extended_pod(cluster, "late", resource)
    waits_because(cluster, "late", "cannot allocate all claims")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "late", "uid": get(cluster, "late").metadata.uid}
    metadata = {
        "name": "left",
        "namespace": "default",
        "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
        "finalizers": ["resource.kubernetes.io/delete-protection"],
        "ownerReferences": [{**owner, "controller": True}],
    }
    wanted = {"requests": [{"name": "one", "exactly": {"deviceClassName": "gpu"}}]}
    make(cluster, api.ResourceClaim, "left", "default", metadata=metadata, spec={"devices": wanted})
    offer(cluster, "node-2", "gpu-0")
    has_a_node(cluster, "late", "node-2")
    assert [c.metadata.name.startswith("late-extended-resources-") for c in claims(cluster)] == [True]


def test_a_node_that_has_the_resource_itself_needs_no_claim(cluster: Cluster) -> None:
    cluster.client.patch(api.DeviceClass, "gpu", "", {"spec": {"extendedResourceName": "example.com/gpu"}})
    offered = {"status": {"capacity": {"example.com/gpu": "1"}, "allocatable": {"example.com/gpu": "1"}}}
    cluster.client.patch(api.Node, "node-1", "", offered, subresource="status")
    extended_pod(cluster, "plain")
    has_a_node(cluster, "plain", "node-1")
    assert not claims(cluster)
    extended_pod(cluster, "next")
    waits_because(cluster, "next", "1 Insufficient example.com/gpu, 1 cannot allocate all claims")


def rule(cluster: Cluster, name: str, effect: str, **selector: str) -> None:
    spec = {"deviceSelector": selector, "taint": {"key": "broken", "value": "fan", "effect": effect}}
    make(cluster, api.DeviceTaintRule, name, spec=spec)


def told(cluster: Cluster, name: str) -> tuple[str, str, str]:
    conditions = cluster.client.get(api.DeviceTaintRule, name).status.conditions
    found = [(c.status, c.reason, c.message) for c in conditions if c.type == "EvictionInProgress"]
    return found[0] if found else ("", "", "")


def test_rules_drive_pods_from_devices(cluster: Cluster) -> None:
    offer(cluster, "node-1", "gpu-0")
    pod(cluster, "first")
    has_a_node(cluster, "first", "node-1")
    rule(cluster, "trial", "None", driver=DRIVER)
    cluster.wait_until(lambda: told(cluster, "trial")[1] == "NoEffect")
    assert told(cluster, "trial")[2].startswith(
        "1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if"
    )
    rule(cluster, "later", "NoSchedule", pool="node-1")
    cluster.wait_until(lambda: told(cluster, "later")[1] == "OtherEffect")
    assert get(cluster, "first").metadata.deletionTimestamp is None
    rule(cluster, "now", "NoExecute", device="gpu-0")
    cluster.wait_until(lambda: not list(cluster.client.list(api.Pod, "default")))
    reasons = [event.reason for event in cluster.client.list(api.Event, "default")]
    assert "DeviceTaintManagerEviction" in reasons
    pod(cluster, "second")
    waits_because(cluster, "second", "cannot allocate all claims")
    for name in ("now", "later"):
        cluster.client.delete(api.DeviceTaintRule, name)
    has_a_node(cluster, "second", "node-1")


def test_a_toleration_with_seconds_puts_eviction_off(cluster: Cluster) -> None:
    exactly = {
        "deviceClassName": "gpu",
        "tolerations": [
            {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
    }
    wanted = {"requests": [{"name": "one", "exactly": exactly}]}
    make(cluster, api.ResourceClaimTemplate, "patient", "default", spec={"spec": {"devices": wanted}})
    offer(cluster, "node-1", "gpu-0")
    pod(cluster, "patient", resourceClaimTemplateName="patient")
    has_a_node(cluster, "patient", "node-1")
    rule(cluster, "now", "NoExecute", driver=DRIVER)
    cluster.wait_until(lambda: told(cluster, "now")[1] == "PodsPendingEviction")
    assert told(cluster, "now")[2] == "1 pod needs to be evicted in 1 namespace."
    assert get(cluster, "patient").metadata.deletionTimestamp is None
    cluster.advance(301)
    cluster.wait_until(lambda: not list(cluster.client.list(api.Pod, "default")))
    cluster.wait_until(lambda: told(cluster, "now")[:2] == ("False", "Completed"))


def slow_device(cluster: Cluster, *names: str) -> None:
    devices = [
        {
            "name": name,
            "bindingConditions": ["Attached"],
            "bindingFailureConditions": ["Broken"],
            "bindsToNode": True,
        }
        for name in names
    ]
    pool = {"name": "fabric", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "allNodes": True, "pool": pool, "devices": devices}
    make(cluster, api.ResourceSlice, "fabric", spec=spec)


def allocated(cluster: Cluster) -> Any:
    cluster.wait_until(lambda: any(c.status.allocation for c in claims(cluster)))
    return next(c for c in claims(cluster) if c.status.allocation)


def report(cluster: Cluster, claim: Any, condition: str) -> None:
    (result,) = claim.status.allocation.devices.results
    told = {
        "type": condition,
        "status": "True",
        "reason": "Driver",
        "message": "says so",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    device = {"driver": DRIVER, "pool": "fabric", "device": result.device, "conditions": [told]}
    change = {"status": {"devices": [device]}}
    cluster.client.patch(api.ResourceClaim, claim.metadata.name, "default", change, subresource="status")


def test_a_pod_is_bound_once_its_device_is_attached(cluster: Cluster) -> None:
    slow_device(cluster, "gpu-0")
    pod(cluster, "patient")
    claim = allocated(cluster)
    (result,) = claim.status.allocation.devices.results
    assert (result.bindingConditions, result.bindingFailureConditions) == (["Attached"], ["Broken"])
    assert claim.status.allocation.allocationTimestamp is not None
    (term,) = claim.status.allocation.nodeSelector.nodeSelectorTerms
    assert term.matchFields[0].key == "metadata.name"
    assert not get(cluster, "patient").spec.nodeName
    report(cluster, claim, "Attached")
    cluster.wait_until(lambda: bool(get(cluster, "patient").spec.nodeName))


def test_a_device_that_fails_to_attach_is_given_back(cluster: Cluster) -> None:
    slow_device(cluster, "gpu-0")
    pod(cluster, "patient")
    report(cluster, allocated(cluster), "Broken")
    why = f"device {DRIVER}/fabric/gpu-0 reports Broken: says so"
    cluster.wait_until(lambda: any(why in e.message for e in cluster.client.list(api.Event, "default")))
    cluster.wait_until(lambda: not claims(cluster)[0].status.devices)
    report(cluster, allocated(cluster), "Attached")
    cluster.wait_until(lambda: bool(get(cluster, "patient").spec.nodeName))


def test_a_device_that_takes_too_long_is_given_back(cluster: Cluster) -> None:
    slow_device(cluster, "gpu-0")
    pod(cluster, "patient")
    allocated(cluster)
    cluster.advance(601)
    why = 'running PreBind plugin "DynamicResources": device binding timeout'
    cluster.wait_until(lambda: why in [e.message for e in cluster.client.list(api.Event, "default")])
