"""Checks of single fields that many kinds share, worded as Kubernetes words them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any, Final

from sampan.kinds.gonames import shown
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema.semantic import changes, same

SPEC: Final = Path("spec")
STATUS: Final = Path("status")
METADATA: Final = Path("metadata")
NEGATIVE: Final = "must be greater than or equal to 0"
NOT_POSITIVE: Final = "must be greater than 0"
IMMUTABLE: Final = "field is immutable"
_PERCENT: Final = re.compile(r"([0-9]+)%")
_HTTP_PATH: Final = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_is_http_path: Final = re.compile(_HTTP_PATH).fullmatch


def non_negative(value: int | None, path: Path) -> list[FieldError]:
    """Absent, zero or more."""
    return [field.invalid(path, value, NEGATIVE)] if value is not None and value < 0 else []


def positive(value: int | None, path: Path) -> list[FieldError]:
    """Absent or more than zero."""
    return [field.invalid(path, value, NOT_POSITIVE)] if value is not None and value <= 0 else []


def non_negatives(obj: Any, path: Path, *fields: str) -> list[FieldError]:
    """`non_negative` for several fields of one struct."""
    return [error for name in fields for error in non_negative(getattr(obj, name), path[name])]


def immutable(new: Any, old: Any, path: Path) -> list[FieldError]:
    """What may not change once it was set."""
    return [] if same(new, old) else [field.invalid(path, new, IMMUTABLE)]


def immutable_printed(new: Any, old: Any, path: Path) -> list[FieldError]:
    """The same where the original prints a type that has no names in JSON."""
    return [] if same(new, old) else [field.invalid(path, shown(new), IMMUTABLE)]


def fixed(new: Any, old: Any, path: Path) -> list[FieldError]:
    """The same where Kubernetes generates the check, which does not show the value."""
    return [] if same(new, old) else [field.invalid(path, None, IMMUTABLE)]


def immutables(new: Any, old: Any, path: Path, *fields: str) -> list[FieldError]:
    """`immutable_printed` for several fields of one struct."""
    if new == old:
        return []
    changed = {name: shown(value) for name, _, value in changes(old, new)}
    # An empty list is most often one that is not there.
    told = {name: None if value == [] else value for name, value in changed.items()}
    return [field.invalid(path[name], told[name], IMMUTABLE) for name in fields if name in told]


def printed(value: Any, names_: Collection[str]) -> dict[str, Any]:
    """A struct of strings as messages show it where the original prints a type of its own.

    Such types have Go's names for their fields, and show all of them.
    """
    by_name = {name.lower(): getattr(value, name, None) for name in value.__struct_fields__}
    return {name: by_name[name.lower()] or "" for name in names_}


def one_of(value: str | None, supported: Collection[str], path: Path) -> list[FieldError]:
    """Absent or one of `supported`."""
    return [] if value is None or value in supported else [field.not_supported(path, value, supported)]


def required_one_of(value: str | None, supported: Collection[str], path: Path) -> list[FieldError]:
    """One of `supported`; it must be there."""
    return one_of(value, supported, path) if value else [field.required(path)]


def named(value: str, messages: Iterable[str], path: Path) -> list[FieldError]:
    """One error for each message that a function of machinery.names gave for `value`."""
    return [field.invalid(path, value, message) for message in messages]


def required_name(value: str | None, rule: names.NameErrors, path: Path) -> list[FieldError]:
    """A name that must be there and follow `rule`."""
    return named(value, rule(value), path) if value else [field.required(path)]


def amount(value: int | str | None) -> int:
    """The number of an int or of a percentage; 0 for what is neither."""
    if isinstance(value, str):
        form = _PERCENT.fullmatch(value)
        return int(form[1]) if form else 0
    return value or 0


def int_or_percent(value: int | str | None, path: Path) -> list[FieldError]:
    """Zero or more, or a percentage."""
    if isinstance(value, str):
        return named(value, names.percent(value), path)
    return non_negative(value, path)


def at_most_100_percent(value: int | str | None, path: Path) -> list[FieldError]:
    """Not a percentage above 100."""
    if isinstance(value, str) and amount(value) > 100:
        return [field.invalid(path, value, "must not be greater than 100%")]
    return []


def domain_prefixed_path(value: str, path: Path) -> list[FieldError]:
    """`acme.io/foo`: names of controllers that people outside Kubernetes write."""
    if not value:
        return [field.required(path)]
    host, _, rest = value.partition("/")
    if not host or not rest:
        return [field.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = named(host, names.dns1123_subdomain(host), path)
    if not _is_http_path(rest):
        errors.append(field.invalid(path, rest, names.regex_error("Invalid path", _HTTP_PATH)))
    return errors


def clear_status(obj: Any) -> None:
    """A `prepare_create`: what a client says of the status of something new is forgotten."""
    obj.status = type(obj.status)()
