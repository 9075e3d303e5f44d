"""What Kubernetes adds to CEL: lists, regular expressions, quantities, versions, names, JSON patches."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date
from functools import reduce
from itertools import pairwise
from typing import Any, Final

from sampan.machinery import names
from sampan.machinery.cel import operators
from sampan.machinery.cel.library import regex
from sampan.machinery.cel.library.standard import parse_timestamp
from sampan.machinery.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    CelError,
    Opaque,
    Optional,
    less,
)
from sampan.machinery.quantity import Quantity, quantity

# -- lists -----------------------------------------------------------------------------------------------


def _is_sorted(values: list[Any]) -> bool:
    return not any(less(b, a) for a, b in pairwise(values))


def _sum(values: list[Any]) -> Any:
    return reduce(operators.add, values) if values else 0


def _min(values: list[Any]) -> Any:
    if not values:
        raise CelError("min called on empty list")
    return reduce(lambda a, b: b if less(b, a) else a, values)


def _max(values: list[Any]) -> Any:
    if not values:
        raise CelError("max called on empty list")
    return reduce(lambda a, b: b if less(a, b) else a, values)


# -- quantities ------------------------------------------------------------------------------------------


class QuantityValue(Opaque):
    """A resource quantity."""

    __slots__ = ("amount",)
    type_name = "kubernetes.Quantity"

    def __init__(self, amount: Quantity) -> None:
        self.amount = amount

    def __eq__(self, other: object) -> bool:
        return type(other) is QuantityValue and self.amount == other.amount

    __hash__ = None  # type: ignore[assignment]


def _quantity(text: Any) -> QuantityValue:
    try:
        return QuantityValue(quantity(text))
    except ValueError:
        raise CelError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from None


def _is_quantity(text: Any) -> bool:
    try:
        quantity(text)
    except ValueError:
        return False
    return True


def _is_integer(value: QuantityValue) -> bool:
    amount = value.amount.value
    return amount == amount.to_integral_value() and INT_MIN <= amount <= INT_MAX


def _as_integer(value: QuantityValue) -> int:
    if not _is_integer(value):
        raise CelError("cannot convert value to integer")
    return int(value.amount.value)


def _moved(value: QuantityValue, other: Any, sign: int) -> QuantityValue:
    amount = other.amount if type(other) is QuantityValue else quantity(str(int(other)))
    return QuantityValue(Quantity(str(value.amount.value + sign * amount.value)))


# -- versions --------------------------------------------------------------------------------------------

_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_MAX_SEMVER_LENGTH: Final = 256


class Semver(Opaque):
    """A semantic version; builds do not count."""

    __slots__ = ("core", "pre")
    type_name = "kubernetes.Semver"

    def __init__(self, text: str, normalize: bool = False) -> None:
        match = _SEMVER.fullmatch(_normalized(text) if normalize else text) if len(text) <= 256 else None
        if match is None:
            raise CelError(f"failed to parse semver {text[:_MAX_SEMVER_LENGTH]!r}")
        major, minor, patch, pre, _ = match.groups()
        self.core = (int(major), int(minor), int(patch))
        self.pre = tuple(
            (0, int(part), "") if part.isdigit() else (1, 0, part) for part in (pre or "").split(".") if part
        )

    def order(self) -> tuple[Any, ...]:
        return (self.core, not self.pre, self.pre)

    def __eq__(self, other: object) -> bool:
        return type(other) is Semver and self.order() == other.order()

    __hash__ = None  # type: ignore[assignment]


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    core = re.split(r"[-+]", text, maxsplit=1)[0]
    parts = [part.lstrip("0") or "0" for part in core.split(".")]
    return ".".join(parts + ["0"] * (3 - len(parts))) + text[len(core) :]


def _is_semver(text: Any, normalize: bool = False) -> bool:
    try:
        Semver(text, normalize)
    except CelError:
        return False
    return True


def _ordered(a: Any, b: Any) -> tuple[Any, Any]:
    if type(a) is QuantityValue and type(b) is QuantityValue:
        return a.amount.value, b.amount.value
    if type(a) is Semver and type(b) is Semver:
        return a.order(), b.order()
    raise CelError("no such overload")


def _compare(a: Any, b: Any) -> int:
    first, second = _ordered(a, b)
    return 0 if first == second else -1 if first < second else 1


# -- names and other forms of text ------------------------------------------------------------------------


class Format(Opaque):
    """A named form of text."""

    __slots__ = ("errors", "name")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, errors: Callable[[str], list[str]]) -> None:
        self.name = name
        self.errors = errors


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(text[:-1] + "a" if text.endswith(("-", ".")) else text)


def _pattern(pattern: str, why: str) -> Callable[[str], list[str]]:
    compiled = re.compile(pattern)
    return lambda text: [] if compiled.fullmatch(text) else [why]


def _byte(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


def _date(text: str) -> list[str]:
    try:
        date.fromisoformat(text)
    except ValueError:
        return ["invalid date"]
    return [] if len(text) == 10 else ["invalid date"]


def _datetime(text: str) -> list[str]:
    try:
        parse_timestamp(text)
    except CelError:
        return ["invalid datetime"]
    return []


def _uri(text: str) -> list[str]:
    from sampan.machinery.cel.library.network import parse_url

    try:
        parse_url(text)
    except CelError as refused:
        return [str(refused).removeprefix("URL parse error during conversion from string: ")]
    return []


_UUID: Final = "(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
FORMATS: Final = {
    name: Format(name, check)
    for name, check in {
        "dns1123Label": names.dns1123_label,
        "dns1123Subdomain": names.dns1123_subdomain,
        "dns1035Label": names.dns1035_label,
        "qualifiedName": names.qualified_name,
        "dns1123LabelPrefix": _prefix(names.dns1123_label),
        "dns1123SubdomainPrefix": _prefix(names.dns1123_subdomain),
        "dns1035LabelPrefix": _prefix(names.dns1035_label),
        "labelValue": names.label_value,
        "uri": _uri,
        "uuid": _pattern(_UUID, "does not match the UUID format"),
        "byte": _byte,
        "date": _date,
        "datetime": _datetime,
    }.items()
}


def _validate(form: Any, text: Any) -> Optional:
    if type(form) is not Format or type(text) is not str:
        raise CelError("no such overload")
    errors = form.errors(text)
    return Optional(True, errors) if errors else NONE


def _named(name: str) -> Optional:
    return Optional(True, FORMATS[name]) if name in FORMATS else NONE


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "isSorted": _is_sorted,
    "sum": _sum,
    "min": _min,
    "max": _max,
    "find": regex.find,
    "findAll": regex.find_all,
    "quantity": _quantity,
    "isQuantity": _is_quantity,
    "isInteger": _is_integer,
    "asInteger": _as_integer,
    "asApproximateFloat": lambda value: float(value.amount.value),
    "sign": lambda value: (value.amount.value > 0) - (value.amount.value < 0),
    "add": lambda value, other: _moved(value, other, 1),
    "sub": lambda value, other: _moved(value, other, -1),
    "isLessThan": lambda a, b: _compare(a, b) < 0,
    "isGreaterThan": lambda a, b: _compare(a, b) > 0,
    "compareTo": _compare,
    "semver": Semver,
    "isSemver": _is_semver,
    "major": lambda version: version.core[0],
    "minor": lambda version: version.core[1],
    "patch": lambda version: version.core[2],
    "format.named": _named,
    "validate": _validate,
    "jsonpatch.escapeKey": lambda text: text.replace("~", "~0").replace("/", "~1"),
    **{f"format.{name}": _constant(form) for name, form in FORMATS.items()},
}
_NUMBERS = ("int", "uint", "double", "google.protobuf.Duration")
_ORDERED = (*_NUMBERS, "bool", "string", "bytes", "google.protobuf.Timestamp")
_Q = "kubernetes.Quantity"
_V = "kubernetes.Semver"
DECLARATIONS: Final = (
    *(f"list<{kind}>.sum() {kind}" for kind in _NUMBERS),
    *(f"list<{kind}>.{name}() {kind}" for name in ("min", "max") for kind in _ORDERED),
    *(f"list<{kind}>.isSorted() bool" for kind in _ORDERED),
    "list<T>.indexOf(T) int",
    "list<T>.lastIndexOf(T) int",
    "string.find(string) string",
    "string.findAll(string) list<string>",
    "string.findAll(string, int) list<string>",
    f"quantity(string) {_Q}",
    "isQuantity(string) bool",
    f"{_Q}.isInteger() bool",
    f"{_Q}.asInteger() int",
    f"{_Q}.asApproximateFloat() double",
    f"{_Q}.sign() int",
    *(f"{_Q}.{name}({kind}) {_Q}" for name in ("add", "sub") for kind in (_Q, "int")),
    *(f"{kind}.{name}({kind}) bool" for name in ("isLessThan", "isGreaterThan") for kind in (_Q, _V)),
    *(f"{kind}.compareTo({kind}) int" for kind in (_Q, _V)),
    f"semver(string) {_V}",
    f"semver(string, bool) {_V}",
    "isSemver(string) bool",
    "isSemver(string, bool) bool",
    *(f"{_V}.{name}() int" for name in ("major", "minor", "patch")),
    "format.named(string) optional_type<kubernetes.NamedFormat>",
    *(f"format.{name}() kubernetes.NamedFormat" for name in FORMATS),
    "kubernetes.NamedFormat.validate(string) optional_type<list<string>>",
    "jsonpatch.escapeKey(string) string",
)
