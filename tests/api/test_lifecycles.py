"""Kinds through their whole life: each verb, and the collection deleted at the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import Api, served

STORAGE = "/apis/storage.k8s.io/v1"
NETWORKING = "/apis/networking.k8s.io/v1"
NAMESPACED = "/api/v1/namespaces/default"
VOLUME = {
    "capacity": {"storage": "1Gi"},
    "accessModes": ["ReadWriteOnce"],
    "hostPath": {"path": "/srv"},
    "persistentVolumeReclaimPolicy": "Retain",
}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
DEVICES = "/apis/resource.k8s.io/v1"
ADDRESSES = ("10.96.7.1", "10.96.7.2")
ALLOCATED = {
    "nodeSelector": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]
    }
}
POD = {"containers": [{"name": "c", "image": "web:1"}]}
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
# Where, the object beside its metadata, a change of its status (None: it has none that a client writes).
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "StorageClass": (f"{STORAGE}/storageclasses", {"provisioner": "example.com/p"}, None),
    "VolumeAttributesClass": (
        f"{STORAGE}/volumeattributesclasses",
        {"driverName": "d.example.com", "parameters": {"iops": "1"}},
        None,
    ),
    "CSIDriver": (f"{STORAGE}/csidrivers", {"spec": {"attachRequired": False}}, None),
    "CSINode": (f"{STORAGE}/csinodes", {"spec": {"drivers": []}}, None),
    "VolumeAttachment": (
        f"{STORAGE}/volumeattachments",
        {"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
        {"attached": True},
    ),
    "CSIStorageCapacity": (
        f"{STORAGE}/namespaces/default/csistoragecapacities",
        {"storageClassName": "fast"},
        None,
    ),
    "PersistentVolume": ("/api/v1/persistentvolumes", {"spec": VOLUME}, {"message": "told"}),
    "PersistentVolumeClaim": (
        f"{NAMESPACED}/persistentvolumeclaims",
        {"spec": CLAIM},
        {"conditions": [{"type": "Resizing", "status": "True"}]},
    ),
    "Service": (
        f"{NAMESPACED}/services",
        {"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
        {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    ),
    "Endpoints": (f"{NAMESPACED}/endpoints", {"subsets": [{"addresses": [{"ip": "10.1.2.3"}]}]}, None),
    "EndpointSlice": (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": []},
        None,
    ),
    "Ingress": (
        f"{NETWORKING}/namespaces/default/ingresses",
        {"spec": {"defaultBackend": BACKEND}},
        {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    ),
    "IngressClass": (f"{NETWORKING}/ingressclasses", {"spec": {"controller": "example.com/c"}}, None),
    "ServiceCIDR": (
        f"{NETWORKING}/servicecidrs",
        {"spec": {"cidrs": ["10.77.0.0/24"]}},
        {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime":
                         "2026-01-01T00:00:00Z"}]},
    ),
    "IPAddress": (
        f"{NETWORKING}/ipaddresses",
        {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}},
        None,
    ),
    "ConfigMap": (f"{NAMESPACED}/configmaps", {"data": {"a": "1"}}, None),
    "Secret": (f"{NAMESPACED}/secrets", {"stringData": {"a": "1"}}, None),
    "PodTemplate": (f"{NAMESPACED}/podtemplates", {"template": {"spec": POD}}, None),
    "Pod": (f"{NAMESPACED}/pods", {"spec": POD}, {"message": "told"}),
    "Node": ("/api/v1/nodes", {"spec": {}}, {"conditions": [{"type": "Told", "status": "True"}]}),
    "Lease": (
        "/apis/coordination.k8s.io/v1/namespaces/default/leases",
        {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 30}},
        None,
    ),
    "RuntimeClass": ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "runc"}, None),
    "DeviceClass": (f"{DEVICES}/deviceclasses", {"spec": {}}, None),
    "ResourceClaim": (
        f"{DEVICES}/namespaces/default/resourceclaims",
        {"spec": {}},
        {"allocation": ALLOCATED},
    ),
    "ResourceClaimTemplate": (
        f"{DEVICES}/namespaces/default/resourceclaimtemplates",
        {"spec": {"spec": {}}},
        None,
    ),
    "ResourceSlice": (
        f"{DEVICES}/resourceslices",
        {
            "spec": {
                "driver": "d.example.com",
                "allNodes": True,
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [],
            }
        },
        None,
    ),
    "PodDisruptionBudget": (
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
        {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    ),
}  # fmt: skip


@pytest.mark.conformance("ServiceCIDR and IPAddress API should support IPAddress API operations")
@pytest.mark.conformance("ConfigMap should run through a ConfigMap lifecycle")
@pytest.mark.conformance("Secrets should patch a secret")
@pytest.mark.conformance("PodTemplates should delete a collection of pod templates")
@pytest.mark.conformance("PodTemplates should replace a pod template")
@pytest.mark.conformance("PodTemplates should run the lifecycle of PodTemplates")
@pytest.mark.conformance("Pods should be updated")
@pytest.mark.conformance("Pods should delete a collection of pods")
@pytest.mark.conformance("Pods should patch a pod status")
@pytest.mark.conformance("Pods should run through the lifecycle of Pods and PodStatus")
@pytest.mark.conformance("Node Lifecycle should run through the lifecycle of a node")
@pytest.mark.conformance("Lease lease API should be available")
@pytest.mark.conformance("RuntimeClass should support RuntimeClasses API operations")
@pytest.mark.conformance("CRUD Tests resource.k8s.io/v1 DeviceClass")
@pytest.mark.conformance("CRUD Tests resource.k8s.io/v1 ResourceClaim")
@pytest.mark.conformance("CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate")
@pytest.mark.conformance("CRUD Tests resource.k8s.io/v1 ResourceSlice")
@pytest.mark.conformance("Services should find a service from listing all namespaces")
@pytest.mark.conformance("StorageClasses CSI Conformance should run through the lifecycle of a StorageClass")
@pytest.mark.conformance("VolumeAttributesClass should run through the lifecycle of a VolumeAttributesClass")
@pytest.mark.conformance("CSIInlineVolumes should run through the lifecycle of a CSIDriver")
@pytest.mark.conformance("CSINodes CSI Conformance should run through the lifecycle of a csinode")
@pytest.mark.conformance(
    "VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment "
)
@pytest.mark.conformance("VolumeAttachment Conformance should apply changes to a volumeattachment status")
@pytest.mark.conformance("CSIStorageCapacity should support CSIStorageCapacities API operations")
@pytest.mark.conformance(
    "PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC "
)
@pytest.mark.conformance("PersistentVolumes CSI Conformance should apply changes to a pv/pvc status")
@pytest.mark.conformance("Services should complete a service status lifecycle")
@pytest.mark.conformance("Services should delete a collection of services")
@pytest.mark.conformance("Endpoints should test the lifecycle of an Endpoint")
@pytest.mark.conformance("EndpointSlice should support creating EndpointSlice API operations")
@pytest.mark.conformance("Ingress API should support creating Ingress API operations")
@pytest.mark.conformance("IngressClass API should support creating IngressClass API operations")
@pytest.mark.conformance("ServiceCIDR and IPAddress API should support ServiceCIDR API operations")
@pytest.mark.parametrize("kind", KINDS)
@served
async def test_every_verb(api: Api, kind: str) -> None:
    place, rest, status = KINDS[kind]
    labels = {"life": "test"}
    names = ADDRESSES if kind == "IPAddress" else ("first", "second")
    if kind == "Pod":
        await api.account()
    first, second = names
    for name in names:
        made = (await api.post(place, {"metadata": {"name": name, "labels": labels}, **rest})).ok(201)
        assert made["metadata"]["uid"]
    assert (await api.get(f"{place}/{first}")).ok()["metadata"]["name"] == first
    listed = (await api.get(place, labelSelector="life=test")).ok()
    assert listed["kind"] == f"{kind}List"
    assert [item["metadata"]["name"] for item in listed["items"]] == list(names)
    everywhere = place.replace("/namespaces/default", "")
    assert (await api.get(everywhere, labelSelector="life=test")).names == list(names)
    patched = (await api.patch(f"{place}/{first}", {"metadata": {"annotations": {"patched": "yes"}}})).ok()
    patched["metadata"]["annotations"]["updated"] = "yes"
    updated = (await api.put(f"{place}/{first}", patched)).ok()
    assert updated["metadata"]["annotations"] == {"patched": "yes", "updated": "yes"}
    if status is not None:
        told = (await api.patch(f"{place}/{first}/status", {"status": status})).ok()["status"]
        assert {key: told[key] for key in status}.keys() == status.keys()
        whole = updated | {"metadata": (await api.get(f"{place}/{first}")).ok()["metadata"]}
        untouched = (await api.put(f"{place}/{first}", whole)).ok()
        assert {key: untouched["status"][key] for key in status} == {key: told[key] for key in status}
    (await api.delete(f"{place}/{first}")).ok()
    await _let_go(api, f"{place}/{first}")
    (await api.get(f"{place}/{first}")).refused(404, "NotFound")
    (await api.delete(place, labelSelector="life=test")).ok()
    await _let_go(api, f"{place}/{second}")
    assert (await api.get(place, labelSelector="life=test")).ok()["items"] == []


async def _let_go(api: Api, path: str) -> None:
    """What controllers do to what is protected."""
    answer = await api.get(path)
    if answer.code == 200:
        assert answer.json["metadata"]["deletionTimestamp"]
        (await api.patch(path, {"metadata": {"finalizers": None}})).ok()
