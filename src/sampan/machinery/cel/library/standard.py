"""The functions of CEL's standard library: conversions, sizes, text, time, optionals, sets."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Final

from sampan.machinery import durations
from sampan.machinery.cel.library import regex
from sampan.machinery.cel.values import (
    INT_MAX,
    INT_MIN,
    NANOS,
    NONE,
    UINT_MAX,
    CelError,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    Uint,
    equal,
    type_name,
)

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))"
)
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)")
_INTEGER = re.compile(r"[+-]?\d+")
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def _conversion(value: Any, to: str) -> CelError:
    return CelError(f"type conversion error from '{type_name(value)}' to '{to}'")


def to_int(value: Any) -> int:
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is Uint or kind is float:
        number = int(value) if kind is Uint or abs(value) < 2.0**63 else None
        if number is None or not INT_MIN <= number <= INT_MAX:
            raise CelError("integer overflow")
        return number
    if kind is str and _INTEGER.fullmatch(value) and len(value) < 25 and INT_MIN <= int(value) <= INT_MAX:
        return int(value)
    if kind is Timestamp:
        return int(value.ns // NANOS)
    if kind is Duration:
        return int(value.ns)
    raise _conversion(value, "int")


def to_uint(value: Any) -> Uint:
    kind = type(value)
    if kind is int or kind is Uint or kind is float:
        if not 0 <= value < 2.0**64 or (kind is not float and value > UINT_MAX):
            raise CelError("unsigned integer overflow")
        return Uint(int(value))
    if kind is str and value.isdecimal() and value.isascii() and len(value) < 25 and int(value) <= UINT_MAX:
        return Uint(int(value))
    raise _conversion(value, "uint")


def to_double(value: Any) -> float:
    kind = type(value)
    if kind is float or kind is int or kind is Uint:
        return float(value)
    if kind is str:
        try:
            return float(value)
        except ValueError:
            pass
    raise _conversion(value, "double")


def to_string(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return double_text(value)
    if kind is bytes:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None
    text = getattr(value, "as_string", None)
    if kind is Timestamp or kind is Duration or text is not None:
        return str(text() if text is not None else value)
    raise _conversion(value, "string")


def double_text(value: float) -> str:
    """A double as Go's %g writes it."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    mantissa = mantissa.removesuffix(".0")
    if not e and abs(value) < 1e21:
        return mantissa
    return f"{mantissa}e{exponent[0]}{exponent[1:].rjust(2, '0')}" if e else mantissa


def to_bytes(value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    if type(value) is bytes:
        return value
    raise _conversion(value, "bytes")


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in _TRUE:
        return True
    if type(value) is str and value in _FALSE:
        return False
    raise _conversion(value, "bool")


def to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        try:
            return Duration(durations.parse_ns(value))
        except durations.DurationError:
            raise _conversion(value, "google.protobuf.Duration") from None
    if type(value) is int:
        return Duration(value)
    raise _conversion(value, "google.protobuf.Duration")


def to_timestamp(value: Any) -> Timestamp:
    if type(value) is Timestamp:
        return value
    if type(value) is int:
        return Timestamp(value * NANOS)
    if type(value) is str:
        return parse_timestamp(value)
    raise _conversion(value, "google.protobuf.Timestamp")


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises CelError."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise CelError(f'parsing time "{text[:100]}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    *numbers, fraction, sign, hours, minutes = match.groups()
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise CelError(f'parsing time "{text[:100]}": out of range') from None
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = delta.days * 86400 + delta.seconds
    if sign:
        seconds -= (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    return Timestamp(seconds * NANOS + int((fraction or "0").ljust(9, "0")))


def size(value: Any) -> int:
    if isinstance(value, (str, bytes, list, dict)):
        return len(value)
    raise CelError("no such overload")


# -- time ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    offset = _OFFSET.fullmatch(name)
    if offset:
        sign, hours, minutes = offset.groups()
        delta = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-delta if sign == "-" else delta)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name) if name != "UTC" else UTC
    except (ValueError, OSError, KeyError):
        raise CelError(f"unknown time zone {name}") from None


def _getter(
    of_moment: Callable[[datetime], int], of_duration: Callable[[int], int] | None = None
) -> Callable[..., int]:
    def get(value: Any, zone: str = "UTC") -> int:
        if type(value) is Timestamp:
            return of_moment(value.utc().astimezone(_zone(zone)))
        if type(value) is Duration and of_duration is not None:
            return of_duration(value.ns)
        raise CelError("no such overload")

    return get


def _milliseconds(value: Any, zone: str = "UTC") -> int:
    if type(value) is Timestamp:
        return int(value.ns % NANOS // 1_000_000)
    if type(value) is Duration:
        return _toward_zero(value.ns, 1_000_000)
    raise CelError("no such overload")


def _toward_zero(ns: int, unit: int) -> int:
    return ns // unit if ns >= 0 else -(-ns // unit)


# -- text ------------------------------------------------------------------------------------------------


def _texts(operation: Callable[[str, str], Any]) -> Callable[[Any, Any], Any]:
    def run(text: Any, other: Any) -> Any:
        if type(text) is not str or type(other) is not str:
            raise CelError("no such overload")
        return operation(text, other)

    return run


# -- optionals -------------------------------------------------------------------------------------------


def _non_zero(value: Any) -> Optional:
    empty = value is None or value is False
    if isinstance(value, (int, float, str, bytes, list, dict)) and not isinstance(value, bool):
        empty = not value
    return NONE if empty else Optional(True, value)


def _value(optional: Any) -> Any:
    if type(optional) is not Optional:
        raise CelError("no such overload")
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def _has_value(optional: Any) -> bool:
    if type(optional) is not Optional:
        raise CelError("no such overload")
    return optional.present


# -- sets ------------------------------------------------------------------------------------------------


def _set_contains(a: Any, b: Any) -> bool:
    return all(any(equal(x, y) for x in a) for y in b)


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "int": to_int,
    "uint": to_uint,
    "double": to_double,
    "string": to_string,
    "bytes": to_bytes,
    "bool": to_bool,
    "duration": to_duration,
    "timestamp": to_timestamp,
    "dyn": lambda value: value,
    "type": lambda value: TypeValue(type_name(value)),
    "size": size,
    "contains": _texts(lambda text, part: part in text),
    "startsWith": _texts(lambda text, part: text.startswith(part)),
    "endsWith": _texts(lambda text, part: text.endswith(part)),
    "matches": _texts(regex.matches),
    "getFullYear": _getter(lambda moment: moment.year),
    "getMonth": _getter(lambda moment: moment.month - 1),
    "getDayOfYear": _getter(lambda moment: moment.timetuple().tm_yday - 1),
    "getDate": _getter(lambda moment: moment.day),
    "getDayOfMonth": _getter(lambda moment: moment.day - 1),
    "getDayOfWeek": _getter(lambda moment: moment.isoweekday() % 7),
    "getHours": _getter(lambda moment: moment.hour, lambda ns: _toward_zero(ns, 3600 * NANOS)),
    "getMinutes": _getter(lambda moment: moment.minute, lambda ns: _toward_zero(ns, 60 * NANOS)),
    "getSeconds": _getter(lambda moment: moment.second, lambda ns: _toward_zero(ns, NANOS)),
    "getMilliseconds": _milliseconds,
    "optional.of": lambda value: Optional(True, value),
    "optional.ofNonZeroValue": _non_zero,
    "optional.none": lambda: NONE,
    "value": _value,
    "hasValue": _has_value,
    "sets.contains": _set_contains,
    "sets.equivalent": lambda a, b: _set_contains(a, b) and _set_contains(b, a),
    "sets.intersects": lambda a, b: any(any(equal(x, y) for x in a) for y in b),
}
