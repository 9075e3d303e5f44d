"""PersistentVolume: storage that outlives pods."""

from __future__ import annotations

import posixpath
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.kinds.core.claim_validation import VOLUME_MODES, validate_access_modes
from sampan.kinds.core.differences import difference
from sampan.kinds.core.persistentvolumeclaim import VOLUME_MODE, access_modes_text, class_columns, phase_cell
from sampan.kinds.core.pod_defaults import round_to_milli
from sampan.kinds.core.pod_warnings import REPLACED_LABELS
from sampan.kinds.core.resources import NOT_POSITIVE
from sampan.kinds.core.scheduling_validation import validate_node_selector
from sampan.kinds.core.volume_defaults import default_source
from sampan.kinds.core.volume_sources import (
    MORE_THAN_ONE,
    NO_SOURCE,
    SPELT,
    validate_driver_name,
    validate_source,
)
from sampan.kinds.core.warnings import volume_warnings
from sampan.kinds.gonames import shown
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api
from sampan.schema.semantic import same

_SPEC: Final = Path("spec")
_NOT_INLINE: Final = "may not be specified in the context of inline volumes"
_RECLAIM_POLICIES: Final = frozenset({"Delete", "Recycle", "Retain"})
_SOURCES: Final = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
_CSI_SECRETS: Final = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)
# A volume may move from the labels of old to those that replaced them.
_BETA_TO_GA: Final = {old: new for old, (_, new) in REPLACED_LABELS.items()}


def default_volume(volume: api.PersistentVolume) -> None:
    """Fill in a volume."""
    spec = volume.spec
    volume.status.phase = volume.status.phase or "Pending"
    spec.persistentVolumeReclaimPolicy = spec.persistentVolumeReclaimPolicy or "Retain"
    if spec.volumeMode is None:
        spec.volumeMode = "Filesystem"
    round_to_milli(spec.capacity)
    default_source(spec)


def prepare_create(volume: api.PersistentVolume) -> None:
    """A new volume is not yet available."""
    since = volume.metadata.creationTimestamp
    volume.status = api.PersistentVolumeStatus(phase="Pending", lastPhaseTransitionTime=since)


def validate_volume(volume: api.PersistentVolume) -> list[FieldError]:
    """Every error of a volume, beside its metadata."""
    return validate_volume_spec(volume.spec, _SPEC)


def validate_volume_spec(
    spec: api.PersistentVolumeSpec, here: Path, *, inline: bool = False
) -> list[FieldError]:
    """Every error of what a volume is; `inline` ones stand in a VolumeAttachment and have no claim."""
    errors: list[FieldError] = []
    if inline:
        errors += [
            field.forbidden(here[name], _NOT_INLINE)
            for name in ("claimRef", "capacity")
            if getattr(spec, name)
        ]
        if spec.csi is None:
            errors.append(field.required(here["csi"], "has to be specified in the context of inline volumes"))
    if not spec.accessModes:
        errors.append(field.required(here["accessModes"]))
    errors += validate_access_modes(spec.accessModes, here["accessModes"])
    errors += _validate_reclaiming(spec.persistentVolumeReclaimPolicy, here, inline) if inline else []
    if not inline:
        errors += _validate_capacity(spec, here["capacity"])
        errors += _validate_reclaiming(spec.persistentVolumeReclaimPolicy, here, inline)
    if spec.nodeAffinity is not None:
        path = here["nodeAffinity"]["required"]
        if inline:
            errors.append(field.forbidden(here["nodeAffinity"], _NOT_INLINE))
        if spec.nodeAffinity.required is None:
            errors.append(field.required(path, "must specify required node constraints"))
        else:
            errors += validate_node_selector(spec.nodeAffinity.required, path)
    errors += _validate_sources(spec, here)
    if spec.storageClassName:
        path = here["storageClassName"]
        if inline:
            errors.append(field.forbidden(path, _NOT_INLINE))
        else:
            messages = names.dns1123_subdomain(spec.storageClassName)
            errors += [field.invalid(path, spec.storageClassName, message) for message in messages]
    if inline:
        if spec.volumeMode not in (None, "Filesystem"):
            detail = "may not specify volumeMode other than Filesystem in the context of inline volumes"
            errors.append(field.forbidden(here["volumeMode"], detail))
    elif spec.volumeMode is not None and spec.volumeMode not in VOLUME_MODES:
        errors.append(field.not_supported(here["volumeMode"], spec.volumeMode, VOLUME_MODES))
    if spec.volumeAttributesClassName is not None and not inline:
        errors += _validate_attributes_class(spec, spec.volumeAttributesClassName, here)
    return errors


def _validate_reclaiming(policy: str | None, here: Path, inline: bool) -> list[FieldError]:
    path = here["persistentVolumeReclaimPolicy"]
    if not policy:
        return []
    if inline:
        detail = "may only be Retain in the context of inline volumes"
        return [] if policy == "Retain" else [field.forbidden(path, detail)]
    return [] if policy in _RECLAIM_POLICIES else [field.not_supported(path, policy, _RECLAIM_POLICIES)]


def _validate_capacity(spec: api.PersistentVolumeSpec, path: Path) -> list[FieldError]:
    errors = [] if spec.capacity else [field.required(path)]
    if spec.capacity.keys() != {"storage"}:
        shown = {name: amount.text for name, amount in spec.capacity.items()}
        errors.append(field.not_supported(path, dict(sorted(shown.items())) or None, ("storage",)))
    for name, amount in spec.capacity.items():
        if amount.value < 0:
            detail = "must be a valid resource quantity"
            errors.append(field.invalid(path.key(name), amount.whole(), detail))
        if amount.value <= 0:
            errors.append(field.invalid(path.key(name), amount.text, NOT_POSITIVE))
    return errors


def _validate_sources(spec: api.PersistentVolumeSpec, here: Path) -> list[FieldError]:
    given = [name for name in _SOURCES if getattr(spec, name) is not None]
    if not given:
        return [field.required(here, NO_SOURCE)]
    errors = validate_source(given[0], getattr(spec, given[0]), here)
    if spec.csi is not None and given[0] == "csi":
        errors += _validate_csi(spec.csi, here["csi"])
    for name in given[1:]:
        if name == "flexVolume":  # of which kube-apiserver does not ask whether it stands alone
            errors += validate_source(name, getattr(spec, name), here)
        else:
            errors.append(field.forbidden(here[SPELT.get(name, name)], MORE_THAN_ONE))
    if given[0] == "local" and spec.nodeAffinity is None:
        errors.append(field.required(here["nodeAffinity"], "Local volume requires node affinity"))
    host = spec.hostPath
    of_root = host is not None and host.path and posixpath.normpath(host.path) in ("/", "//")
    if of_root and spec.persistentVolumeReclaimPolicy == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(field.forbidden(here["persistentVolumeReclaimPolicy"], detail))
    return errors


def _validate_csi(source: api.CSIPersistentVolumeSource, path: Path) -> list[FieldError]:
    errors = validate_driver_name(source.driver, path["driver"])
    if not source.volumeHandle:
        errors.append(field.required(path["volumeHandle"]))
    for name in _CSI_SECRETS:
        reference = getattr(source, name)
        if reference is None:
            continue
        for part, check in (("name", names.dns1123_subdomain), ("namespace", names.dns1123_label)):
            here, value = path[name][part], getattr(reference, part)
            if not value:
                errors.append(field.required(here))
            else:
                errors += [field.invalid(here, value, message) for message in check(value)]
    return errors


def _validate_attributes_class(spec: api.PersistentVolumeSpec, name: str, here: Path) -> list[FieldError]:
    path = here["volumeAttributesClassName"]
    errors = [field.invalid(path, name, message) for message in names.dns1123_subdomain(name)]
    if not name:
        errors = [field.required(path, "an empty string is disallowed")]
    if spec.csi is None:
        detail = "has to be specified when using volumeAttributesClassName"
        errors.append(field.required(here["csi"], detail))
    return errors


def validate_volume_update(volume: api.PersistentVolume, old: api.PersistentVolume) -> list[FieldError]:
    """Where the storage is stays as it was."""
    errors: list[FieldError] = []
    new_source, old_source = _source(volume.spec, old.spec), _source(old.spec, old.spec)
    if not same(new_source, old_source):
        detail = (
            f"spec.persistentvolumesource is immutable after creation\n{difference(old_source, new_source)}"
        )
        errors.append(field.forbidden(_SPEC["persistentvolumesource"], detail))
    if volume.spec.volumeMode != old.spec.volumeMode:
        errors.append(field.invalid(Path("volumeMode"), volume.spec.volumeMode, "field is immutable"))
    affinity, before = volume.spec.nodeAffinity, old.spec.nodeAffinity
    if before is not None and not _same_affinity(affinity, before):
        detail = "field is immutable, except for updating from beta label to GA"
        errors.append(field.invalid(Path("nodeAffinity"), shown(affinity), detail))
    if old.spec.volumeAttributesClassName is not None and volume.spec.volumeAttributesClassName is None:
        detail = "update from non-nil value to nil is forbidden"
        errors.append(field.forbidden(_SPEC["volumeAttributesClassName"], detail))
    return errors


def _source(spec: api.PersistentVolumeSpec, old: api.PersistentVolumeSpec) -> dict[str, Any]:
    given = {name: getattr(spec, name) for name in _SOURCES if getattr(spec, name) is not None}
    if spec.csi is not None and old.csi is not None and old.csi.controllerExpandSecretRef is None:
        given["csi"] = msgspec.structs.replace(spec.csi, controllerExpandSecretRef=None)
    return given


def _same_affinity(new: api.VolumeNodeAffinity | None, old: api.VolumeNodeAffinity) -> bool:
    if new is None or new.required is None or old.required is None:
        return new == old
    return _terms(new.required, old.required) == old.required.nodeSelectorTerms


def _terms(new: api.NodeSelector, old: api.NodeSelector) -> list[api.NodeSelectorTerm]:
    """The new terms, with labels that only follow a renaming written as before."""
    terms: list[api.NodeSelectorTerm] = []
    for term, before in zip(new.nodeSelectorTerms, old.nodeSelectorTerms, strict=False):
        expressions = list(term.matchExpressions)
        for position, (now, was) in enumerate(zip(expressions, before.matchExpressions, strict=False)):
            if _BETA_TO_GA.get(was.key) == now.key:
                expressions[position] = msgspec.structs.replace(now, key=was.key)
        terms.append(msgspec.structs.replace(term, matchExpressions=expressions))
    return terms + new.nodeSelectorTerms[len(terms) :]


def _capacity(volume: api.PersistentVolume, _now: datetime) -> str:
    amount = volume.spec.capacity.get("storage")
    return amount.text if amount is not None else "0"


def _claim(volume: api.PersistentVolume, _now: datetime) -> str:
    claim = volume.spec.claimRef
    return f"{claim.namespace or ''}/{claim.name or ''}" if claim is not None else ""


KIND: Final = Kind(
    api_version="v1",
    kind="PersistentVolume",
    plural="persistentvolumes",
    short=("pv",),
    namespaced=CLUSTER,
    status=True,
    default=default_volume,
    warnings=volume_warnings,
    validate=validate_volume,
    validate_update=validate_volume_update,
    prepare_create=prepare_create,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column("Capacity", _capacity, description="The size of the volume."),
        Column(
            "Access Modes",
            lambda volume, _now: access_modes_text(volume.spec.accessModes),
            description="How the volume can be mounted.",
        ),
        Column(
            "Reclaim Policy",
            lambda volume, _now: volume.spec.persistentVolumeReclaimPolicy or "",
            description="What becomes of the volume when its claim goes.",
        ),
        Column("Status", phase_cell, description="Pending, Available, Bound, Released or Failed."),
        Column("Claim", _claim, description="Whom the volume is bound to."),
        *class_columns(),
        Column("Reason", lambda volume, _now: volume.status.reason or "", description="Why it failed."),
        AGE,
        VOLUME_MODE,
    ),
)
