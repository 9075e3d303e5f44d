"""Kinds of alpha and beta versions that are served only where a runtime-config asks for them.

They are stored and read as they are; nothing of them is defaulted or validated.
"""

from __future__ import annotations

from typing import Final

from sampan.kinds.kind import CLUSTER, Kind
from sampan.machinery import names

_EXTENSIONS: Final = ("api-extensions",)


def _kind(
    api_version: str,
    kind: str,
    plural: str,
    *,
    namespaced: bool = True,
    status: bool = False,
    short: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
) -> Kind:
    return Kind(
        api_version=api_version,
        kind=kind,
        plural=plural,
        short=short,
        categories=categories,
        namespaced=namespaced,
        status=status,
        name_errors=names.path_segment_name,
    )


def _admission_policies(version: str) -> tuple[Kind, ...]:
    api_version = f"admissionregistration.k8s.io/{version}"
    return (
        _kind(
            api_version,
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            namespaced=CLUSTER,
            categories=_EXTENSIONS,
        ),
        _kind(
            api_version,
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            namespaced=CLUSTER,
            categories=_EXTENSIONS,
        ),
    )


def _resources(version: str) -> tuple[Kind, ...]:
    api_version = f"resource.k8s.io/{version}"
    return (
        _kind(api_version, "DeviceClass", "deviceclasses", namespaced=CLUSTER),
        _kind(api_version, "ResourceClaim", "resourceclaims", status=True),
        _kind(api_version, "ResourceClaimTemplate", "resourceclaimtemplates"),
        _kind(api_version, "ResourceSlice", "resourceslices", namespaced=CLUSTER),
    )


def _taint_rule(version: str) -> Kind:
    return _kind(
        f"resource.k8s.io/{version}", "DeviceTaintRule", "devicetaintrules", namespaced=CLUSTER, status=True
    )


OPTIONAL: Final[tuple[Kind, ...]] = (
    *_admission_policies("v1alpha1"),
    *_admission_policies("v1beta1"),
    _kind("certificates.k8s.io/v1beta1", "ClusterTrustBundle", "clustertrustbundles", namespaced=CLUSTER),
    _kind("certificates.k8s.io/v1beta1", "PodCertificateRequest", "podcertificaterequests", status=True),
    _kind("coordination.k8s.io/v1alpha2", "LeaseCandidate", "leasecandidates"),
    _kind("coordination.k8s.io/v1beta1", "LeaseCandidate", "leasecandidates"),
    _kind(
        "internal.apiserver.k8s.io/v1alpha1",
        "StorageVersion",
        "storageversions",
        namespaced=CLUSTER,
        status=True,
    ),
    _kind("lifecycle.k8s.io/v1alpha1", "Eviction", "evictions", status=True),
    _kind("lifecycle.k8s.io/v1alpha1", "EvictionRequest", "evictionrequests", status=True),
    _taint_rule("v1alpha3"),
    _kind(
        "resource.k8s.io/v1alpha3",
        "ResourcePoolStatusRequest",
        "resourcepoolstatusrequests",
        namespaced=CLUSTER,
        status=True,
    ),
    *_resources("v1beta1"),
    *_resources("v1beta2"),
    _taint_rule("v1beta2"),
    _kind("scheduling.k8s.io/v1alpha3", "CompositePodGroup", "compositepodgroups", status=True),
    _kind("scheduling.k8s.io/v1alpha3", "PodGroup", "podgroups", status=True),
    _kind("scheduling.k8s.io/v1alpha3", "Workload", "workloads"),
    _kind("scheduling.k8s.io/v1beta1", "PodGroup", "podgroups", status=True),
    _kind("scheduling.k8s.io/v1beta1", "Workload", "workloads"),
    _kind(
        "storagemigration.k8s.io/v1beta1",
        "StorageVersionMigration",
        "storageversionmigrations",
        namespaced=CLUSTER,
        status=True,
    ),
)
