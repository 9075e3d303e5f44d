"""Formats and patterns of texts, and numbers as Go prints them."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

INTEGERS: Final[Mapping[str, tuple[int, int]]] = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
_PATTERNS: Final = 4096
# From this power of ten on, Go writes floats with an exponent.
_EXPONENT_FROM: Final = 21


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern is found in the text, in time that grows with the text alone.

    A pattern that cannot be compiled matches nothing.
    """
    compiled = _compiled(pattern)
    return not isinstance(compiled, str) and compiled.search(text) is not None


def pattern_error(pattern: str) -> str:
    """Why a pattern is none, as Go words it; "" where it is one."""
    compiled = _compiled(pattern)
    return compiled if isinstance(compiled, str) else ""


@lru_cache(maxsize=_PATTERNS)
def _compiled(pattern: str) -> Any:
    from sampan.machinery.cel import CelError  # late: it takes long, and many servers never need it
    from sampan.machinery.cel.library import regex

    try:
        return regex.compiled(pattern)
    except CelError as problem:
        return str(problem)


def is_format(name: str, text: str) -> bool:
    """Whether a text has the format; formats that nobody knows hold for all."""
    check = _FORMATS.get(name)
    if check is None:
        return True
    try:
        return check(text)
    except (ValueError, OverflowError):
        return False


def is_known_format(name: str) -> bool:
    return name in _FORMATS


def go_number(value: Any) -> str:
    """A float64 as `%v` prints it: 10, 0.5, 1e+06."""
    number = float(value)
    if number == 0:
        return "0"
    power = int(f"{number:.16e}".partition("e")[2])
    if -4 <= power < _EXPONENT_FROM:
        return (
            str(int(number)) if number.is_integer() else f"{number:.{max(0, _digits(number) - 1 - power)}f}"
        )
    return f"{_mantissa(number)}e{'+' if power >= 0 else '-'}{abs(power):02d}"


def _digits(number: float) -> int:
    return len(_mantissa(number).replace(".", "").lstrip("-"))


def _mantissa(number: float) -> str:
    for precision in range(17):
        text = f"{number:.{precision}e}"
        if float(text) == number:
            return text.partition("e")[0]
    return f"{number:.17e}".partition("e")[0]


def is_multiple(value: float, factor: float) -> bool:
    """Whether value is a whole multiple of factor, with the rounding of floats forgiven."""
    quotient = value / factor
    return abs(quotient - round(quotient)) < 1e-9 if abs(quotient) < 1e15 else True


# -- the formats -------------------------------------------------------------------------------------

_HOST: Final = re.compile(
    r"(?=.{1,255}\Z)[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?\Z"
)
_EMAIL: Final = re.compile(r"[^@\s<>()\[\],;:\"]+@[A-Za-z0-9.-]+\Z")
_MAC: Final = re.compile(
    r"([0-9A-Fa-f]{2}([:-]))([0-9A-Fa-f]{2}\2){4,6}[0-9A-Fa-f]{2}\Z|([0-9A-Fa-f]{4}\.){2,3}[0-9A-Fa-f]{4}\Z"
)
_UUID: Final = r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}\Z"
_DURATION: Final = re.compile(
    r"[-+]?(\d+\s*(ns|us|µs|μs|ms|s|m|h|d|w|nanos?|micros?|millis?|secs?|seconds?|mins?|minutes?|hours?|hrs?"
    r"|days?|weeks?|nanoseconds?|microseconds?|milliseconds?)\s*)+\Z"
)
_GO_DURATION: Final = re.compile(r"[-+]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+\Z")
_DATE_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})\Z"
)
_HEX_COLOR: Final = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z")
_RGB: Final = re.compile(
    r"rgb\(\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*(,\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*){2}\)\Z"
)
_SSN: Final = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}\Z")
_CARD: Final = re.compile(r"\d[\d -]{11,22}\d\Z")
_ISBN10: Final = re.compile(r"\d{9}[\dX]\Z")
_ISBN13: Final = re.compile(r"\d{13}\Z")


def _found(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None


def _uuid(version: str, variant: str = "[0-9a-f]") -> Callable[[str], bool]:
    return _found(re.compile(_UUID % (version, variant)))


def _is_date(text: str) -> bool:
    date.fromisoformat(text)
    return len(text) == 10


def _is_date_time(text: str) -> bool:
    match = _DATE_TIME.match(text)
    if match is None:
        return False
    datetime.fromisoformat(f"{match[1]}T{match[2]}")
    return True


def _is_byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True


def _is_uri(text: str) -> bool:
    # url.ParseRequestURI: absolute, or a path from the root.
    if text.startswith("/"):
        return True
    parts = urlsplit(text)
    return bool(parts.scheme) and not re.search(r"[\x00-\x20\x7f]", text)


def _is_ip(version: int) -> Callable[[str], bool]:
    return lambda text: ipaddress.ip_address(text).version == version and "%" not in text


def _is_cidr(text: str) -> bool:
    address, slash, bits = text.partition("/")
    ipaddress.ip_network(text, strict=False)
    return bool(slash) and bits.isdigit() and bool(address)


def _is_isbn(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if _ISBN10.match(digits):
        total = sum((10 - n) * (10 if c == "X" else int(c)) for n, c in enumerate(digits))
        return total % 11 == 0
    if _ISBN13.match(digits):
        return sum(int(c) * (1, 3)[n % 2] for n, c in enumerate(digits)) % 10 == 0
    return False


def _is_isbn_of(length: int) -> Callable[[str], bool]:
    return lambda text: len(text.replace("-", "").replace(" ", "")) == length and _is_isbn(text)


def _is_card(text: str) -> bool:
    if not _CARD.match(text):
        return False
    digits = [int(c) for c in reversed(text) if c.isdigit()]
    doubled = [d if n % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for n, d in enumerate(digits)]
    return sum(doubled) % 10 == 0


def _is_duration(text: str) -> bool:
    return _GO_DURATION.match(text) is not None or _DURATION.match(text) is not None


_FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _found(re.compile(r"[0-9a-fA-F]{24}\Z")),
    "uri": _is_uri,
    "email": _found(_EMAIL),
    "hostname": _found(_HOST),
    "ipv4": _is_ip(4),
    "ipv6": _is_ip(6),
    "cidr": _is_cidr,
    "mac": _found(_MAC),
    "uuid": _uuid("[0-9a-f]"),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": _is_isbn,
    "isbn10": _is_isbn_of(10),
    "isbn13": _is_isbn_of(13),
    "creditcard": _is_card,
    "ssn": _found(_SSN),
    "hexcolor": _found(_HEX_COLOR),
    "rgbcolor": _found(_RGB),
    "byte": _is_byte,
    "password": lambda _text: True,
    "date": _is_date,
    "duration": _is_duration,
    "date-time": _is_date_time,
    "datetime": _is_date_time,
}
