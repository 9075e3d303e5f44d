"""The defaults that version 3 of the documents tells: what Go has where a field is left out, and some more.

A required scalar has its zero value, and a part that is no pointer an empty object. The published definitions
are made of version 2, which has none of these; which parts are no pointers is told by their types, but for
those below.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from sampan.schema.definitions import Schema

_ZEROS: Final = {"string": "", "integer": 0, "number": 0, "boolean": False}
_PARTS: Final = ("Spec", "Status", "Meta")
_NOTHING: Final = object()


def with_defaults(name: str, schema: Schema) -> None:
    """Put the defaults of its fields into the schema of a definition, in place."""
    required = frozenset(schema.get("required", ()))
    special = _special().get(name.removeprefix("io.k8s."), {})
    for field, shown in schema.get("properties", {}).items():
        value = special.get(field, _NOTHING)
        if value is _NOTHING:
            value = _usual(shown, required=field in required)
        elif value is _ZERO:
            value = _ZEROS.get(shown.get("type", ""), {})
        if value is None:
            continue
        shown["default"] = value
        if "$ref" in shown:  # beside which nothing may stand
            shown["allOf"] = [{"$ref": shown.pop("$ref")}]


def _usual(shown: Schema, *, required: bool) -> Any:
    """The default that a field has by its form; None for none."""
    ref = shown.get("$ref") or next((each.get("$ref") for each in shown.get("allOf", ())), None)
    if ref is not None:
        kind = ref.rpartition(".")[2]
        return {} if kind.endswith(_PARTS) or kind in _VALUES else None
    return _ZEROS.get(shown.get("type", "")) if required else None


@cache
def _special() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for table, value in ((_NONE, None), (_ZERO_VALUES, _ZERO)):
        for definition, field in _lines(table):
            found.setdefault(definition, {})[field] = value
    for where, value in _GIVEN.items():
        definition, _, field = where.rpartition(".")
        found.setdefault(definition, {})[field] = value
    return found


def _lines(table: str) -> Iterator[tuple[str, str]]:
    package = ""
    for line in table.split("\n"):
        kind, colon, fields = line.partition(": ")
        if line.startswith("["):
            package = line[1:-1]
        elif colon:
            for field in fields.split():
                yield f"{package}.{kind}", field


_ZERO: Final = object()

# Types that are held as they are, not by a pointer.
_VALUES: Final = frozenset(
    [
        "ContainerState",
        "CrossVersionObjectReference",
        "CustomResourceDefinitionNames",
        "DaemonEndpoint",
        "DaemonSetUpdateStrategy",
        "DeploymentStrategy",
        "DeviceAllocationResult",
        "DeviceClaim",
        "DeviceTaint",
        "EndpointConditions",
        "EventSource",
        "GroupResource",
        "GroupVersionForDiscovery",
        "IngressBackend",
        "LimitResponse",
        "MetricIdentifier",
        "MetricTarget",
        "NodeDaemonEndpoints",
        "NodeSelectorTerm",
        "NodeSystemInfo",
        "PodAffinityTerm",
        "PriorityLevelConfigurationReference",
        "ResourcePool",
        "RoleRef",
        "ServiceBackendPort",
        "StatefulSetUpdateStrategy",
        "UserInfo",
        "VolumeAttachmentSource",
        "VolumeResourceRequirements",
        "WebhookClientConfig",
    ]
)

# Fields that have none for all that.
_NONE: Final = """
[api.admissionregistration.v1]
MutatingWebhook: sideEffects
ValidatingAdmissionPolicyBindingSpec: policyName
ValidatingWebhook: sideEffects
[api.authentication.v1]
TokenReviewSpec: token
[api.autoscaling.v2]
MetricStatus: containerResource external object pods resource
[api.certificates.v1]
CertificateSigningRequestSpec: request
PodCertificateRequestSpec: stubPKCS10Request
[api.core.v1]
ContainerRestartRule: action
ContainerRestartRuleOnExitCodes: operator
EvictionResponder: priority
ImageVolumeStatus: imageRef
NodeStatus: config
NodeSystemInfo: swap
PersistentVolumeClaimStatus: healthStatus modifyVolumeStatus
PodCertificateProjection: keyType signerName
PodStatus: extendedResourceClaimStatus
ReplicationControllerSpec: template
VolumeMountStatus: volumeStatus
VolumeStatus: image
[api.flowcontrol.v1]
FlowSchemaCondition: type
PriorityLevelConfigurationCondition: type
[api.networking.v1]
HTTPIngressPath: pathType
IngressSpec: defaultBackend
ParentReference: name resource
[api.storage.v1]
VolumeAttachmentSource: inlineVolumeSpec
[apiextensions-apiserver.pkg.apis.apiextensions.v1]
CustomResourceSubresources: status
WebhookConversion: clientConfig
"""

# Fields that have their zero value though they are optional, or of another type.
_ZERO_VALUES: Final = """
[api.apps.v1]
ControllerRevision: revision
DaemonSetCondition: status type
DeploymentCondition: status type
ReplicaSetCondition: status type
StatefulSetCondition: status type
StatefulSetOrdinals: start
StatefulSetSpec: serviceName
StatefulSetStatus: availableReplicas
[api.authentication.v1]
TokenRequestStatus: token
[api.autoscaling.v1]
ScaleSpec: replicas
[api.batch.v1]
PodFailurePolicyOnPodConditionsPattern: status
[api.core.v1]
AzureDiskVolumeSource: readOnly
Binding: target
ConfigMapEnvSource: name
ConfigMapKeySelector: name
ConfigMapProjection: name
ConfigMapVolumeSource: name
Container: resources
EphemeralContainer: resources
Event: reportingComponent reportingInstance involvedObject
FileKeySelector: optional
GRPCAction: service
LocalObjectReference: name
NodeRuntimeHandler: name
ReplicationControllerSpec: minReadySeconds
SecretEnvSource: name
SecretKeySelector: name
SecretProjection: name
[api.events.v1]
Event: regarding
[api.flowcontrol.v1]
FlowSchemaSpec: matchingPrecedence
QueuingConfiguration: handSize queueLengthLimit queues
[api.networking.v1]
NetworkPolicySpec: podSelector
[api.policy.v1]
PodDisruptionBudgetStatus: currentHealthy desiredHealthy disruptionsAllowed expectedPods
[api.rbac.v1]
RoleRef: apiGroup
[api.scheduling.v1]
PriorityClass: value
"""

# Defaults of their own.
_GIVEN: Final[dict[str, Any]] = {
    "api.certificates.v1.PodCertificateRequestSpec.maxExpirationSeconds": 86400,
    "api.core.v1.AzureDiskVolumeSource.cachingMode": "ReadWrite",
    "api.core.v1.AzureDiskVolumeSource.fsType": "ext4",
    "api.core.v1.AzureDiskVolumeSource.kind": "Shared",
    "api.core.v1.ContainerPort.protocol": "TCP",
    "api.core.v1.ISCSIPersistentVolumeSource.iscsiInterface": "default",
    "api.core.v1.ISCSIVolumeSource.iscsiInterface": "default",
    "api.core.v1.RBDPersistentVolumeSource.keyring": "/etc/ceph/keyring",
    "api.core.v1.RBDPersistentVolumeSource.pool": "rbd",
    "api.core.v1.RBDPersistentVolumeSource.user": "admin",
    "api.core.v1.RBDVolumeSource.keyring": "/etc/ceph/keyring",
    "api.core.v1.RBDVolumeSource.pool": "rbd",
    "api.core.v1.RBDVolumeSource.user": "admin",
    "api.core.v1.ReplicationControllerSpec.replicas": 1,
    "api.core.v1.ScaleIOPersistentVolumeSource.fsType": "xfs",
    "api.core.v1.ScaleIOPersistentVolumeSource.storageMode": "ThinProvisioned",
    "api.core.v1.ScaleIOVolumeSource.fsType": "xfs",
    "api.core.v1.ScaleIOVolumeSource.storageMode": "ThinProvisioned",
    "api.core.v1.ServicePort.protocol": "TCP",
    "api.resource.v1.DeviceToleration.operator": "Equal",
}
