"""PersistentVolumeClaim: a wish for storage, and the volume that grants it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sampan.kinds.core.cells import UNSET
from sampan.kinds.core.claim_validation import (
    validate_claim,
    validate_claim_status_update,
    validate_claim_update,
)
from sampan.kinds.core.pod_defaults import round_to_milli
from sampan.kinds.core.volume_defaults import default_claim_spec
from sampan.kinds.core.warnings import claim_warnings
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import names
from sampan.schema import api

STORAGE_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"

_OLD_SOURCES: Final = frozenset(
    {("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")}
)
_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def default_claim(claim: api.PersistentVolumeClaim) -> None:
    """Fill in a claim."""
    claim.status.phase = claim.status.phase or "Pending"
    default_claim_spec(claim.spec)
    for amounts in (claim.spec.resources.requests, claim.spec.resources.limits, claim.status.capacity):
        round_to_milli(amounts)


def attributes_classes(claim: api.PersistentVolumeClaim) -> set[str]:
    """The VolumeAttributesClasses that the claim has, wants, or is on the way to."""
    changing = claim.status.modifyVolumeStatus
    names = (
        claim.spec.volumeAttributesClassName,
        claim.status.currentVolumeAttributesClassName,
        changing.targetVolumeAttributesClassName if changing is not None else None,
    )
    return {name for name in names if name}


def prepare_create(claim: api.PersistentVolumeClaim) -> None:
    """A new claim waits for a volume; `dataSource` and `dataSourceRef` say the same."""
    claim.status = api.PersistentVolumeClaimStatus(phase="Pending")
    drop_data_sources(claim.spec)
    normalize_data_sources(claim.spec)


def prepare_update(claim: api.PersistentVolumeClaim, old: api.PersistentVolumeClaim) -> None:
    """As on creation, so that clients that know only one of the two fields change nothing."""
    if old.spec.dataSource is None and old.spec.dataSourceRef is None:
        drop_data_sources(claim.spec)
    normalize_data_sources(claim.spec)


def drop_data_sources(spec: api.PersistentVolumeClaimSpec) -> None:
    """What may not be said: of `dataSource` all but claims and snapshots, and sources in other namespaces.

    The former is silently forgotten as ever, the latter as the gate of it is off.
    """
    if spec.dataSourceRef is not None and spec.dataSourceRef.namespace:
        spec.dataSourceRef = None
    source = spec.dataSource
    if source is not None and spec.dataSourceRef is None:
        kept = (source.apiGroup or "", source.kind) in _OLD_SOURCES
        spec.dataSource = source if kept else None


def normalize_data_sources(spec: api.PersistentVolumeClaimSpec) -> None:
    """Copy whichever of `dataSource` and `dataSourceRef` is set to the other."""
    source, reference = spec.dataSource, spec.dataSourceRef
    if source is not None and reference is None:
        spec.dataSourceRef = api.TypedObjectReference(
            apiGroup=source.apiGroup, kind=source.kind, name=source.name
        )
    elif reference is not None and source is None and not reference.namespace:
        spec.dataSource = api.TypedLocalObjectReference(
            apiGroup=reference.apiGroup, kind=reference.kind, name=reference.name
        )


def access_modes_text(modes: list[str]) -> str:
    """`RWO,ROX`: the short words, in a fixed order."""
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def storage_class_name(obj: Any) -> str:
    """The storage class of a claim or volume; the old annotation wins over the field."""
    named: str | None = obj.metadata.annotations.get(STORAGE_CLASS_ANNOTATION)
    return named if named is not None else obj.spec.storageClassName or ""


def phase_cell(obj: Any, _now: datetime) -> str:
    """The phase of a claim or volume."""
    return "Terminating" if obj.metadata.deletionTimestamp is not None else obj.status.phase or ""


def class_columns() -> tuple[Column, Column]:
    """The columns for both classes, of claims and volumes."""
    return (
        Column("StorageClass", lambda obj, _now: storage_class_name(obj), description="The storage class."),
        Column(
            "VolumeAttributesClass",
            lambda obj, _now: (
                UNSET if obj.spec.volumeAttributesClassName is None else obj.spec.volumeAttributesClassName
            ),
            description="The volume attributes class.",
        ),
    )


VOLUME_MODE: Final = Column(
    "VolumeMode",
    lambda obj, _now: obj.spec.volumeMode or UNSET,
    description="Filesystem or Block.",
    priority=1,
)


def _capacity(claim: api.PersistentVolumeClaim, _now: datetime) -> str:
    # Kubernetes shows nothing until a volume is bound, and the zero quantity where its size is not known.
    if not claim.spec.volumeName:
        return ""
    amount = claim.status.capacity.get("storage")
    return amount.text if amount is not None else "0"


def _modes(claim: api.PersistentVolumeClaim, _now: datetime) -> str:
    return access_modes_text(claim.status.accessModes) if claim.spec.volumeName else ""


KIND: Final = Kind(
    api_version="v1",
    kind="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    short=("pvc",),
    status=True,
    default=default_claim,
    warnings=claim_warnings,
    validate=validate_claim,
    validate_update=validate_claim_update,
    validate_status_update=validate_claim_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column("Status", phase_cell, description="Pending, Bound or Lost."),
        Column("Volume", lambda claim, _now: claim.spec.volumeName or "", description="The volume."),
        Column("Capacity", _capacity, description="The size of the volume."),
        Column("Access Modes", _modes, description="How the volume can be mounted."),
        *class_columns(),
        AGE,
        VOLUME_MODE,
    ),
)
