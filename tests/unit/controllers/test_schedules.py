from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sampan.controllers.schedules import MISSED_MOST, Schedule, ScheduleError


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "start", "wanted"),
    [
        ("*/5 * * * *", None, "2026-01-01 00:00:00", "2026-01-01 00:05:00"),
        ("0 9 * * mon-fri", None, "2026-01-02 09:00:00", "2026-01-05 09:00:00"),
        ("0 0 1 * *", None, "2026-01-01 00:00:00", "2026-02-01 00:00:00"),
        ("0 0 ? * 0", None, "2026-01-01 00:00:00", "2026-01-04 00:00:00"),
        ("@hourly", None, "2026-01-01 00:30:00", "2026-01-01 01:00:00"),
        ("@every 1h30m", None, "2026-01-01 00:00:10", "2026-01-01 01:30:10"),
        ("0 9 * * *", "America/New_York", "2026-01-01 00:00:00", "2026-01-01 14:00:00"),
        ("0 9 * * *", "America/New_York", "2026-07-01 00:00:00", "2026-07-01 13:00:00"),
        ("TZ=Asia/Tokyo 0 9 * * *", None, "2026-01-01 00:00:00", "2026-01-02 00:00:00"),
        # the hour that a night skips, and the one that it has twice
        ("30 2 * * *", "Europe/Berlin", "2026-03-29 00:00:00", "2026-03-29 01:00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25 00:31:00", "2026-10-26 01:30:00"),
    ],
)
def test_when_a_schedule_fires(text: str, zone: str | None, start: str, wanted: str) -> None:
    assert Schedule(text, zone).after(at(start)) == at(wanted)


@pytest.mark.parametrize("text", ["*/5 * * * *", "@every 5m"])
def test_the_last_time_and_how_many_were_missed(text: str) -> None:
    schedule, start = Schedule(text), at("2026-01-01 00:00:00")
    assert schedule.latest(start, start + timedelta(seconds=299)) is None
    assert schedule.latest(start, start + timedelta(seconds=300)) == start + timedelta(seconds=300)
    assert schedule.latest(start, start + timedelta(seconds=1000)) == start + timedelta(seconds=900)
    assert schedule.missed(start, start + timedelta(seconds=1000)) == 3
    assert schedule.missed(start, start + timedelta(days=300)) == MISSED_MOST + 1


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "@every soon", "@never", "@every "])
def test_what_is_no_schedule_says_so(text: str) -> None:
    with pytest.raises(ScheduleError, match="cannot be read"):
        Schedule(text)


def test_an_unknown_zone_says_so() -> None:
    with pytest.raises(ScheduleError, match="unknown time zone Mars/Base"):
        Schedule("* * * * *", "Mars/Base")


def test_a_day_that_never_comes() -> None:
    assert Schedule("0 0 31 2,4 1").after(at("2026-01-01 00:00:00")) is not None
    with pytest.raises(ScheduleError):
        Schedule("0 0 31 2 *")
