"""Storage and network kinds through their whole life: each verb, and the collection deleted at the end."""

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
    "PodDisruptionBudget": (
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}},
        {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@served
async def test_every_verb(api: Api, kind: str) -> None:
    place, rest, status = KINDS[kind]
    labels = {"life": "test"}
    for name in ("first", "second"):
        made = (await api.post(place, {"metadata": {"name": name, "labels": labels}, **rest})).ok(201)
        assert made["metadata"]["uid"]
    assert (await api.get(f"{place}/first")).ok()["metadata"]["name"] == "first"
    listed = (await api.get(place, labelSelector="life=test")).ok()
    assert listed["kind"] == f"{kind}List"
    assert [item["metadata"]["name"] for item in listed["items"]] == ["first", "second"]
    patched = (await api.patch(f"{place}/first", {"metadata": {"annotations": {"patched": "yes"}}})).ok()
    patched["metadata"]["annotations"]["updated"] = "yes"
    updated = (await api.put(f"{place}/first", patched)).ok()
    assert updated["metadata"]["annotations"] == {"patched": "yes", "updated": "yes"}
    if status is not None:
        told = (await api.patch(f"{place}/first/status", {"status": status})).ok()["status"]
        assert {key: told[key] for key in status}.keys() == status.keys()
        whole = updated | {"metadata": (await api.get(f"{place}/first")).ok()["metadata"]}
        untouched = (await api.put(f"{place}/first", whole)).ok()
        assert {key: untouched["status"][key] for key in status} == {key: told[key] for key in status}
    (await api.delete(f"{place}/first")).ok()
    await _let_go(api, f"{place}/first")
    (await api.get(f"{place}/first")).refused(404, "NotFound")
    (await api.delete(place, labelSelector="life=test")).ok()
    await _let_go(api, f"{place}/second")
    assert (await api.get(place, labelSelector="life=test")).ok()["items"] == []


async def _let_go(api: Api, path: str) -> None:
    """What controllers do to what is protected."""
    answer = await api.get(path)
    if answer.code == 200:
        assert answer.json["metadata"]["deletionTimestamp"]
        (await api.patch(path, {"metadata": {"finalizers": None}})).ok()
