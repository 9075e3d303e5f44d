"""What is allowed in objects of the core group, pods apart, and yet worth a word to whoever writes it."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.pod_warnings import VOLUMES, claim_fractions, ip_warnings
from sampan.kinds.core.service_validation import HEADLESS, TOPOLOGY_HINTS, TOPOLOGY_MODE
from sampan.schema import api

_PEM_START: Final = b"-----BEGIN "
# PersistentVolumes are told of these only.
_OLD_VOLUMES: Final = frozenset(
    {"cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"}
)


def service_warnings(service: api.Service, _old: Any) -> list[str]:
    """Of fields that nothing looks at, and of what is about to go."""
    spec = service.spec
    warnings: list[str] = []
    if TOPOLOGY_HINTS in service.metadata.annotations:
        warnings.append(f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead")
    headless = spec.type == "ClusterIP" and spec.clusterIP == HEADLESS
    if headless:
        if spec.loadBalancerIP:
            warnings.append("spec.loadBalancerIP is ignored for headless services")
        if spec.externalIPs:
            warnings.append("spec.externalIPs is ignored for headless services")
        if spec.sessionAffinity != "None":
            warnings.append("spec.SessionAffinity is ignored for headless services")
    for position, address in enumerate(spec.externalIPs):
        warnings += ip_warnings(address, f"spec.externalIPs[{position}]")
    if spec.type == "ExternalName":
        if spec.externalIPs:
            warnings.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    elif spec.externalIPs and not headless:
        warnings.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.externalName and spec.type != "ExternalName":
        warnings.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.trafficDistribution == "PreferClose":
        warnings.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return warnings


def volume_warnings(volume: api.PersistentVolume, _old: Any) -> list[str]:
    """Of volumes that no node can mount any more."""
    warnings: list[str] = []
    if volume.spec.persistentVolumeReclaimPolicy == "Recycle":
        warnings.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
    for field, name, words in VOLUMES:
        if field in _OLD_VOLUMES and getattr(volume.spec, field) is not None:
            warnings.append(f"spec.{name}: {words}")
    return warnings


def claim_warnings(claim: api.PersistentVolumeClaim, _old: Any) -> list[str]:
    """Of sizes that are no whole number of bytes."""
    return claim_fractions(claim.spec, "spec")


def secret_warnings(secret: api.Secret, _old: Any) -> list[str]:
    """Of a key pair that no server can read."""
    if secret.type != "kubernetes.io/tls":
        return []
    for key, what in (("tls.crt", "certificate"), ("tls.key", "key")):
        if _PEM_START not in secret.data.get(key, b""):
            return [f"tls: failed to find any PEM data in {what} input"]
    return []


def node_warnings(node: api.Node, _old: Any) -> list[str]:
    """Of fields without a meaning."""
    warnings: list[str] = []
    if node.spec.configSource is not None:
        warnings.append("spec.configSource: the feature is removed")
    if node.spec.externalID:
        warnings.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    return warnings
