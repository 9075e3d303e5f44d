"""The downward API: which fields and resources of a pod its variables and files may show."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_KNOWN: Final = frozenset(
    {
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)
_RENAMED: Final = {"spec.host": "spec.nodeName"}
_SUBSCRIPT: Final = re.compile(r"(metadata\.(?:annotations|labels))\['(.+)'\]|(.+)\['(.*)'\]", re.DOTALL)
_RESOURCES: Final = frozenset(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES: Final = ("requests.hugepages-", "limits.hugepages-")
_CPU_DIVISORS: Final = frozenset({"1m", "1"})
_BYTE_DIVISORS: Final = ("1", *(f"1{unit}" for unit in ("k", *"MGTPE", *(f"{u}i" for u in "KMGTPE"))))
_KINDS: Final = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}


def validate_field_ref(reference: api.ObjectFieldSelector, allowed: Set[str], path: Path) -> list[FieldError]:
    """A `fieldRef` to one of the `allowed` fields, or to one label or annotation."""
    if not reference.apiVersion:
        return [field.required(path["apiVersion"])]
    label = reference.fieldPath
    if not label:
        return [field.required(path["fieldPath"])]
    if reference.apiVersion != "v1":
        detail = f"error converting fieldPath: unsupported pod version: {reference.apiVersion}"
        return [field.invalid(path["fieldPath"], label, detail)]
    match = _SUBSCRIPT.fullmatch(label)
    if match is None:
        label = _RENAMED.get(label, label)
        if label not in _KNOWN:
            detail = f"error converting fieldPath: field label not supported: {label}"
            return [field.invalid(path["fieldPath"], label, detail)]
        return [] if label in allowed else [field.not_supported(path["fieldPath"], label, allowed)]
    if match[1] is None:
        detail = f"error converting fieldPath: field label does not support subscript: {label}"
        return [field.invalid(path["fieldPath"], label, detail)]
    key = match[2].lower() if match[1] == "metadata.annotations" else match[2]
    return [field.invalid(path, key, message) for message in names.qualified_name(key)]


def validate_resource_ref(
    reference: api.ResourceFieldSelector, path: Path, *, container_required: bool
) -> list[FieldError]:
    """A `resourceFieldRef`; files must say whose resources they mean."""
    resource = reference.resource
    errors: list[FieldError] = []
    if container_required and not reference.containerName:
        errors.append(field.required(path["containerName"]))
    elif not resource:
        errors.append(field.required(path["resource"]))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        errors.append(field.not_supported(path["resource"], resource, _RESOURCES))
    divisor = reference.divisor
    if divisor is None or not divisor.value:
        return errors
    name = resource.partition(".")[2]
    if name == "cpu":
        if divisor.text not in _CPU_DIVISORS:
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(field.invalid(path["divisor"], resource, detail))
    elif divisor.text not in _BYTE_DIVISORS and (name in _KINDS or resource.startswith(_HUGE_PAGES)):
        listed = ", ".join(_BYTE_DIVISORS)
        detail = (
            f"only divisor's values {listed} are supported with the {_KINDS.get(name, 'hugepages')} resource"
        )
        errors.append(field.invalid(path["divisor"], resource, detail))
    return errors
