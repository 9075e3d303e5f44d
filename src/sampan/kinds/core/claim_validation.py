"""What makes a PersistentVolumeClaim, or the template of one, valid, and what an update may change."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.kinds.core.differences import difference
from sampan.kinds.core.resources import NOT_POSITIVE, validate_amount
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_annotations, validate_label_selector, validate_labels
from sampan.machinery.quantity import Quantity
from sampan.schema import api

ACCESS_MODES: Final = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})
VOLUME_MODES: Final = frozenset({"Block", "Filesystem"})

_SPEC: Final = Path("spec")
_STORAGE_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
_ZERO: Final = Quantity("0")
_RESIZE_STATES: Final = frozenset(
    {
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizePending",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
    }
)
_TEMPLATE_META: Final = frozenset({"annotations", "labels"})


def validate_claim(claim: api.PersistentVolumeClaim) -> list[FieldError]:
    """Every error of a claim, beside its metadata."""
    return validate_claim_spec(claim.spec, _SPEC)


def validate_claim_template(template: api.PersistentVolumeClaimTemplate, path: Path) -> list[FieldError]:
    """The template of an ephemeral volume: of its metadata only labels and annotations count."""
    meta = template.metadata
    errors = validate_annotations(meta.annotations, path["metadata"]["annotations"])
    errors += validate_labels(meta.labels, path["metadata"]["labels"])
    for name in meta.__struct_fields__:
        if name not in _TEMPLATE_META and getattr(meta, name) not in (None, [], ""):
            errors.append(field.forbidden(path["metadata"][name], "cannot be set"))
    return errors + validate_claim_spec(template.spec, path["spec"])


def validate_access_modes(modes: list[str], path: Path) -> list[FieldError]:
    """Modes are known; ReadWriteOncePod stands alone."""
    errors = [field.not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and ACCESS_MODES & set(modes) != {"ReadWriteOncePod"}:
        errors.append(field.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return errors


def validate_claim_spec(spec: api.PersistentVolumeClaimSpec, path: Path) -> list[FieldError]:
    """Modes, size, classes and sources of a claim."""
    errors: list[FieldError] = []
    if not spec.accessModes:
        errors.append(field.required(path["accessModes"], "at least 1 access mode is required"))
    errors += validate_label_selector(spec.selector, path["selector"])
    errors += validate_access_modes(spec.accessModes, path["accessModes"])
    size, here = spec.resources.requests.get("storage"), path["resources"].key("storage")
    if size is None:
        errors.append(field.required(here))
    elif size.value <= 0:
        errors.append(field.invalid(here, size.text, NOT_POSITIVE))
    for name in ("storageClassName", "volumeAttributesClassName"):
        value = getattr(spec, name)
        if value:
            errors += [field.invalid(path[name], value, m) for m in names.dns1123_subdomain(value)]
    if spec.volumeMode is not None and spec.volumeMode not in VOLUME_MODES:
        errors.append(field.not_supported(path["volumeMode"], spec.volumeMode, VOLUME_MODES))
    return errors + _validate_sources(spec, path)


def _validate_sources(spec: api.PersistentVolumeClaimSpec, path: Path) -> list[FieldError]:
    source, reference = spec.dataSource, spec.dataSourceRef
    errors: list[FieldError] = []
    if source is not None:
        errors += _validate_source(source, path["dataSource"])
    if reference is None:
        return errors
    errors += _validate_source(reference, path["dataSourceRef"])
    if reference.namespace:
        here = path["dataSourceRef"]["namespace"]
        messages = names.dns1123_label(reference.namespace)
        errors += [field.invalid(here, reference.namespace, message) for message in messages]
        if source is not None:
            detail = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(field.invalid(path, str(path["dataSource"]), detail))
    elif source is not None and _names(source) != _names(reference):
        errors.append(field.invalid(path, str(path["dataSource"]), "must match dataSourceRef"))
    return errors


def _names(source: Any) -> tuple[str | None, str, str]:
    return (source.apiGroup, source.kind, source.name)


def _validate_source(source: Any, path: Path) -> list[FieldError]:
    errors = [field.required(path[name]) for name in ("name", "kind") if not getattr(source, name)]
    if not source.apiGroup:
        if source.kind != "PersistentVolumeClaim":
            detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            errors.append(field.invalid(path, source.kind, detail))
        return errors
    messages = names.dns1123_subdomain(source.apiGroup)
    return errors + [field.invalid(path["apiGroup"], source.apiGroup, message) for message in messages]


def validate_claim_update(
    claim: api.PersistentVolumeClaim, old: api.PersistentVolumeClaim
) -> list[FieldError]:
    """The spec stays, but the volume is named once, and a bound claim may grow and change its class."""
    errors = _validate_spec_change(claim, old)
    now = claim.spec.resources.requests.get("storage", _ZERO)
    was = old.spec.resources.requests.get("storage", _ZERO)
    path = _SPEC["resources"]["requests"]["storage"]
    # A claim that failed to grow may ask for less, though never for less than it has.
    if now < was and now <= old.status.capacity.get("storage", _ZERO):
        errors.append(field.forbidden(path, "field can not be less than status.capacity"))
    if claim.spec.volumeMode != old.spec.volumeMode:
        errors.append(field.invalid(Path("volumeMode"), claim.spec.volumeMode, "field is immutable"))
    if old.spec.volumeAttributesClassName is not None:
        path = _SPEC["volumeAttributesClassName"]
        if claim.spec.volumeAttributesClassName is None:
            errors.append(field.forbidden(path, "update from non-nil value to nil is forbidden"))
        elif not claim.spec.volumeAttributesClassName and old.spec.volumeAttributesClassName:
            errors.append(field.forbidden(path, "update from non-nil value to an empty string is forbidden"))
    return errors


def _validate_spec_change(
    claim: api.PersistentVolumeClaim, old: api.PersistentVolumeClaim
) -> list[FieldError]:
    new_spec = msgspec.structs.replace(claim.spec)
    errors: list[FieldError] = []
    annotation = old.metadata.annotations.get(_STORAGE_CLASS)
    if old.spec.storageClassName is None and new_spec.storageClassName is not None:
        # A class may be given once, to a claim that had none or named the same in the annotation.
        if annotation in (None, new_spec.storageClassName):
            new_spec.storageClassName = None
    elif claim.metadata.annotations.get(_STORAGE_CLASS) != annotation:
        path = Path("metadata.annotations")[_STORAGE_CLASS]
        now = claim.metadata.annotations.get(_STORAGE_CLASS, "")
        errors.append(field.invalid(path, now, "field is immutable"))
    if not old.spec.volumeName:
        new_spec.volumeName = old.spec.volumeName
    if claim.status.phase == "Bound":
        requests = dict(new_spec.resources.requests)
        if "storage" in old.spec.resources.requests:
            requests["storage"] = old.spec.resources.requests["storage"]
        new_spec.resources = msgspec.structs.replace(new_spec.resources, requests=requests)
        if new_spec.volumeAttributesClassName is not None:
            new_spec.volumeAttributesClassName = old.spec.volumeAttributesClassName
    changes = difference(old.spec, new_spec)
    if changes:
        detail = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
            f"for bound claims\n{changes}"
        )
        errors.append(field.forbidden(_SPEC, detail))
    return errors


def validate_claim_status_update(
    claim: api.PersistentVolumeClaim, _old: api.PersistentVolumeClaim
) -> list[FieldError]:
    """Sizes are valid, and the states of a resize known."""
    status = claim.status
    errors: list[FieldError] = []
    for name, amount in status.capacity.items():
        errors += _validate_size(amount, Path("status.capacity").key(name))
    for name, state in status.allocatedResourceStatuses.items():
        path = Path("status.allocatedResourceStatus")
        errors += _validate_resource(name, path)
        if state not in _RESIZE_STATES:
            errors.append(field.not_supported(path, name, _RESIZE_STATES))
    for name, amount in status.allocatedResources.items():
        path = Path("status.allocatedResources")
        errors += _validate_resource(name, path) or [
            *_validate_size(amount, path.key(name)),
            *validate_amount("storage", amount, path.key(name)),
        ]
    return errors


def _validate_size(amount: Quantity, path: Path) -> list[FieldError]:
    if amount.value >= 0:
        return []
    return [field.invalid(path, amount.whole(), "must be a valid resource quantity")]


def _validate_resource(name: str, path: Path) -> list[FieldError]:
    messages = names.qualified_name(name)
    if messages:
        return [field.invalid(path, name, message) for message in messages]
    native = "/" not in name or "kubernetes.io/" in name
    return [field.not_supported(path, name, ("storage",))] if native and name != "storage" else []
