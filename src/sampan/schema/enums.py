"""Values that fields are limited to, as `kubectl explain` tells them.

The published definitions leave them out; kube-apiserver's own documents have them. A table for each package:
the kind, its field (`[]` where the items of a list are meant, `{}` for the values of a map), and the values
with bars between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

_PACKAGES: Final = {"apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"}
_WITHIN: Final = {"[]": "items", "{}": "additionalProperties"}

# Part of the hash of every document: to be counted up where the table changes.
REVISION: Final = 3


def with_enums(name: str, schema: dict[str, Any]) -> None:
    """Put the values of its fields into the schema of a definition, in place."""
    properties = schema.get("properties", {})
    for field, values in _by_definition().get(name, ()):
        within = _WITHIN.get(field[-2:])
        shown = properties.get(field[:-2] if within else field)
        if isinstance(shown, dict) and within:
            shown = shown.get(within)
        if not isinstance(shown, dict):
            continue
        shown["enum"] = list(values)
        if not within:
            listed = "".join(f'\n - `"{value}"`' for value in values)
            shown["description"] = f"{shown.get('description', '')}\n\nPossible enum values:{listed}"


@cache
def _by_definition() -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, field, values in _lines():
        found.setdefault(name, []).append((field, values))
    return found


def _lines() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    package = ""
    for line in TABLE.replace("\\\n    ", "").split("\n"):
        if line.startswith("["):
            package = line[1:-1]
        elif line:
            where, _, values = line.partition(" = ")
            kind, _, field = where.partition(".")
            yield f"{_PACKAGES.get(package, f'io.k8s.api.{package}')}.{kind}", field, tuple(values.split("|"))


TABLE: Final = r"""
[admissionregistration.v1]
MatchResources.matchPolicy = Equivalent|Exact
MutatingAdmissionPolicySpec.failurePolicy = Fail|Ignore
MutatingAdmissionPolicySpec.reinvocationPolicy = IfNeeded|Never
MutatingWebhook.failurePolicy = Fail|Ignore
MutatingWebhook.matchPolicy = Equivalent|Exact
MutatingWebhook.reinvocationPolicy = IfNeeded|Never
MutatingWebhook.sideEffects = None|NoneOnDryRun|Some|Unknown
Mutation.patchType = ApplyConfiguration|JSONPatch
NamedRuleWithOperations.operations[] = *|CONNECT|CREATE|DELETE|UPDATE
NamedRuleWithOperations.scope = *|Cluster|Namespaced
RuleWithOperations.operations[] = *|CONNECT|CREATE|DELETE|UPDATE
RuleWithOperations.scope = *|Cluster|Namespaced
ValidatingAdmissionPolicyBindingSpec.validationActions[] = Audit|Deny|Warn
ValidatingAdmissionPolicySpec.failurePolicy = Fail|Ignore
ValidatingWebhook.failurePolicy = Fail|Ignore
ValidatingWebhook.matchPolicy = Equivalent|Exact
ValidatingWebhook.sideEffects = None|NoneOnDryRun|Some|Unknown
[apiextensions.v1]
ValidationRule.reason = FieldValueDuplicate|FieldValueForbidden|FieldValueInvalid|FieldValueRequired
[apps.v1]
DaemonSetUpdateStrategy.type = OnDelete|RollingUpdate
DeploymentStrategy.type = Recreate|RollingUpdate
StatefulSetSpec.podManagementPolicy = OrderedReady|Parallel
StatefulSetUpdateStrategy.type = OnDelete|Recreate|RollingUpdate
[batch.v1]
CronJobSpec.concurrencyPolicy = Allow|Forbid|Replace
JobSpec.completionMode = Indexed|NonIndexed
JobSpec.podReplacementPolicy = Failed|TerminatingOrFailed
PodFailurePolicyOnExitCodesRequirement.operator = In|NotIn
PodFailurePolicyRule.action = Count|FailIndex|FailJob|Ignore
[certificates.v1]
CertificateSigningRequestSpec.usages[] = any|cert sign|client auth|code signing|content commitment|\
    crl sign|data encipherment|decipher only|digital signature|email protection|encipher only|\
    ipsec end system|ipsec tunnel|ipsec user|key agreement|key encipherment|microsoft sgc|netscape sgc|\
    ocsp signing|s/mime|server auth|signing|timestamping
[core.v1]
AppArmorProfile.type = Localhost|RuntimeDefault|Unconfined
AzureDiskVolumeSource.cachingMode = None|ReadOnly|ReadWrite
AzureDiskVolumeSource.kind = Dedicated|Managed|Shared
Container.imagePullPolicy = Always|IfNotPresent|Never
Container.terminationMessagePolicy = FallbackToLogsOnError|File
ContainerPort.protocol = SCTP|TCP|UDP
ContainerStatus.stopSignal = SIGABRT|SIGALRM|SIGBUS|SIGCHLD|SIGCLD|SIGCONT|SIGFPE|SIGHUP|SIGILL|SIGINT|\
    SIGIO|SIGIOT|SIGKILL|SIGPIPE|SIGPOLL|SIGPROF|SIGPWR|SIGQUIT|SIGRTMAX|SIGRTMAX-1|SIGRTMAX-10|\
    SIGRTMAX-11|SIGRTMAX-12|SIGRTMAX-13|SIGRTMAX-14|SIGRTMAX-2|SIGRTMAX-3|SIGRTMAX-4|SIGRTMAX-5|\
    SIGRTMAX-6|SIGRTMAX-7|SIGRTMAX-8|SIGRTMAX-9|SIGRTMIN|SIGRTMIN+1|SIGRTMIN+10|SIGRTMIN+11|SIGRTMIN+12|\
    SIGRTMIN+13|SIGRTMIN+14|SIGRTMIN+15|SIGRTMIN+2|SIGRTMIN+3|SIGRTMIN+4|SIGRTMIN+5|SIGRTMIN+6|\
    SIGRTMIN+7|SIGRTMIN+8|SIGRTMIN+9|SIGSEGV|SIGSTKFLT|SIGSTOP|SIGSYS|SIGTERM|SIGTRAP|SIGTSTP|SIGTTIN|\
    SIGTTOU|SIGURG|SIGUSR1|SIGUSR2|SIGVTALRM|SIGWINCH|SIGXCPU|SIGXFSZ
EndpointPort.protocol = SCTP|TCP|UDP
EphemeralContainer.imagePullPolicy = Always|IfNotPresent|Never
EphemeralContainer.terminationMessagePolicy = FallbackToLogsOnError|File
GRPCAction.mode = Plaintext|TLS
HTTPGetAction.protocol = HTTP1|HTTP2
HTTPGetAction.scheme = HTTP|HTTPS
HostPathVolumeSource.type = |BlockDevice|CharDevice|Directory|DirectoryOrCreate|File|FileOrCreate|Socket
ImageVolumeSource.pullPolicy = Always|IfNotPresent|Never
Lifecycle.stopSignal = SIGABRT|SIGALRM|SIGBUS|SIGCHLD|SIGCLD|SIGCONT|SIGFPE|SIGHUP|SIGILL|SIGINT|SIGIO|\
    SIGIOT|SIGKILL|SIGPIPE|SIGPOLL|SIGPROF|SIGPWR|SIGQUIT|SIGRTMAX|SIGRTMAX-1|SIGRTMAX-10|SIGRTMAX-11|\
    SIGRTMAX-12|SIGRTMAX-13|SIGRTMAX-14|SIGRTMAX-2|SIGRTMAX-3|SIGRTMAX-4|SIGRTMAX-5|SIGRTMAX-6|\
    SIGRTMAX-7|SIGRTMAX-8|SIGRTMAX-9|SIGRTMIN|SIGRTMIN+1|SIGRTMIN+10|SIGRTMIN+11|SIGRTMIN+12|\
    SIGRTMIN+13|SIGRTMIN+14|SIGRTMIN+15|SIGRTMIN+2|SIGRTMIN+3|SIGRTMIN+4|SIGRTMIN+5|SIGRTMIN+6|\
    SIGRTMIN+7|SIGRTMIN+8|SIGRTMIN+9|SIGSEGV|SIGSTKFLT|SIGSTOP|SIGSYS|SIGTERM|SIGTRAP|SIGTSTP|SIGTTIN|\
    SIGTTOU|SIGURG|SIGUSR1|SIGUSR2|SIGVTALRM|SIGWINCH|SIGXCPU|SIGXFSZ
ModifyVolumeStatus.status = InProgress|Infeasible|Pending
NamespaceStatus.phase = Active|Terminating
NodeSelectorRequirement.operator = DoesNotExist|Exists|Gt|In|Lt|NotIn
NodeStatus.phase = Pending|Running|Terminated
PersistentVolumeClaimSpec.accessModes[] = ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod
PersistentVolumeClaimSpec.volumeMode = Block|Filesystem
PersistentVolumeClaimStatus.accessModes[] = ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod
PersistentVolumeClaimStatus.allocatedResourceStatuses{} = ControllerResizeInProgress|\
    ControllerResizeInfeasible|NodeResizeInProgress|NodeResizeInfeasible|NodeResizePending
PersistentVolumeClaimStatus.phase = Bound|Lost|Pending
PersistentVolumeSpec.accessModes[] = ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod
PersistentVolumeSpec.persistentVolumeReclaimPolicy = Delete|Recycle|Retain
PersistentVolumeSpec.volumeMode = Block|Filesystem
PersistentVolumeStatus.phase = Available|Bound|Failed|Pending|Released
PodSecurityContext.fsGroupChangePolicy = Always|OnRootMismatch
PodSecurityContext.supplementalGroupsPolicy = Merge|Strict
PodSpec.dnsPolicy = ClusterFirst|ClusterFirstWithHostNet|Default|None
PodSpec.preemptionPolicy = Never|PreemptLowerPriority
PodSpec.restartPolicy = Always|Never|OnFailure
PodStatus.phase = Failed|Pending|Running|Succeeded|Unknown
PodStatus.qosClass = BestEffort|Burstable|Guaranteed
PortStatus.protocol = SCTP|TCP|UDP
ResourceQuotaSpec.scopes[] = BestEffort|CrossNamespacePodAffinity|NotBestEffort|NotTerminating|\
    PriorityClass|Terminating|VolumeAttributesClass
ScopedResourceSelectorRequirement.operator = DoesNotExist|Exists|In|NotIn
ScopedResourceSelectorRequirement.scopeName = BestEffort|CrossNamespacePodAffinity|NotBestEffort|\
    NotTerminating|PriorityClass|Terminating|VolumeAttributesClass
SeccompProfile.type = Localhost|RuntimeDefault|Unconfined
SecurityContext.procMount = Default|Unmasked
ServicePort.protocol = SCTP|TCP|UDP
ServiceSpec.externalTrafficPolicy = Cluster|Local
ServiceSpec.internalTrafficPolicy = Cluster|Local
ServiceSpec.ipFamilies[] = |IPv4|IPv6
ServiceSpec.ipFamilyPolicy = PreferDualStack|RequireDualStack|SingleStack
ServiceSpec.sessionAffinity = ClientIP|None
ServiceSpec.type = ClusterIP|ExternalName|LoadBalancer|NodePort
Taint.effect = NoExecute|NoSchedule|PreferNoSchedule
Toleration.effect = NoExecute|NoSchedule|PreferNoSchedule
Toleration.operator = Equal|Exists|Gt|Lt
TopologySpreadConstraint.nodeAffinityPolicy = Honor|Ignore
TopologySpreadConstraint.nodeTaintsPolicy = Honor|Ignore
TopologySpreadConstraint.whenUnsatisfiable = DoNotSchedule|ScheduleAnyway
VolumeHealthCondition.status = DataLoss|Degraded|Inaccessible
VolumeMount.mountPropagation = Bidirectional|HostToContainer|None
[discovery.v1]
EndpointPort.protocol = SCTP|TCP|UDP
EndpointSlice.addressType = FQDN|IPv4|IPv6
[networking.v1]
HTTPIngressPath.pathType = Exact|ImplementationSpecific|Prefix
IngressPortStatus.protocol = SCTP|TCP|UDP
NetworkPolicyPort.protocol = SCTP|TCP|UDP
NetworkPolicySpec.policyTypes[] = Egress|Ingress
[policy.v1]
PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy = AlwaysAllow|IfHealthyBudget
[resource.v1]
DeviceAllocationConfiguration.source = FromClaim|FromClass
DeviceRequestAllocationResult.skipNodeOperations[] = *|NodePrepareResources|NodeUnprepareResources
DeviceSubRequest.allocationMode = All|ExactCount
DeviceTaint.effect = NoExecute|NoSchedule|None
DeviceToleration.effect = NoExecute|NoSchedule|None
DeviceToleration.operator = Equal|Exists
ExactDeviceRequest.allocationMode = All|ExactCount
ResourceSliceSpec.skipNodeOperations[] = *|NodePrepareResources|NodeUnprepareResources
[scheduling.v1]
PriorityClass.preemptionPolicy = Never|PreemptLowerPriority
[storage.v1]
StorageClass.reclaimPolicy = Delete|Recycle|Retain
StorageClass.volumeBindingMode = Immediate|WaitForFirstConsumer
StorageHealthCondition.accessMode = ReadOnlyMany|ReadWriteMany|ReadWriteOnce|ReadWriteOncePod
StorageHealthCondition.status = StorageDegraded|StorageUnreachable
StorageHealthCondition.volumeMode = Block|Filesystem
"""
