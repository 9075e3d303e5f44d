"""Go's notation of durations, `1h30m` or `-1.5s`: one reader, as strict as Go's `time.ParseDuration`."""

from __future__ import annotations

import re
from typing import Final

_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
# ASCII digits only, and whatever is neither digit nor point is taken for a unit.
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_MOST: Final = 2**63
_MOST_DIGITS: Final = len(str(_MOST))


class DurationError(ValueError):
    """What is no duration; the text is Go's."""


def parse_ns(text: str) -> int:
    """The nanoseconds of a duration. What is finer than a nanosecond is dropped.

    Raises DurationError for what Go refuses, among it what 64 bits do not hold.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    if not rest:
        raise _invalid(text)
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        assert part is not None  # every piece of it may be empty
        total, at = total + _part_ns(text, part), part.end()
        if total > _MOST:
            raise _invalid(text)
    if text.startswith("-"):
        return -total
    if total == _MOST:
        raise _invalid(text)
    return total


def parse_s(text: str) -> float:
    """The same in seconds."""
    return parse_ns(text) / 1e9


def _part_ns(text: str, part: re.Match[str]) -> int:
    whole, fraction, unit = part[1].lstrip("0"), part[2] or "", part[3]
    if not part[1] and not fraction:
        raise _invalid(text)
    if len(whole) > _MOST_DIGITS or int(whole or 0) > _MOST:
        raise _invalid(text)
    if not unit:
        raise DurationError(f"time: missing unit in duration {_quoted(text)}")
    unit_ns = _UNITS_NS.get(unit)
    if unit_ns is None:
        raise DurationError(f"time: unknown unit {_quoted(unit)} in duration {_quoted(text)}")
    if int(whole or 0) > _MOST // unit_ns:
        raise _invalid(text)
    return int(whole or 0) * unit_ns + _fraction_ns(fraction, unit_ns)


def _fraction_ns(digits: str, unit_ns: int) -> int:
    """Go's own arithmetic, to its last bit: digits that 64 bits cannot hold are left out."""
    value, scale = 0, 1.0
    for digit in digits:
        longer = value * 10 + int(digit)
        if value > (_MOST - 1) // 10 or longer > _MOST:
            break
        value, scale = longer, scale * 10
    return int(float(value) * (unit_ns / scale))


def _invalid(text: str) -> DurationError:
    return DurationError(f"time: invalid duration {_quoted(text)}")


def _quoted(text: str) -> str:
    """As Go quotes it: what is not printable ASCII byte by byte."""
    shown = "".join(
        f"\\{c}" if c in '"\\' else c if " " <= c < "\x80" else "".join(f"\\x{b:02x}" for b in c.encode())
        for c in text
    )
    return f'"{shown}"'
