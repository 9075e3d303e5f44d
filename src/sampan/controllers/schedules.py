"""When a cron schedule fires: five fields, `@hourly` and its like, or `@every 90m`, in a time zone.

What robfig/cron reads, fires here; cronsim reckons. In a night that skips an hour a run that falls into the
gap comes right after it, as in Debian's cron.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from sampan.machinery import durations

# More missed runs than this are a reason to warn, and are not counted.
MISSED_MOST: Final = 100
_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONED: Final = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.*)", re.DOTALL)
_SECOND: Final = timedelta(seconds=1)


class ScheduleError(ValueError):
    """A schedule or time zone that cannot be read."""


class Schedule:
    """The moments at which a schedule fires, all in UTC."""

    def __init__(self, text: str, zone: str | None = None) -> None:
        """Raises ScheduleError for what is no schedule, or for a zone that this machine does not know."""
        self.text = text
        zoned = _ZONED.fullmatch(text)
        if zoned is not None:
            zone, text = zoned[1] or zone, zoned[2]
        self.zone = zone_of(zone)
        self._every = _every(text.removeprefix("@every ")) if text.startswith("@every ") else None
        self._fields = _MACROS.get(text, text).replace("?", "*")
        if self._every is None:
            self._simulate(datetime(2026, 1, 1, tzinfo=UTC))

    def after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`; None where there is none within 50 years."""
        if self._every is not None:
            return moment.replace(microsecond=0) + self._every
        return next(self._times(moment), None)

    def latest(self, earliest: datetime, now: datetime) -> datetime | None:
        """The last time after `earliest` and not after `now`."""
        if self._every is not None:
            count = (now - earliest) // self._every
            return earliest.replace(microsecond=0) + self._every * count if count > 0 else None
        last = next(self._times(now.replace(microsecond=0) + _SECOND, reverse=True), None)
        return last if last is not None and last > earliest else None

    def missed(self, earliest: datetime, now: datetime) -> int:
        """How many times there were after `earliest` and not after `now`, up to `MISSED_MOST` + 1."""
        if self._every is not None:
            return max(min((now - earliest) // self._every, MISSED_MOST + 1), 0)
        times = islice(self._times(earliest), MISSED_MOST + 1)
        return sum(1 for time in times if time <= now)

    def _times(self, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        for time in self._simulate(start, reverse=reverse):
            yield time.astimezone(UTC)

    def _simulate(self, start: datetime, *, reverse: bool = False) -> CronSim:
        try:
            return CronSim(self._fields, start.astimezone(self.zone), reverse=reverse)
        except CronSimError as error:
            raise ScheduleError(f"the schedule {self.text!r} cannot be read: {error}") from None


def zone_of(name: str | None) -> tzinfo:
    """The time zone of this name; UTC for none. Raises ScheduleError for one that is not known."""
    if name in (None, "", "UTC", "Etc/UTC"):
        return UTC
    assert name is not None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ScheduleError(f"unknown time zone {name}") from None


def _every(text: str) -> timedelta:
    """A Go duration, in whole seconds, at least one: cron.Every."""
    try:
        length_s = durations.parse_ns(text) // 1_000_000_000
    except durations.DurationError:
        raise ScheduleError(f"the schedule '@every {text}' cannot be read: {text!r} is no duration") from None
    return timedelta(seconds=max(length_s, 1))
