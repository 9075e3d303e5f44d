"""The columns of every kind as `kubectl get` shows them, with -o wide those with a star, in kubectl's order.

What the cells hold is in the tests of the kinds.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import pytest

from sampan.kinds import registry
from sampan.kinds.custom.columns import columns
from sampan.kinds.kind import Kind

OF_TEMPLATES = "Containers* | Images* | Selector*"
COLUMNS: Final[dict[str, str]] = {
    "v1 ComponentStatus": "Name | Status | Message | Error",
    "v1 ConfigMap": "Name | Data | Age",
    "v1 Endpoints": "Name | Endpoints | Age",
    "v1 Event": "Last Seen | Type | Reason | Object | Subobject* | Source* | Message | First Seen* | Count* "
    "| Name*",
    "v1 LimitRange": "Name | Created At:date",
    "v1 Namespace": "Name | Status | Age",
    "v1 Node": "Name | Status | Roles | Age | Version | Internal-IP* | External-IP* | OS-Image* "
    "| Kernel-Version* | Container-Runtime*",
    "v1 PersistentVolume": "Name | Capacity | Access Modes | Reclaim Policy | Status | Claim | StorageClass "
    "| VolumeAttributesClass | Reason | Age | VolumeMode*",
    "v1 PersistentVolumeClaim": "Name | Status | Volume | Capacity | Access Modes | StorageClass "
    "| VolumeAttributesClass | Age | VolumeMode*",
    "v1 Pod": "Name | Ready | Status | Restarts | Age | IP* | Node* | Nominated Node* | Readiness Gates*",
    "v1 PodTemplate": "Name | Containers | Images | Pod Labels",
    "v1 ReplicationController": "Name | Desired:integer | Current:integer | Ready:integer | Age "
    f"| {OF_TEMPLATES}",
    "v1 ResourceQuota": "Name | Request | Limit | Age",
    "v1 Secret": "Name | Type | Data | Age",
    "v1 Service": "Name | Type | Cluster-IP | External-IP | Port(s) | Age | Selector*",
    "v1 ServiceAccount": "Name | Age",
    "admissionregistration.k8s.io/v1 MutatingAdmissionPolicy": "Name | Mutations:integer | ParamKind | Age",
    "admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding": "Name | PolicyName | ParamRef | Age",
    "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration": "Name | Webhooks:integer | Age",
    "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy": "Name | Validations:integer | ParamKind "
    "| Age",
    "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": "Name | PolicyName | ParamRef | Age",
    "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration": "Name | Webhooks:integer | Age",
    "apiextensions.k8s.io/v1 CustomResourceDefinition": "Name | Scope | Versions | Created At:date | Group* "
    "| Kind* | ShortNames* | Established*:boolean",
    "apiregistration.k8s.io/v1 APIService": "Name | Service | Available | Age",
    "apps/v1 ControllerRevision": "Name | Controller | Revision | Age",
    "apps/v1 DaemonSet": "Name | Desired:integer | Current:integer | Ready:integer | Up-to-date:integer "
    f"| Available:integer | Node Selector | Age | {OF_TEMPLATES}",
    "apps/v1 Deployment": f"Name | Ready | Up-to-date | Available | Age | {OF_TEMPLATES}",
    "apps/v1 ReplicaSet": f"Name | Desired:integer | Current:integer | Ready:integer | Age | {OF_TEMPLATES}",
    "apps/v1 StatefulSet": "Name | Ready | Age | Containers* | Images*",
    "autoscaling/v1 HorizontalPodAutoscaler": "Name | Reference | Targets | MinPods | MaxPods | Replicas "
    "| Age",
    "autoscaling/v2 HorizontalPodAutoscaler": "Name | Reference | Targets | MinPods | MaxPods | Replicas "
    "| Age",
    "batch/v1 CronJob": "Name | Schedule | Timezone | Suspend:boolean | Active:integer | Last Schedule | Age "
    f"| {OF_TEMPLATES}",
    "batch/v1 Job": f"Name | Status | Completions | Duration | Age | {OF_TEMPLATES}",
    "certificates.k8s.io/v1 CertificateSigningRequest": "Name | Age | SignerName | Requestor "
    "| RequestedDuration | Condition",
    "certificates.k8s.io/v1 ClusterTrustBundle": "Name | SignerName",
    "certificates.k8s.io/v1 PodCertificateRequest": "Name | PodName | ServiceAccountName | NodeName "
    "| SignerName | State | UnverifiedUserAnnotations",
    "coordination.k8s.io/v1 Lease": "Name | Holder | Age",
    "discovery.k8s.io/v1 EndpointSlice": "Name | AddressType | Ports | Endpoints | Age",
    "events.k8s.io/v1 Event": "Last Seen | Type | Reason | Object | Subobject* | Source* | Message "
    "| First Seen* | Count* | Name*",
    "flowcontrol.apiserver.k8s.io/v1 FlowSchema": "Name | PriorityLevel | MatchingPrecedence "
    "| DistinguisherMethod | Age | MissingPL",
    "flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration": "Name | Type | NominalConcurrencyShares "
    "| Queues | HandSize | QueueLengthLimit | Age",
    "networking.k8s.io/v1 IPAddress": "Name | ParentRef",
    "networking.k8s.io/v1 Ingress": "Name | Class | Hosts | Address | Ports | Age",
    "networking.k8s.io/v1 IngressClass": "Name | Controller | Parameters | Age",
    "networking.k8s.io/v1 NetworkPolicy": "Name | Pod-Selector | Age",
    "networking.k8s.io/v1 ServiceCIDR": "Name | CIDRs | Age",
    "node.k8s.io/v1 RuntimeClass": "Name | Handler | Age",
    "policy/v1 PodDisruptionBudget": "Name | Min Available | Max Unavailable | Allowed Disruptions:integer "
    "| Age",
    "rbac.authorization.k8s.io/v1 ClusterRole": "Name | Created At:date",
    "rbac.authorization.k8s.io/v1 ClusterRoleBinding": "Name | Role | Age | Users* | Groups* "
    "| ServiceAccounts*",
    "rbac.authorization.k8s.io/v1 Role": "Name | Created At:date",
    "rbac.authorization.k8s.io/v1 RoleBinding": "Name | Role | Age | Users* | Groups* | ServiceAccounts*",
    "resource.k8s.io/v1 DeviceClass": "Name | Age",
    "resource.k8s.io/v1 ResourceClaim": "Name | State | Age",
    "resource.k8s.io/v1 ResourceClaimTemplate": "Name | Age",
    "resource.k8s.io/v1 ResourceSlice": "Name | Node | Driver | Pool | Age",
    "scheduling.k8s.io/v1 PriorityClass": "Name | Value:integer | Global-Default:boolean | Age "
    "| PreemptionPolicy",
    "storage.k8s.io/v1 CSIDriver": "Name | AttachRequired:boolean | PodInfoOnMount:boolean "
    "| StorageCapacity:boolean | TokenRequests | RequiresRepublish:boolean | Modes | Age",
    "storage.k8s.io/v1 CSINode": "Name | Drivers:integer | Age",
    "storage.k8s.io/v1 CSIStorageCapacity": "Name | Created At:date",
    "storage.k8s.io/v1 StorageClass": "Name | Provisioner | ReclaimPolicy | VolumeBindingMode "
    "| AllowVolumeExpansion | Age",
    "storage.k8s.io/v1 VolumeAttachment": "Name | Attacher | PV | Node | Attached:boolean | Age",
    "storage.k8s.io/v1 VolumeAttributesClass": "Name | DriverName | Age",
    "storagemigration.k8s.io/v1 StorageVersionMigration": "Name | Resource | Status",
}
# Newer than what is known of kubectl's columns for certain.
NOT_TOLD: Final = frozenset({"resource.k8s.io/v1 DeviceTaintRule"})
SHOWN = {f"{kind.api_version} {kind.kind}": kind for kind in registry.ALL if kind.columns}


def shown(kind: Kind) -> str:
    return " | ".join(
        f"{each.name}{'*' if each.priority else ''}{'' if each.type == 'string' else f':{each.type}'}"
        for each in kind.columns
    )


def test_no_kind_is_left_out() -> None:
    assert set(SHOWN) - NOT_TOLD == set(COLUMNS)


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name: str) -> None:
    kind = SHOWN[name]
    assert shown(kind) == COLUMNS[name]
    named = [each.name for each in kind.columns if each.format == "name" and each.name != "Attacher"]
    # As kube-apiserver 1.37.2 has it, this one's name is a text like others.
    assert named == ([] if kind.kind == "StorageVersionMigration" else ["Name"])


def test_the_age_of_custom_resources_is_a_date() -> None:
    asked: Any = SimpleNamespace(additionalPrinterColumns=[])
    assert [(each.name, each.type) for each in columns(asked)] == [("Name", "string"), ("Age", "date")]
