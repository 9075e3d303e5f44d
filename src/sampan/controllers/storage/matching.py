"""Which volume suits a claim: k8s.io/component-helpers/storage/volume, FindMatchingVolume and its kin."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.controllers.storage.names import capacity_of, class_of, is_bound_to, size_of
from sampan.kinds.core.node_selection import term_matches
from sampan.machinery import selectors
from sampan.schema import api


def best_match(
    claim: api.PersistentVolumeClaim,
    volumes: Iterable[api.PersistentVolume],
    *,
    node: api.Node | None = None,
    reserved_only: bool = False,
) -> api.PersistentVolume | None:
    """The volume that was reserved for the claim, else the smallest that will do; None where none will.

    `node`, where it is known, must be able to reach the volume. With `reserved_only` (nobody knows yet where
    the claim will be used) only a reserved volume counts. Of volumes of one size those with the fewest access
    modes come first.
    """
    fitting: list[api.PersistentVolume] = []
    for volume in volumes:
        if volume.spec.claimRef is not None and not is_bound_to(volume, claim):
            continue
        if _differs(claim, volume) or volume.metadata.deletionTimestamp is not None:
            continue
        reachable = node is None or reaches(volume, node)
        if volume.spec.claimRef is not None:
            return volume if reachable else None
        if reserved_only or not reachable or volume.status.phase != "Available":
            continue
        if (class_of(claim) or "") == (class_of(volume) or "") and _is_selected(claim, volume):
            fitting.append(volume)
    return min(fitting, key=_rank, default=None)


def _rank(volume: api.PersistentVolume) -> tuple[int, object, str]:
    return len(volume.spec.accessModes), capacity_of(volume).value, volume.metadata.name or ""


def _is_selected(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> bool:
    if claim.spec.selector is None:
        return True
    try:
        selector = selectors.from_label_selector(claim.spec.selector)
    except selectors.SelectorError:
        return False
    return selector.matches(volume.metadata.labels)


def _differs(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> bool:
    return bool(
        capacity_of(volume) < size_of(claim)
        or modes_differ(claim, volume)
        or not set(claim.spec.accessModes) <= set(volume.spec.accessModes)
        or (claim.spec.volumeAttributesClassName or "") != (volume.spec.volumeAttributesClassName or "")
    )


def modes_differ(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> bool:
    """Whether one is a file system and the other a block device."""
    return (claim.spec.volumeMode or "Filesystem") != (volume.spec.volumeMode or "Filesystem")


def mismatch(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> str:
    """Why a volume that the claim names cannot serve it, in Kubernetes' words; "" where it can."""
    if capacity_of(volume) < size_of(claim):
        return "requested PV is too small"
    if (class_of(claim) or "") != (class_of(volume) or ""):
        return "storageClassName does not match"
    if (claim.spec.volumeAttributesClassName or "") != (volume.spec.volumeAttributesClassName or ""):
        return "volumeAttributesClassName does not match"
    if modes_differ(claim, volume):
        return "incompatible volumeMode"
    if not set(claim.spec.accessModes) <= set(volume.spec.accessModes):
        return "incompatible accessMode"
    return ""


def reaches(volume: api.PersistentVolume, node: api.Node) -> bool:
    """Whether pods of the node can use the volume, by its node affinity."""
    affinity = volume.spec.nodeAffinity
    if affinity is None or affinity.required is None:
        return True
    name, labels = node.metadata.name or "", node.metadata.labels
    return any(term_matches(term)(name, labels) for term in affinity.required.nodeSelectorTerms)
