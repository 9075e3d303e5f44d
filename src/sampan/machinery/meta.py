"""Validation of metadata, common to all kinds: k8s.io/apimachinery/pkg/api/validation."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

TOTAL_ANNOTATIONS_MAX_BYTES: Final = 256 * 1024
FIELD_MANAGER_MAX_BYTES: Final = 128
SUBRESOURCE_MAX_BYTES: Final = 256
IMMUTABLE: Final = "field is immutable"
# Labels whose validity is remembered, and how long key and value together are at most where both are valid.
_REMEMBERED_LABELS: Final = 4096
_REMEMBERED_CHARACTERS: Final = 380

_ORPHAN: Final = "orphan"
_FOREGROUND: Final = "foregroundDeletion"
_STANDARD_FINALIZERS: Final = frozenset({"kubernetes", _ORPHAN, _FOREGROUND})
_METADATA: Final = Path("metadata")
_FIXED: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def validate_object_meta(
    meta: Any,
    namespaced: bool,
    name_errors: names.NameErrors | None,
    path: Path = _METADATA,
    *,
    qualified_finalizers: bool = False,
) -> list[FieldError]:
    """Every error of an ObjectMeta on creation, after the name was generated.

    `meta` is an ObjectMeta struct; `name_errors` is the kind's rule for names (None: a path segment).
    """
    check = name_errors or names.path_segment_name
    errors = _validate_names(meta, check, path)
    if namespaced:
        errors += _validate_namespace(meta.namespace or "", path["namespace"])
    elif meta.namespace:
        errors.append(field.forbidden(path["namespace"], "not allowed on this type"))
    if (meta.generation or 0) < 0:
        errors.append(
            field.invalid(path["generation"], meta.generation, "must be greater than or equal to 0")
        )
    errors += validate_labels(meta.labels, path["labels"])
    errors += validate_annotations(meta.annotations, path["annotations"])
    errors += validate_owner_references(meta.ownerReferences, path["ownerReferences"])
    if meta.finalizers:
        at = path["finalizers"]
        errors += validate_finalizers(meta.finalizers, at, qualified=qualified_finalizers)
    errors += validate_managed_fields(meta.managedFields, path["managedFields"])
    return errors


def validate_object_meta_update(
    new: Any,
    old: Any,
    path: Path = _METADATA,
    *,
    qualified_finalizers: bool = False,
    prefix_errors: names.NameErrors | None = None,
) -> list[FieldError]:
    """What an update may not do to an ObjectMeta; `new` must carry the resourceVersion it will replace.

    `prefix_errors` is the kind's rule for names, where its updates are asked for a valid generateName too.
    """
    errors: list[FieldError] = []
    # Looked at where it is new: pods have one each, and what was stored was valid.
    prefixed = bool(new.generateName) and new.generateName != old.generateName
    if prefixed:
        errors += _validate_prefix(new.generateName, names.path_segment_name, path["generateName"])
    errors += validate_labels(new.labels, path["labels"])
    errors += validate_annotations(new.annotations, path["annotations"])
    errors += validate_owner_references(new.ownerReferences, path["ownerReferences"])
    if new.finalizers:
        errors += validate_finalizers(new.finalizers, path["finalizers"])
    errors += validate_managed_fields(new.managedFields, path["managedFields"])
    if old.deletionTimestamp is not None:
        errors += _validate_no_new_finalizers(new.finalizers, old.finalizers, path["finalizers"])
    if not new.resourceVersion:
        errors.append(field.invalid(path["resourceVersion"], "", "must be specified for an update"))
    if (new.generation or 0) < (old.generation or 0):
        errors.append(field.invalid(path["generation"], new.generation or 0, "must not be decremented"))
    for name in _FIXED:
        value = getattr(new, name)
        if value != getattr(old, name):
            errors.append(field.invalid(path[name], _shown(value), IMMUTABLE))
    if prefixed and prefix_errors is not None:
        errors += _validate_prefix(new.generateName, prefix_errors, path["generateName"])
    if qualified_finalizers and new.finalizers:
        errors += _validate_qualified(new.finalizers, path["finalizers"])
    return errors


def _shown(value: Any) -> Any:
    # Times as JSON has them.
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value


def validate_labels(labels: Mapping[str, str], path: Path) -> list[FieldError]:
    """Keys are qualified names, values label values."""
    errors: list[FieldError] = []
    for key, value in labels.items():
        if len(key) + len(value) <= _REMEMBERED_CHARACTERS and _is_valid_label(key, value):
            continue
        errors += [field.invalid(path, key, message) for message in names.qualified_name(key)]
        errors += [field.invalid(path, value, message) for message in names.label_value(value)]
    return errors


@lru_cache(maxsize=_REMEMBERED_LABELS)
def _is_valid_label(key: str, value: str) -> bool:
    # The same few labels stand on most objects, and are looked at again at each update of one.
    return not names.qualified_name(key) and not names.label_value(value)


def validate_annotations(annotations: Mapping[str, str], path: Path) -> list[FieldError]:
    """Keys are qualified names in any case; all together hold at most 256 KiB."""
    errors: list[FieldError] = []
    size_bytes = 0
    for key, value in annotations.items():
        errors += [field.invalid(path, key, message) for message in names.qualified_name(key.lower())]
        size_bytes += len(key.encode()) + len(value.encode())
    if size_bytes > TOTAL_ANNOTATIONS_MAX_BYTES:
        errors.append(field.too_long(path, TOTAL_ANNOTATIONS_MAX_BYTES))
    return errors


def selector_shown(selector: Any) -> dict[str, Any]:
    """A label selector as messages show it."""
    shown: dict[str, Any] = {}
    if selector.matchLabels:
        shown["matchLabels"] = dict(sorted(selector.matchLabels.items()))
    if selector.matchExpressions:
        shown["matchExpressions"] = [
            {"key": each.key, "operator": each.operator} | ({"values": each.values} if each.values else {})
            for each in selector.matchExpressions
        ]
    return shown


def validate_owner_references(references: Sequence[Any], path: Path) -> list[FieldError]:
    """Each reference is whole, none is an Event, and one at most is the controller."""
    errors: list[FieldError] = []
    controller = ""
    for position, reference in enumerate(references):
        errors += _validate_owner_reference(reference, path[position])
        if not reference.controller:
            continue
        name = f"{reference.kind}/{reference.name}"
        if controller:
            errors.append(
                field.invalid(
                    path,
                    [_reference_shown(reference) for reference in references],
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {name}',
                )
            )
        else:
            controller = name
    return errors


def validate_finalizers(
    finalizers: Sequence[str], path: Path, *, qualified: bool = False
) -> list[FieldError]:
    """Finalizers are qualified names; `orphan` and `foregroundDeletion` exclude each other.

    `qualified` asks of all but Kubernetes' own that they name a domain.
    """
    errors = [
        field.invalid(path, finalizer, message)
        for finalizer in finalizers
        for message in names.qualified_name(finalizer)
    ]
    if qualified:
        errors += _validate_qualified(finalizers, path)
    if _ORPHAN in finalizers and _FOREGROUND in finalizers:
        detail = f"finalizer {_ORPHAN} and {_FOREGROUND} cannot be both set"
        errors.append(field.invalid(path, finalizers, detail))
    return errors


def _validate_qualified(finalizers: Sequence[str], path: Path) -> list[FieldError]:
    detail = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        field.invalid(path[position], finalizer, detail)
        for position, finalizer in enumerate(finalizers)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
    ]


def validate_managed_fields(entries: Sequence[Any], path: Path) -> list[FieldError]:
    """Entries name a manager, Apply or Update, and hold FieldsV1."""
    errors: list[FieldError] = []
    for position, entry in enumerate(entries):
        here = path.index(position)
        if entry.operation not in ("Apply", "Update"):
            errors.append(
                field.invalid(here["operation"], entry.operation or "", "must be `Apply` or `Update`")
            )
        if entry.fieldsType and entry.fieldsType != "FieldsV1":
            errors.append(field.invalid(here["fieldsType"], entry.fieldsType, "must be `FieldsV1`"))
        errors += validate_field_manager(entry.manager or "", here["manager"])
        if len((entry.subresource or "").encode()) > SUBRESOURCE_MAX_BYTES:
            errors.append(field.too_long(here["subresource"], SUBRESOURCE_MAX_BYTES))
    return errors


def drop_unreadable_managers(meta: Any) -> None:
    """Forget, in place, who manages a new object where the client's word on it cannot be read."""
    if any(entry.operation not in ("Apply", "Update") for entry in meta.managedFields):
        meta.managedFields = []


def validate_field_manager(manager: str, path: Path) -> list[FieldError]:
    """A manager's name has at most 128 bytes, all printable."""
    if len(manager) <= FIELD_MANAGER_MAX_BYTES and manager.isascii() and manager.isprintable():
        return []
    errors: list[FieldError] = []
    if len(manager.encode()) > FIELD_MANAGER_MAX_BYTES:
        errors.append(field.too_long(path, FIELD_MANAGER_MAX_BYTES))
    position_bytes = 0
    for char in manager:
        if not _is_go_printable(char):
            detail = f"invalid character U+{ord(char):04X} (at position {position_bytes})"
            errors.append(field.invalid(path, manager, detail))
        position_bytes += len(char.encode())
    return errors


def validate_label_selector(selector: Any, path: Path) -> list[FieldError]:
    """Every error of a LabelSelector struct; None is valid."""
    if selector is None:
        return []
    errors = validate_labels(selector.matchLabels, path["matchLabels"])
    for position, expression in enumerate(selector.matchExpressions):
        errors += _validate_label_requirement(expression, path["matchExpressions"].index(position))
    return errors


def _validate_label_requirement(expression: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if expression.operator in ("In", "NotIn"):
        if not expression.values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(field.required(path["values"], detail))
    elif expression.operator in ("Exists", "DoesNotExist"):
        if expression.values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(field.forbidden(path["values"], detail))
    else:
        errors.append(field.invalid(path["operator"], expression.operator, "not a valid selector operator"))
    errors += [field.invalid(path["key"], expression.key, m) for m in names.qualified_name(expression.key)]
    for position, value in enumerate(expression.values):
        messages = names.label_value(value)
        errors += [field.invalid(path["values"].index(position), value, message) for message in messages]
    return errors


def _validate_names(meta: Any, check: names.NameErrors, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if meta.generateName:
        errors += _validate_prefix(meta.generateName, check, path["generateName"])
    if not meta.name:
        errors.append(field.required(path["name"], "name or generateName is required"))
    else:
        errors += [field.invalid(path["name"], meta.name, message) for message in check(meta.name)]
    return errors


def _validate_prefix(prefix: str, check: names.NameErrors, path: Path) -> list[FieldError]:
    return [field.invalid(path, prefix, message) for message in check(names.mask_trailing_dash(prefix))]


def _validate_namespace(namespace: str, path: Path) -> list[FieldError]:
    if not namespace:
        return [field.required(path)]
    return [field.invalid(path, namespace, message) for message in names.dns1123_label(namespace)]


def _validate_owner_reference(reference: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if reference.apiVersion.count("/") > 1:
        detail = "must be <group>/<version> or <version>"
        errors.append(field.invalid(path["apiVersion"], reference.apiVersion, detail))
    for name in ("apiVersion", "kind", "name", "uid"):
        if not getattr(reference, name):
            errors.append(field.required(path[name], "must not be empty"))
    if reference.apiVersion == "v1" and reference.kind == "Event":
        detail = "/v1, Kind=Event is disallowed from being an owner"
        errors.append(field.invalid(path, _reference_shown(reference), detail))
    return errors


def _reference_shown(reference: Any) -> dict[str, Any]:
    # In the order of Go's fields.
    names_ = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
    shown = {name: getattr(reference, name) for name in names_}
    return {name: value for name, value in shown.items() if value is not None}


def _validate_no_new_finalizers(new: Sequence[str], old: Sequence[str], path: Path) -> list[FieldError]:
    extra = sorted(set(new) - set(old))
    if not extra:
        return []
    listed = ", ".join(f'"{finalizer}"' for finalizer in extra)
    detail = (
        "no new finalizers can be added if the object is being deleted, "
        f"found new finalizers []string{{{listed}}}"
    )
    return [field.forbidden(path, detail)]


def _is_go_printable(char: str) -> bool:
    # unicode.IsPrint: letters, marks, numbers, punctuation, symbols, and of all spaces only U+0020.
    return char == " " or unicodedata.category(char)[0] in "LMNPS"
