# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from sampan.kinds.groups import CONVERSIONS, KINDS, OPTIONAL, conversion
from sampan.kinds.kind import Kind
from sampan.machinery import names

from .objects import kind_of

# What `kubectl api-resources` lists: name, short names, whether in a namespace.
EXPECTED = """
    apiregistration.k8s.io/v1 apiservices - false APIService
    apps/v1 controllerrevisions - true ControllerRevision
    apps/v1 daemonsets ds true DaemonSet
    apps/v1 deployments deploy true Deployment
    apps/v1 replicasets rs true ReplicaSet
    apps/v1 statefulsets sts true StatefulSet
    events.k8s.io/v1 events ev true Event
    authentication.k8s.io/v1 selfsubjectreviews - false SelfSubjectReview
    authentication.k8s.io/v1 tokenreviews - false TokenReview
    authorization.k8s.io/v1 localsubjectaccessreviews - true LocalSubjectAccessReview
    authorization.k8s.io/v1 selfsubjectaccessreviews - false SelfSubjectAccessReview
    authorization.k8s.io/v1 selfsubjectrulesreviews - false SelfSubjectRulesReview
    authorization.k8s.io/v1 subjectaccessreviews - false SubjectAccessReview
    autoscaling/v2 horizontalpodautoscalers hpa true HorizontalPodAutoscaler
    autoscaling/v1 horizontalpodautoscalers hpa true HorizontalPodAutoscaler
    batch/v1 cronjobs cj true CronJob
    batch/v1 jobs - true Job
    certificates.k8s.io/v1 certificatesigningrequests csr false CertificateSigningRequest
    certificates.k8s.io/v1 clustertrustbundles - false ClusterTrustBundle
    certificates.k8s.io/v1 podcertificaterequests - true PodCertificateRequest
    networking.k8s.io/v1 ingressclasses - false IngressClass
    networking.k8s.io/v1 ingresses ing true Ingress
    networking.k8s.io/v1 ipaddresses ip false IPAddress
    networking.k8s.io/v1 networkpolicies netpol true NetworkPolicy
    networking.k8s.io/v1 servicecidrs - false ServiceCIDR
    policy/v1 poddisruptionbudgets pdb true PodDisruptionBudget
    rbac.authorization.k8s.io/v1 clusterrolebindings - false ClusterRoleBinding
    rbac.authorization.k8s.io/v1 clusterroles - false ClusterRole
    rbac.authorization.k8s.io/v1 rolebindings - true RoleBinding
    rbac.authorization.k8s.io/v1 roles - true Role
    storage.k8s.io/v1 csidrivers - false CSIDriver
    storage.k8s.io/v1 csinodes - false CSINode
    storage.k8s.io/v1 csistoragecapacities - true CSIStorageCapacity
    storage.k8s.io/v1 storageclasses sc false StorageClass
    storage.k8s.io/v1 volumeattachments - false VolumeAttachment
    storage.k8s.io/v1 volumeattributesclasses vac false VolumeAttributesClass
    admissionregistration.k8s.io/v1 mutatingadmissionpolicies - false MutatingAdmissionPolicy
    admissionregistration.k8s.io/v1 mutatingadmissionpolicybindings - false MutatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1 mutatingwebhookconfigurations - false MutatingWebhookConfiguration
    admissionregistration.k8s.io/v1 validatingadmissionpolicies - false ValidatingAdmissionPolicy
    admissionregistration.k8s.io/v1 validatingadmissionpolicybindings - false ValidatingAdmissionPolicyBinding
    admissionregistration.k8s.io/v1 validatingwebhookconfigurations - false ValidatingWebhookConfiguration
    apiextensions.k8s.io/v1 customresourcedefinitions crd,crds false CustomResourceDefinition
    scheduling.k8s.io/v1 priorityclasses pc false PriorityClass
    coordination.k8s.io/v1 leases - true Lease
    node.k8s.io/v1 runtimeclasses - false RuntimeClass
    discovery.k8s.io/v1 endpointslices - true EndpointSlice
    flowcontrol.apiserver.k8s.io/v1 flowschemas - false FlowSchema
    flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations - false PriorityLevelConfiguration
    resource.k8s.io/v1 deviceclasses - false DeviceClass
    resource.k8s.io/v1 devicetaintrules - false DeviceTaintRule
    resource.k8s.io/v1 resourceclaims - true ResourceClaim
    resource.k8s.io/v1 resourceclaimtemplates - true ResourceClaimTemplate
    resource.k8s.io/v1 resourceslices - false ResourceSlice
    storagemigration.k8s.io/v1 storageversionmigrations - false StorageVersionMigration
"""


def row(kind: Kind) -> str:
    short = ",".join(kind.short) or "-"
    return f"{kind.api_version} {kind.plural} {short} {str(kind.namespaced).lower()} {kind.kind}"


def test_kubectl_finds_every_resource_by_its_names() -> None:
    assert [row(kind) for kind in KINDS] == [line.strip() for line in EXPECTED.strip().splitlines()]


def test_optional_versions_are_not_served_by_default() -> None:
    served = {kind.gvk for kind in KINDS}
    assert not served & {kind.gvk for kind in OPTIONAL}
    assert len({kind.gvk for kind in OPTIONAL}) == len(OPTIONAL)
    for kind in OPTIONAL:
        assert "beta" in kind.version or "alpha" in kind.version
        assert kind.type.__struct_fields__


def test_kubectl_get_all_shows_workloads() -> None:
    shown = [kind.plural for kind in KINDS if "all" in kind.categories and kind.version != "v2"]
    assert shown == [
        "daemonsets", "deployments", "replicasets", "statefulsets", "horizontalpodautoscalers", "cronjobs", "jobs"
    ]  # fmt: skip


def test_reviews_are_asked_and_never_kept() -> None:
    virtual = [kind for kind in KINDS if kind.virtual]
    assert {kind.group for kind in virtual} == {"authentication.k8s.io", "authorization.k8s.io"}
    assert {kind.verbs for kind in virtual} == {("create",)}


def test_names_of_rbac_objects_may_hold_colons() -> None:
    role, other = kind_of("ClusterRole").name_errors, kind_of("Deployment").name_errors
    assert role is not None
    assert role("system:controller:job-controller") == []
    assert other is names.dns1123_subdomain


def test_only_other_shapes_are_converted() -> None:
    assert [conversion(c.served) for c in CONVERSIONS] == list(CONVERSIONS)
    assert conversion(kind_of("Deployment")) is None
    assert {c.hub.api_version for c in CONVERSIONS} == {"autoscaling/v2", "v1"}
