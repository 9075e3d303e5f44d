"""What a device of a ResourceSlice may say of itself: its attributes and capacity."""

from __future__ import annotations

import re
from typing import Any, Final

from sampan.kinds.groups.resource.capacity import capacity_errors
from sampan.kinds.groups.resource.common import KEY_MAX_BYTES, qualified_name_errors
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

_BOTH_MAX: Final = 32
_VALUE_MAX_BYTES: Final = 64
_NUMBER: Final = r"(0|[1-9]\d*)"
_PRE: Final = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_BUILD: Final = "[0-9a-zA-Z-]+"
_is_version: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII
).fullmatch
# In the order in which messages name them.
_KINDS: Final = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")
_ALL_KINDS: Final = ", ".join(f"`{kind}`" for kind in _KINDS)


def data_errors(device: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    """Every error of attributes and capacity; what kube-apiserver tells last is added to `late`."""
    errors: list[FieldError] = []
    count = len(device.attributes) + len(device.capacity)
    if count > _BOTH_MAX:
        detail = f"the total number of attributes and capacities must not exceed {_BOTH_MAX}"
        errors.append(field.invalid(path, count, detail))
    for name, attribute in device.attributes.items():
        at = path["attributes"]
        errors += qualified_name_errors(name, at)
        errors += _attribute_errors(attribute, at.key(_shortened(name)))
        late += _kind_errors(attribute, at.key(name))
    shared = bool(device.allowMultipleAllocations)
    for name, capacity in device.capacity.items():
        at = path["capacity"]
        errors += qualified_name_errors(name, at)
        errors += capacity_errors(capacity, at.key(_shortened(name)), shared=shared)
    return errors


def _attribute_errors(attribute: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if attribute.string is not None and len(attribute.string.encode()) > _VALUE_MAX_BYTES:
        errors.append(field.too_long(path["string"], _VALUE_MAX_BYTES))
    if (version := attribute.version) is not None:
        at = path["version"]
        if not _is_version(version):
            detail = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(field.invalid(at, version, detail))
        if len(version.encode()) > _VALUE_MAX_BYTES:
            errors.append(field.too_long(at, _VALUE_MAX_BYTES))
    return errors


def _kind_errors(attribute: Any, path: Path) -> list[FieldError]:
    given = [kind for kind in _KINDS if getattr(attribute, kind) not in (None, [])]
    if len(given) == 1:
        return []
    if not given:
        return [field.invalid(path, "", f"must specify one of: {_ALL_KINDS}")]
    shown = ", ".join(given)
    return [field.invalid(path, f"{{{shown}}}", f"must specify exactly one of: {_ALL_KINDS}")]


def _shortened(key: str) -> str:
    if len(key) <= KEY_MAX_BYTES:
        return key
    rest = KEY_MAX_BYTES - len("...")
    return f"{key[: (rest + 1) // 2]}...{key[-(rest // 2) :]}"
