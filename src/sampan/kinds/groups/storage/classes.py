"""StorageClass and VolumeAttributesClass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

DEFAULT_ANNOTATION: Final = "storageclass.kubernetes.io/is-default-class"
_DEFAULT_ANNOTATIONS: Final = (DEFAULT_ANNOTATION, "storageclass.beta.kubernetes.io/is-default-class")
_OLDEST: Final = datetime.min.replace(tzinfo=UTC)
_RECLAIM_POLICIES: Final = ("Delete", "Retain")
_BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
_PARAMETERS_MAX: Final = 512
_PARAMETERS_MAX_BYTES: Final = 256 * 1024


def is_default(obj: Any) -> bool:
    """Whether claims without a class get this one."""
    return any(obj.metadata.annotations.get(key) == "true" for key in _DEFAULT_ANNOTATIONS)


def default_class(classes: Iterable[Any]) -> Any | None:
    """The default class: the youngest where there are several, then by name. None where there is none."""
    return youngest(filter(is_default, classes))


def youngest(objects: Iterable[Any]) -> Any | None:
    """The object created last, of those of one second the first by name. None of none."""
    found = list(objects)
    if not found:
        return None
    last = max(one.metadata.creationTimestamp or _OLDEST for one in found)
    same = [one for one in found if (one.metadata.creationTimestamp or _OLDEST) == last]
    return min(same, key=lambda one: one.metadata.name or "")


def default(obj: Any) -> None:
    """Volumes are deleted with their claim and bound at once where nothing is said."""
    obj.reclaimPolicy = "Delete" if obj.reclaimPolicy is None else obj.reclaimPolicy
    obj.volumeBindingMode = "Immediate" if obj.volumeBindingMode is None else obj.volumeBindingMode


def validate(obj: Any) -> list[FieldError]:
    """Every error of a StorageClass: ValidateStorageClass."""
    errors = _provisioner_errors(obj.provisioner, Path("provisioner"))
    errors += _parameters_errors(obj.parameters, Path("parameters"))
    errors += checks.one_of(obj.reclaimPolicy or None, _RECLAIM_POLICIES, Path("reclaimPolicy"))
    errors += checks.one_of(obj.volumeBindingMode, _BINDING_MODES, Path("volumeBindingMode"))
    return errors + _topologies_errors(obj.allowedTopologies, Path("allowedTopologies"))


def _provisioner_errors(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [field.required(path)]
    return checks.named(name, names.qualified_name(name.lower()), path)


def _parameters_errors(parameters: Mapping[str, str], path: Path) -> list[FieldError]:
    if len(parameters) > _PARAMETERS_MAX:
        return [FieldError(field.TOO_LONG, str(path), "", f"may not have more than {_PARAMETERS_MAX} items")]
    errors: list[FieldError] = []
    if "" in parameters:
        errors.append(field.invalid(path, "", "field can not be empty."))
    size_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items())
    if size_bytes > _PARAMETERS_MAX_BYTES:
        errors.append(field.too_long(path, _PARAMETERS_MAX_BYTES))
    return errors


def _topologies_errors(terms: Sequence[Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    # As kube-apiserver compares with as many empty terms as there are terms, too, none may be empty.
    seen: list[dict[str, set[str]]] = [{} for _ in terms]
    for position, term in enumerate(terms):
        found: dict[str, set[str]] = {}
        for index, expression in enumerate(term.matchLabelExpressions):
            at = path[position]["matchLabelExpressions"][index]
            if not expression.values:
                errors.append(field.required(at["values"]))
            for place, value in enumerate(expression.values):
                if value in expression.values[:place]:
                    errors.append(field.duplicate(at["values"][place], value))
            errors += checks.named(expression.key, names.qualified_name(expression.key), at["key"])
            if expression.key in found:
                errors.append(field.duplicate(at["key"], expression.key))
            found[expression.key] = set(expression.values)
        errors += [field.duplicate(path[position]["matchLabelExpressions"], "")] * seen.count(found)
        seen.append(found)
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Volumes that were made of a class would no longer match it."""
    return [
        error
        for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
        for error in checks.fixed(getattr(new, name), getattr(old, name), Path(name))
    ]


def validate_attributes(obj: Any) -> list[FieldError]:
    """Every error of a VolumeAttributesClass."""
    errors = _provisioner_errors(obj.driverName, Path("driverName"))
    if not obj.parameters:
        return [*errors, field.required(Path("parameters"), "must contain at least one key/value pair")]
    return errors + _parameters_errors(obj.parameters, Path("parameters"))


def validate_attributes_update(new: Any, old: Any) -> list[FieldError]:
    """A class means the same for life."""
    return [
        field.forbidden(Path(name), f"updates to {name} are forbidden.")
        for name in ("driverName", "parameters")
        if getattr(new, name) != getattr(old, name)
    ]


def _name(obj: Any) -> str:
    return f"{obj.metadata.name} (default)" if is_default(obj) else obj.metadata.name


STORAGE_CLASS: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="StorageClass",
    plural="storageclasses",
    short=("sc",),
    namespaced=CLUSTER,
    default=default,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        Column(NAME.name, lambda sc, _now: _name(sc), format="name", description=NAME.description),
        column("Provisioner", lambda sc: sc.provisioner),
        column("ReclaimPolicy", lambda sc: sc.reclaimPolicy or "Delete"),
        column("VolumeBindingMode", lambda sc: sc.volumeBindingMode or "Immediate"),
        column("AllowVolumeExpansion", lambda sc: bool(sc.allowVolumeExpansion)),
        AGE,
    ),
)
VOLUME_ATTRIBUTES_CLASS: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="VolumeAttributesClass",
    plural="volumeattributesclasses",
    change_first=True,
    short=("vac",),
    namespaced=CLUSTER,
    validate=validate_attributes,
    validate_update=validate_attributes_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, column("DriverName", lambda vac: vac.driverName), AGE),
)
