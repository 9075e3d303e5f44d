"""Whether a cron schedule can be read: the checks of robfig/cron's ParseStandard, in its words.

When a schedule fires is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sampan.machinery import durations

_NO_NAMES: Final[Mapping[str, int]] = {}
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_WEEKDAYS: Final = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}
_DESCRIPTORS: Final = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)
_EVERY: Final = "@every "
_NUMBER: Final = re.compile(r"[+-]?[0-9]+")
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=(\S*)\s*(.*)", re.DOTALL)


class ScheduleError(ValueError):
    """A schedule that cannot be read."""


class _Bounds(NamedTuple):
    lowest: int
    highest: int
    names: Mapping[str, int] = _NO_NAMES


_FIELDS: Final = (
    _Bounds(0, 59),
    _Bounds(0, 23),
    _Bounds(1, 31),
    _Bounds(1, 12, _MONTHS),
    _Bounds(0, 6, _WEEKDAYS),
)


def check(text: str) -> None:
    """Raises ScheduleError where `text` is no schedule of five fields and no `@` macro."""
    zoned = _ZONE.fullmatch(text)
    if zoned is not None:
        check_zone(zoned[1])
        text = zoned[2]
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith("@"):
        _check_descriptor(text)
        return
    fields = text.split()
    if len(fields) != len(_FIELDS):
        shown = " ".join(fields)
        raise ScheduleError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{shown}]")
    for value, bounds in zip(fields, _FIELDS, strict=True):
        for part in value.split(","):
            if part:
                _check_range(part, bounds)


def check_zone(name: str) -> None:
    """Raises ScheduleError where the machine's time zone data has no such zone."""
    if name in ("", "UTC"):  # there without any data
        return
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ScheduleError(f"unknown time zone {name}") from None


def _check_descriptor(text: str) -> None:
    if text in _DESCRIPTORS:
        return
    if not text.startswith(_EVERY):
        raise ScheduleError(f"unrecognized descriptor: {text}")
    duration = text.removeprefix(_EVERY)
    try:
        durations.parse_ns(duration)
    except durations.DurationError as error:
        raise ScheduleError(f"failed to parse duration {text}: {error}") from None


def _check_range(text: str, bounds: _Bounds) -> None:
    parts = text.split("/")
    limits = parts[0].split("-")
    if limits[0] in ("*", "?"):
        start, end = bounds.lowest, bounds.highest
    else:
        start = _number(limits[0], bounds.names)
        if len(limits) > 2:
            raise ScheduleError(f"too many hyphens: {text}")
        end = _number(limits[1], bounds.names) if len(limits) == 2 else start
    step = 1
    if len(parts) == 2:
        step = _number(parts[1], _NO_NAMES)
        end = bounds.highest if len(limits) == 1 else end
    elif len(parts) > 2:
        raise ScheduleError(f"too many slashes: {text}")
    if start < bounds.lowest:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({bounds.lowest}): {text}")
    if end > bounds.highest:
        raise ScheduleError(f"end of range ({end}) above maximum ({bounds.highest}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")


def _number(text: str, names: Mapping[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not _NUMBER.fullmatch(text):
        raise ScheduleError(
            f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
        )
    if int(text) < 0:
        raise ScheduleError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)
