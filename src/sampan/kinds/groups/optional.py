"""Kinds of alpha and beta versions that are served only where a runtime-config asks for them.

Those that `SWITCHES` names can be switched on. The others are stored and read as they are: nothing of them is
defaulted or validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from sampan.base.errors import SampanError
from sampan.kinds.groups import podgroups
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
    *podgroups.KINDS,
    _kind(
        "storagemigration.k8s.io/v1beta1",
        "StorageVersionMigration",
        "storageversionmigrations",
        namespaced=CLUSTER,
        status=True,
    ),
)

# What a runtime-config may switch on, with the version of Kubernetes that has it first.
SWITCHES: Final = {podgroups.GROUP_VERSION: (1, 37), podgroups.ALPHA: (1, 37)}
SWITCHED: Final[tuple[Kind, ...]] = podgroups.KINDS
_SETS: Final = {"api/all": ("alpha", "beta"), "api/beta": ("beta",), "api/alpha": ("alpha",)}


def switched_on(settings: Sequence[str], version: tuple[int, ...]) -> tuple[Kind, ...]:
    """The further kinds that a runtime-config asks for: `scheduling.k8s.io/v1beta1=true`, `api/beta=true`.

    As kube-apiserver's --runtime-config; what stands first counts least. `version` is that of Kubernetes.
    Raises SampanError for what cannot be switched.
    """
    wanted: dict[str, bool] = {}
    for setting in settings:
        name, _, value = setting.strip().partition("=")
        if value not in ("", "true", "false"):
            raise SampanError(f"The runtime-config {setting!r} has to end in =true or =false.")
        if name in _SETS:
            known = [n for n in SWITCHES if SWITCHES[n] <= version and any(w in n for w in _SETS[name])]
        elif name in SWITCHES:
            known = [name]
            if SWITCHES[name] > version and value != "false":
                least = ".".join(map(str, SWITCHES[name]))
                raise SampanError(
                    f"{name} needs Kubernetes {least} or newer: leave --kubernetes-version away."
                )
        else:
            raise SampanError(
                f"The runtime-config {setting!r} names nothing that can be switched: there are "
                f"{', '.join((*SWITCHES, *_SETS))}."
            )
        wanted |= dict.fromkeys(known, value != "false")
    if wanted.get(podgroups.GROUP_VERSION):
        also = (podgroups.ALPHA,) if wanted.get(podgroups.ALPHA) else ()
        return tuple(msgspec.structs.replace(kind, also_served=also) for kind in podgroups.KINDS)
    if wanted.get(podgroups.ALPHA):
        raise SampanError(f"{podgroups.ALPHA} is served beside {podgroups.GROUP_VERSION}: switch both on.")
    return ()
