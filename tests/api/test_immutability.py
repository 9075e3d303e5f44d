"""What a client may not change, kind by kind, and what it is told."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final, NamedTuple

import pytest

from sampan.kinds import registry
from tests.api.server import MERGE, Api, certificate_request, deployment, pod, served

NAMESPACED = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
BATCH = "/apis/batch/v1/namespaces/default"
STORAGE = "/apis/storage.k8s.io/v1"
NETWORKING = "/apis/networking.k8s.io/v1"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
RESOURCE = "/apis/resource.k8s.io/v1"
LABELS = {"app": "web"}
TEMPLATE = deployment()["spec"]["template"]
WORKLOAD = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
JOB = {"template": {"spec": {**pod()["spec"], "restartPolicy": "Never"}}}
SUBJECT = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
VOLUME = {
    "capacity": {"storage": "1Gi"},
    "accessModes": ["ReadWriteOnce"],
    "csi": {"driver": "d.example.com", "volumeHandle": "h"},
    "volumeMode": "Filesystem",
}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SLICE = {
    "driver": "d.example.com",
    "nodeName": "n",
    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
}
CLAIM_SPEC = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
PARENT = {"resource": "services", "namespace": "default", "name": "a"}
ATTACHED = {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
IMMUTABLE = "field is immutable"


class Case(NamedTuple):
    """An object, a merge patch, and the words of the refusal; the path where only that is told apart."""

    place: str
    body: dict[str, Any]
    change: dict[str, Any]
    said: str
    name: str = "one"


def ref(kind: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view"}


CASES: Final[dict[str, Case]] = {
    "ConfigMap data": Case(
        f"{NAMESPACED}/configmaps", {"immutable": True, "data": {"a": "b"}}, {"data": {"a": "c"}},
        "data: Forbidden: field is immutable when `immutable` is set"),
    "ConfigMap immutable": Case(
        f"{NAMESPACED}/configmaps", {"immutable": True}, {"immutable": False},
        "immutable: Forbidden: field is immutable when `immutable` is set"),
    "Secret data": Case(
        f"{NAMESPACED}/secrets", {"immutable": True}, {"stringData": {"a": "b"}},
        "data: Forbidden: field is immutable when `immutable` is set"),
    "Secret type": Case(
        f"{NAMESPACED}/secrets", {"type": "Opaque"}, {"type": "example.com/t"},
        'type: Invalid value: "example.com/t": field is immutable'),
    "Pod spec": Case(
        f"{NAMESPACED}/pods", {"spec": pod()["spec"]}, {"spec": {"restartPolicy": "Never"}},
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
        "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
        "previously negative)"),
    "ResourceQuota scopes": Case(
        f"{NAMESPACED}/resourcequotas", {"spec": {"scopes": ["BestEffort"], "hard": {"pods": "1"}}},
        {"spec": {"scopes": ["Terminating"]}}, "spec.scopes: Invalid value: "),
    "PersistentVolume source": Case(
        "/api/v1/persistentvolumes", {"spec": VOLUME}, {"spec": {"csi": {"volumeHandle": "other"}}},
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"),
    "PersistentVolume volumeMode": Case(
        "/api/v1/persistentvolumes", {"spec": VOLUME}, {"spec": {"volumeMode": "Block"}},
        'is invalid: volumeMode: Invalid value: "Block": field is immutable'),
    "PersistentVolumeClaim spec": Case(
        f"{NAMESPACED}/persistentvolumeclaims", {"spec": CLAIM}, {"spec": {"accessModes": ["ReadOnlyMany"]}},
        "spec: Forbidden: spec is immutable after creation except resources.requests and "
        "volumeAttributesClassName for bound claims"),
    "Service clusterIP": Case(
        f"{NAMESPACED}/services", {"spec": {"ports": [{"port": 80}]}}, {"spec": {"clusterIP": "10.96.7.7",
        "clusterIPs": ["10.96.7.7"]}}, "spec.clusterIPs[0]: Invalid value: "),
    "Node podCIDR": Case(
        "/api/v1/nodes", {"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}},
        {"spec": {"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.2.0.0/24"]}},
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'),
    "Node providerID": Case(
        "/api/v1/nodes", {"spec": {"providerID": "a"}}, {"spec": {"providerID": "b"}},
        "spec.providerID: Invalid value: null: field cannot be modified once set"),
    "Deployment selector": Case(
        f"{APPS}/deployments", {"spec": WORKLOAD},
        {"spec": {"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}},
        "spec.selector: Invalid value: "),
    "ReplicaSet selector": Case(
        f"{APPS}/replicasets", {"spec": WORKLOAD},
        {"spec": {"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}},
        "spec.selector: Invalid value: "),
    "DaemonSet selector": Case(
        f"{APPS}/daemonsets", {"spec": WORKLOAD},
        {"spec": {"selector": {"matchLabels": {"b": "c"}}, "template": {"metadata": {"labels": {"b": "c"}}}}},
        "spec.selector: Invalid value: "),
    "StatefulSet serviceName": Case(
        f"{APPS}/statefulsets", {"spec": {**WORKLOAD, "serviceName": "a"}}, {"spec": {"serviceName": "b"}},
        'spec.serviceName: Invalid value: "b": field is immutable',
    ),
    "ControllerRevision data": Case(
        f"{APPS}/controllerrevisions", {"data": {"a": 1}, "revision": 1}, {"data": {"a": 2}},
        "data: Invalid value: "),
    "Job template": Case(
        f"{BATCH}/jobs", {"spec": JOB},
        {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}},
        "spec.template: Invalid value: "),
    "Job completions": Case(
        f"{BATCH}/jobs", {"spec": {**JOB, "completions": 2}}, {"spec": {"completions": 3}},
        "spec.completions: Invalid value: 3: field is immutable"),
    "Job completionMode": Case(
        f"{BATCH}/jobs", {"spec": {**JOB, "completions": 2}}, {"spec": {"completionMode": "Indexed"}},
        'spec.completionMode: Invalid value: "Indexed": field is immutable'),
    "Job backoffLimitPerIndex": Case(
        f"{BATCH}/jobs", {"spec": {**JOB, "completions": 2, "completionMode": "Indexed",
        "backoffLimitPerIndex": 1}}, {"spec": {"backoffLimitPerIndex": 2}},
        "spec.backoffLimitPerIndex: Invalid value: 2: field is immutable"),
    "Job managedBy": Case(
        f"{BATCH}/jobs", {"spec": {**JOB, "managedBy": "example.com/a"}},
        {"spec": {"managedBy": "example.com/b"}},
        'spec.managedBy: Invalid value: "example.com/b": field is immutable'),
    "IngressClass controller": Case(
        f"{NETWORKING}/ingressclasses", {"spec": {"controller": "example.com/a"}},
        {"spec": {"controller": "example.com/b"}},
        'spec.controller: Invalid value: "example.com/b": field is immutable'),
    "IPAddress parentRef": Case(
        f"{NETWORKING}/ipaddresses", {"spec": {"parentRef": PARENT}},
        {"spec": {"parentRef": {"name": "b"}}}, "spec.parentRef: Invalid value: ", "192.0.2.9"),
    "ServiceCIDR cidrs": Case(
        f"{NETWORKING}/servicecidrs", {"spec": {"cidrs": ["10.77.0.0/24"]}},
        {"spec": {"cidrs": ["10.78.0.0/24"]}}, "spec.cidrs"),
    "EndpointSlice addressType": Case(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        {"addressType": "IPv4", "endpoints": [], "ports": []}, {"addressType": "IPv6"},
        "addressType: Invalid value: null: field is immutable"),
    "PriorityClass value": Case(
        "/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 1}, {"value": 2},
        "value: Forbidden: may not be changed in an update."),
    "PriorityClass preemptionPolicy": Case(
        "/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 1}, {"preemptionPolicy": "Never"},
        'preemptionPolicy: Invalid value: "Never": field is immutable'),
    "RuntimeClass handler": Case(
        "/apis/node.k8s.io/v1/runtimeclasses", {"handler": "a"}, {"handler": "b"},
        'handler: Invalid value: null: field is immutable'),
    "RoleBinding roleRef": Case(
        f"{RBAC}/namespaces/default/rolebindings", {"roleRef": ref("ClusterRole"), "subjects": [SUBJECT]},
        {"roleRef": {"name": "edit"}}, "roleRef: Invalid value: "),
    "ClusterRoleBinding roleRef": Case(
        f"{RBAC}/clusterrolebindings", {"roleRef": ref("ClusterRole"), "subjects": [SUBJECT]},
        {"roleRef": {"name": "edit"}}, "roleRef: Invalid value: "),
    "StorageClass provisioner": Case(
        f"{STORAGE}/storageclasses", {"provisioner": "example.com/a"}, {"provisioner": "example.com/b"},
        "provisioner: Invalid value: null: field is immutable"),
    "StorageClass parameters": Case(
        f"{STORAGE}/storageclasses", {"provisioner": "example.com/a"}, {"parameters": {"a": "b"}},
        "parameters: Invalid value: null: field is immutable"),
    "StorageClass reclaimPolicy": Case(
        f"{STORAGE}/storageclasses", {"provisioner": "example.com/a"}, {"reclaimPolicy": "Retain"},
        "reclaimPolicy: Invalid value: null: field is immutable"),
    "StorageClass volumeBindingMode": Case(
        f"{STORAGE}/storageclasses", {"provisioner": "example.com/a"},
        {"volumeBindingMode": "WaitForFirstConsumer"},
        "volumeBindingMode: Invalid value: null: field is immutable"),
    "VolumeAttributesClass driverName": Case(
        f"{STORAGE}/volumeattributesclasses", {"driverName": "a.example.com", "parameters": {"a": "b"}},
        {"driverName": "b.example.com"},
        "driverName: Forbidden: updates to driverName are forbidden."),
    "VolumeAttributesClass parameters": Case(
        f"{STORAGE}/volumeattributesclasses", {"driverName": "a.example.com", "parameters": {"a": "b"}},
        {"parameters": {"a": "c"}}, "parameters: Forbidden: updates to parameters are forbidden."),
    "CSIDriver attachRequired": Case(
        f"{STORAGE}/csidrivers", {"spec": {"attachRequired": True}}, {"spec": {"attachRequired": False}},
        "spec.attachedRequired: Invalid value: false: field is immutable"),
    "CSIDriver volumeLifecycleModes": Case(
        f"{STORAGE}/csidrivers", {"spec": {}}, {"spec": {"volumeLifecycleModes": ["Ephemeral"]}},
        "spec.volumeLifecycleModes: Invalid value: "),
    "CSIStorageCapacity storageClassName": Case(
        f"{STORAGE}/namespaces/default/csistoragecapacities", {"storageClassName": "a"},
        {"storageClassName": "b"}, 'storageClassName: Invalid value: "b": field is immutable'),
    "VolumeAttachment spec": Case(
        f"{STORAGE}/volumeattachments", {"spec": ATTACHED}, {"spec": {"nodeName": "m"}},
        "spec: Invalid value: "),
    "ResourceClaim spec": Case(
        f"{RESOURCE}/namespaces/default/resourceclaims", {"spec": CLAIM_SPEC},
        {"spec": {"devices": {"requests": [{"name": "s", "exactly": {"deviceClassName": "c"}}]}}},
        "spec: Invalid value: "),
    "ResourceClaimTemplate spec": Case(
        f"{RESOURCE}/namespaces/default/resourceclaimtemplates", {"spec": {"spec": CLAIM_SPEC}},
        {"spec": {"metadata": {"labels": {"a": "b"}}}}, "spec: Invalid value: "),
    "ResourceSlice driver": Case(
        f"{RESOURCE}/resourceslices", {"spec": SLICE}, {"spec": {"driver": "e.example.com"}},
        'spec.driver: Invalid value: "e.example.com": field is immutable'),
    "ResourceSlice nodeName": Case(
        f"{RESOURCE}/resourceslices", {"spec": SLICE}, {"spec": {"nodeName": "m"}},
        'spec.nodeName: Invalid value: "m": field is immutable'),
    "ResourceSlice pool": Case(
        f"{RESOURCE}/resourceslices", {"spec": SLICE}, {"spec": {"pool": {"name": "q"}}},
        'spec.pool.name: Invalid value: "q": field is immutable'),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@served
async def test_what_may_not_change(api: Api, name: str) -> None:
    case = CASES[name]
    await api.account()
    body = {"metadata": {"name": case.name}, **deepcopy(case.body)}
    made = (await api.post(case.place, body)).ok(201)
    said = (await api.patch(f"{case.place}/{case.name}", case.change, MERGE)).refused(422, "Invalid")
    kind = name.split()[0]
    assert said.startswith(kind), said
    assert f'"{case.name}" is invalid: ' in said
    assert case.said in said, said
    if case.said.endswith("Invalid value: ") and "clusterIP" not in name and "roleRef" not in name:
        assert IMMUTABLE in said, said
    assert (await api.get(f"{case.place}/{case.name}")).ok() == made
    # Its labels are everybody's to change.
    labelled = await api.patch(f"{case.place}/{case.name}", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert labelled.ok()["metadata"]["labels"]["a"] == "b"


# What is put back without a word, as Kubernetes' strategies do: place, body, change, the field that stays.
KEPT: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], str]]] = {
    "CertificateSigningRequest": (
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        {"spec": {"request": certificate_request(), "signerName": "example.com/s",
                  "usages": ["client auth"]}},
        {"spec": {"usages": ["server auth"]}}, "spec"),
    "Namespace": ("/api/v1/namespaces", {}, {"spec": {"finalizers": ["example.com/a"]}}, "spec"),
    "PersistentVolume": (
        "/api/v1/persistentvolumes", {"spec": VOLUME}, {"status": {"phase": "Failed"}}, "status"),
    "Deployment": (f"{APPS}/deployments", {"spec": WORKLOAD}, {"status": {"replicas": 7}}, "status"),
    "Job": (f"{BATCH}/jobs", {"spec": JOB}, {"status": {"failed": 7}}, "status"),
    "Service": (
        f"{NAMESPACED}/services", {"spec": {"ports": [{"port": 80}]}},
        {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}, "status"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEPT)
@served
async def test_what_stays_as_it_was(api: Api, kind: str) -> None:
    place, body, change, field = KEPT[kind]
    made = (await api.post(place, {"metadata": {"name": "one"}, **deepcopy(body)})).ok(201)
    changed = (await api.patch(f"{place}/one", change, MERGE)).ok()
    assert changed.get(field) == made.get(field)
    assert changed["metadata"].get("generation") == made["metadata"].get("generation")
    # A status that comes with a new object is not taken either.
    if field == "status":
        again = {"metadata": {"name": "two"}, **deepcopy(body), **change}
        assert (await api.post(place, again)).ok(201).get("status") == made.get("status")


# Kinds whose metadata.generation counts changes of what is wanted; of all others it stays away.
COUNTED: Final = frozenset(
    {
        "v1/Pod",
        "v1/PodTemplate",
        "v1/ReplicationController",
        "apps/v1/DaemonSet",
        "apps/v1/Deployment",
        "apps/v1/ReplicaSet",
        "apps/v1/StatefulSet",
        "autoscaling/v1/HorizontalPodAutoscaler",
        "autoscaling/v2/HorizontalPodAutoscaler",
        "batch/v1/CronJob",
        "batch/v1/Job",
        "networking.k8s.io/v1/Ingress",
        "networking.k8s.io/v1/IngressClass",
        "networking.k8s.io/v1/NetworkPolicy",
        "policy/v1/PodDisruptionBudget",
        "discovery.k8s.io/v1/EndpointSlice",
        "flowcontrol.apiserver.k8s.io/v1/FlowSchema",
        "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration",
        "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration",
        "apiextensions.k8s.io/v1/CustomResourceDefinition",
        "resource.k8s.io/v1/DeviceClass",
        "resource.k8s.io/v1/DeviceTaintRule",
        "resource.k8s.io/v1/ResourceSlice",
    }
)


def test_generations() -> None:
    assert {f"{kind.api_version}/{kind.kind}" for kind in registry.ALL if kind.generation} == COUNTED


@served
async def test_a_csi_driver_counts_changes_from_none(api: Api) -> None:
    place = f"{STORAGE}/csidrivers"
    made = (await api.post(place, {"metadata": {"name": "one"}, "spec": {}})).ok(201)
    assert "generation" not in made["metadata"]
    bare = {"metadata": {**made["metadata"], "labels": {"a": "b"}}, "spec": {}}
    assert "generation" not in (await api.put(f"{place}/one", bare)).ok()["metadata"]
    for count, mount in ((1, True), (2, False)):
        changed = await api.patch(f"{place}/one", {"spec": {"podInfoOnMount": mount}}, MERGE)
        assert changed.ok()["metadata"]["generation"] == count
