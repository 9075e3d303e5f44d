"""What makes the environment of a container valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sampan.kinds.core.fields_of_pods import validate_field_ref, validate_resource_ref
from sampan.kinds.core.volume_sources import validate_not_reserved
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_FIELDS: Final = frozenset(
    {
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
_NO_SOURCE: Final = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
)
_SEVERAL: Final = "may not have more than one field specified at a time"


def validate_env(
    variables: Iterable[api.EnvVar], volumes: Mapping[str, api.Volume], path: Path
) -> list[FieldError]:
    """Names, and sources where the value is not written out."""
    errors: list[FieldError] = []
    for position, variable in enumerate(variables):
        if not variable.name:
            errors.append(field.required(path.index(position)["name"]))
        else:
            messages = names.env_var_name(variable.name)
            errors += [
                field.invalid(path.index(position)["name"], variable.name, message) for message in messages
            ]
        if variable.valueFrom is not None:
            here = path.index(position)["valueFrom"]
            errors += _validate_source(variable, variable.valueFrom, volumes, here)
    return errors


def _validate_source(
    variable: api.EnvVar, source: api.EnvVarSource, volumes: Mapping[str, api.Volume], path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    count = 0
    if source.fieldRef is not None:
        count += 1
        errors += validate_field_ref(source.fieldRef, _FIELDS, path["fieldRef"])
    if source.resourceFieldRef is not None:
        count += 1
        here = path["resourceFieldRef"]
        errors += validate_resource_ref(source.resourceFieldRef, here, container_required=False)
    for name, reference in (
        ("configMapKeyRef", source.configMapKeyRef),
        ("secretKeyRef", source.secretKeyRef),
    ):
        if reference is not None:
            count += 1
            errors += _validate_key(reference, path[name])
    if source.fileKeyRef is not None:
        count += 1
        errors += _validate_file_key(source.fileKeyRef, path["fileKeyRef"])
    if count == 0:
        errors.append(field.invalid(path, "", _NO_SOURCE))
    elif variable.value:
        errors.append(field.invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(field.invalid(path, "", _SEVERAL))
    if source.fileKeyRef is not None:
        errors += _validate_file_volume(source.fileKeyRef.volumeName, volumes, path["fileKeyRef"])
    return errors


def _validate_key(
    reference: api.ConfigMapKeySelector | api.SecretKeySelector, path: Path
) -> list[FieldError]:
    name, key = reference.name or "", reference.key
    errors = [field.invalid(path["name"], name, message) for message in names.dns1123_subdomain(name)]
    if not key:
        return [*errors, field.required(path["key"])]
    return errors + [field.invalid(path["key"], key, message) for message in names.config_map_key(key)]


def _validate_file_key(reference: api.FileKeySelector, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not reference.key:
        errors.append(field.required(path["key"]))
    else:
        messages = names.env_var_name(reference.key)
        errors += [field.invalid(path["key"], reference.key, message) for message in messages]
    if not reference.path:
        errors.append(field.required(path["path"]))
    else:
        errors += validate_not_reserved(reference.path, path["path"])
    if not reference.volumeName:
        errors.append(field.required(path["volumeName"]))
    return errors


def _validate_file_volume(name: str, volumes: Mapping[str, api.Volume], path: Path) -> list[FieldError]:
    # Found wrong after all else of the variable.
    if name not in volumes:
        return [field.not_found(path["volumeName"], name)]
    if volumes[name].emptyDir is None:
        detail = "referenced volume must be of type emptyDir"
        return [field.invalid(path["volumeName"], name, detail)]
    return []


def validate_env_from(sources: Iterable[api.EnvFromSource], path: Path) -> list[FieldError]:
    """Each takes its variables from one ConfigMap or one Secret."""
    errors: list[FieldError] = []
    for position, source in enumerate(sources):
        here = path.index(position)
        if source.prefix:
            messages = names.env_var_name(source.prefix)
            errors += [field.invalid(here["prefix"], source.prefix, message) for message in messages]
        given = [
            (name, reference)
            for name, reference in (("configMapRef", source.configMapRef), ("secretRef", source.secretRef))
            if reference is not None
        ]
        for name, reference in given:
            errors += _validate_object_name(reference.name or "", here[name]["name"])
        if not given:
            errors.append(field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            errors.append(field.invalid(path, "", _SEVERAL))
    return errors


def _validate_object_name(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [field.required(path)]
    return [field.invalid(path, name, message) for message in names.dns1123_subdomain(name)]
