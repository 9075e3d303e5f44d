"""CEL's values as Python objects, with equality and order as CEL has them.

int, double, bool, string, bytes, null, list and map are Python's int, float, bool, str, bytes, None, list and
dict. What Python has no match for is here. All are immutable.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
UINT_MAX: Final = 2**64 - 1
NANOS: Final = 1_000_000_000
# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z in nanoseconds since 1970.
_TIMESTAMP_MIN: Final = -62135596800 * NANOS
_TIMESTAMP_MAX: Final = 253402300800 * NANOS - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class CelError(Exception):
    """An expression has no value; the text is what cel-go says."""


class CostExceeded(CelError):
    """An expression wanted more work than its limit."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Uint(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


class Timestamp:
    """A moment, in nanoseconds since 1970-01-01T00:00:00Z."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not _TIMESTAMP_MIN <= ns <= _TIMESTAMP_MAX:
            raise CelError("timestamp overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return type(other) is Timestamp and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("timestamp", self.ns))

    def __repr__(self) -> str:
        return f"Timestamp({self})"

    def __str__(self) -> str:
        moment, fraction = self.utc(), self.ns % NANOS
        text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"

    def utc(self) -> datetime:
        """The moment without what is smaller than a second."""
        return _EPOCH + timedelta(seconds=self.ns // NANOS)


class Duration:
    """A length of time in nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not INT_MIN <= ns <= INT_MAX:
            raise CelError("duration overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return type(other) is Duration and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("duration", self.ns))

    def __repr__(self) -> str:
        return f"Duration({self})"

    def __str__(self) -> str:
        sign, ns = ("-", -self.ns) if self.ns < 0 else ("", self.ns)
        seconds, fraction = divmod(ns, NANOS)
        return f"{sign}{seconds}" + (f".{fraction:09d}".rstrip("0") if fraction else "") + "s"


class Optional:
    """A value that may be absent."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool, value: Any = None) -> None:
        self.present = present
        self.value = value

    def __eq__(self, other: object) -> bool:
        if type(other) is not Optional or self.present != other.present:
            return False
        return not self.present or equal(self.value, other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


NONE: Final = Optional(False)


class TypeValue:
    """The type of a value, as `type(x)` gives it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is TypeValue and self.name == other.name

    def __hash__(self) -> int:
        return hash(("type", self.name))

    def __repr__(self) -> str:
        return self.name


class Opaque:
    """A value that a library of functions brings; `type_name` is what `type(x)` says."""

    __slots__ = ()
    type_name = ""


class Constructed(dict[str, Any]):
    """A map that an expression made as a named type: `Object.spec{replicas: 1}`."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.type_name = type_name


class Lazy:
    """Fields that are computed when an expression first asks for them: `variables.x`."""

    __slots__ = ()

    def has(self, name: str) -> bool:
        raise NotImplementedError

    def get(self, name: str) -> Any:
        """Raises CelError where there is none or it has no value."""
        raise NotImplementedError


_TYPE_NAMES: Final[dict[type, str]] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    dict: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    Optional: "optional_type",
    TypeValue: "type",
}
# What an expression may name as a type.
TYPES: Final[dict[str, TypeValue]] = {name: TypeValue(name) for name in _TYPE_NAMES.values()}


def type_name(value: Any) -> str:
    """What `type(value)` is called."""
    known = _TYPE_NAMES.get(type(value))
    if known is not None:
        return known
    name: str = getattr(value, "type_name", "") or "dyn"
    return name


def from_python(value: Any) -> Any:
    """A variable's value as CEL has it: tuples, datetimes and timedeltas are what Python calls them."""
    kind = type(value)
    if kind in _TYPE_NAMES:
        return value
    if kind is tuple:
        return list(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        delta = aware - _EPOCH
        return Timestamp((delta.days * 86400 + delta.seconds) * NANOS + delta.microseconds * 1000)
    if isinstance(value, timedelta):
        return Duration((value.days * 86400 + value.seconds) * NANOS + value.microseconds * 1000)
    return value


def to_json(value: Any) -> Any:
    """A value as JSON has it. Raises CelError where it has no such form."""
    kind = type(value)
    if kind is str or kind is bool or kind is int or kind is float or value is None:
        return value
    if kind is Uint:
        return int(value)
    if kind is list:
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {str(key): to_json(each) for key, each in value.items()}
    if kind is bytes:
        return base64.b64encode(value).decode()
    if kind is Timestamp or kind is Duration:
        return str(value)
    raise CelError(f"unsupported conversion from '{type_name(value)}' to JSON")


_NUMBERS: Final = frozenset({int, float, Uint})
_CONTAINERS: Final = frozenset({list, dict, Constructed, Optional})


def equal(a: Any, b: Any) -> bool:
    """CEL's `==`: numbers by value whatever their type, everything else only within its type."""
    kind, other = type(a), type(b)
    if kind is other and kind not in _CONTAINERS:
        return bool(a == b)
    if kind in _NUMBERS:
        return other in _NUMBERS and bool(a == b)
    if kind is list:
        return other is list and len(a) == len(b) and all(map(equal, a, b))
    if kind is dict or kind is Constructed:
        if other is not dict and other is not Constructed:
            return False
        return len(a) == len(b) and all(key in b and equal(value, b[key]) for key, value in a.items())
    return kind is Optional and other is Optional and bool(a == b)


def weight(value: Any, limit: int) -> int:
    """How much there is to look at in a value; at most a little over `limit`."""
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) // 10 + 1
    if kind is list or kind is dict or kind is Constructed:
        total = 1
        for each in value if kind is list else value.values():
            total += weight(each, limit - total)
            if total > limit:
                break
        return total
    return 1


def less(a: Any, b: Any) -> bool:
    """CEL's `<`. Raises CelError where the two have no order."""
    kind, other = type(a), type(b)
    if kind in _NUMBERS and other in _NUMBERS:
        return bool(a < b)
    if kind is other:
        if kind is str or kind is bytes or kind is bool:
            return bool(a < b)
        if kind is Timestamp or kind is Duration:
            return bool(a.ns < b.ns)
    raise CelError("no such overload")
