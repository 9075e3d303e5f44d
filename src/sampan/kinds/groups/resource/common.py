"""What the kinds of this group check alike: names with a domain, opaque parameters, lists."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from sampan.kinds.groups import checks
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

ID_MAX_BYTES: Final = 32
# The longest key that a path shows whole: a driver's name, a slash, an identifier.
KEY_MAX_BYTES: Final = 63 + 1 + ID_MAX_BYTES
_DRIVER_MAX_CHARACTERS: Final = 63
_PARAMETERS_MAX_BYTES: Final = 10 * 1024
_NO_DOMAIN: Final = "a fully qualified name must be a domain and a name separated by a slash"

T = TypeVar("T")
Check = Callable[[T, Path], list[FieldError]]


def each(items: Sequence[T], most: int, check: Check[T], path: Path) -> list[FieldError]:
    """Every error of the items; of a list that is too long nothing but that."""
    if len(items) > most:
        return [field.too_many(path, len(items), most)]
    return [error for position, item in enumerate(items) for error in check(item, path[position])]


def duplicates(
    items: Sequence[T], key: Callable[[T], Hashable], path: Path, *, whole: bool = False
) -> list[FieldError]:
    """Items whose key was there before; the message shows the key, or the `whole` item."""
    seen: set[Hashable] = set()
    errors: list[FieldError] = []
    for position, item in enumerate(items):
        if (found := key(item)) in seen:
            errors.append(field.duplicate(path[position], item if whole else found))
        seen.add(found)
    return errors


def qualified_name_errors(name: str, path: Path) -> list[FieldError]:
    """`[domain/]name`; what has more slashes is let be, as kube-apiserver does."""
    domain, slash, rest = name.partition("/")
    if "/" in rest:
        return []
    if not slash:
        return _identifier_errors(name, path)
    errors = (
        driver_name_errors(domain, path)
        if domain
        else [field.invalid(path, "", "the domain must not be empty")]
    )
    if not rest:
        return [*errors, field.invalid(path, "", "the name must not be empty")]
    return errors + _identifier_errors(rest, path)


def fully_qualified_name_errors(name: str, path: Path) -> list[FieldError]:
    """`domain/name`."""
    errors = qualified_name_errors(name, path)
    return errors if "/" in name else [*errors, field.invalid(path, name, _NO_DOMAIN)]


def _identifier_errors(name: str, path: Path) -> list[FieldError]:
    errors = [field.too_long(path, ID_MAX_BYTES)] if len(name.encode()) > ID_MAX_BYTES else []
    return errors + checks.named(name, names.c_identifier(name), path)


def opaque_errors(opaque: Any, path: Path) -> tuple[list[FieldError], list[FieldError]]:
    """Every error of a driver's parameters: what is told in its place, and what is told at the end."""
    if opaque is None:
        return [field.required(path)], []
    driver = opaque.driver
    if not driver:
        late = [field.required(path["driver"])]
    else:
        late = checks.named(driver, names.dns1123_subdomain_caseless(driver), path["driver"])
        if len(driver) > _DRIVER_MAX_CHARACTERS:
            late.append(field.too_long(path["driver"], _DRIVER_MAX_CHARACTERS, "characters"))
    return _parameters_errors(opaque.parameters, path["parameters"]), late


def _parameters_errors(parameters: Any, path: Path) -> list[FieldError]:
    if parameters is None:
        return [field.required(path)]
    if len(msgspec.json.encode(parameters)) > _PARAMETERS_MAX_BYTES:
        return [field.too_long(path, _PARAMETERS_MAX_BYTES)]
    if not isinstance(parameters, dict):
        return [field.invalid(path, "<value omitted>", "must be a valid JSON object")]
    return []
