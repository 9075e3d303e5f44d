"""Time as a parameter.

Everything that asks what time it is, or waits, asks a `Clock`. `SystemClock` is the real one;
`SimulatedClock` stands still until somebody moves it, and then runs every sleeper in the order in which
it was due, so that a whole cluster can live a day in a second.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> datetime:
        """The wall-clock time, aware, in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return once `delay_s` seconds of this clock have passed."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)


class SimulatedClock:
    """A clock that moves only when `advance` is called, always from the event loop that sleeps on it.

    `advance` wakes sleepers one due time after the other and lets the loop settle in between, so that
    a sleeper that sleeps again within the advanced span is woken again at the right instant.
    """

    # How often the loop may turn at one instant before the next sleeper is woken: enough for a request
    # to travel through informer, queue, controller and store, and small enough to bound a busy loop.
    SETTLE_TURNS = 50

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + delay_s, next(self._order), woken))
        await woken

    def set_by(self, delta_s: float) -> None:
        """Set the wall clock, ahead or back, as NTP does with one that was wrong; sleepers sleep on."""
        self._start += timedelta(seconds=delta_s)

    async def advance(self, delay_s: float) -> None:
        """Move the clock by `delay_s` seconds, running whatever falls due on the way."""
        target_s = self._elapsed_s + delay_s
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            if woken.done():  # its task was cancelled
                continue
            self._elapsed_s = max(self._elapsed_s, due_s)
            woken.set_result(None)
            if not self._sleepers or self._sleepers[0][0] > due_s:
                await self._settle()
        self._elapsed_s = target_s
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(self.SETTLE_TURNS):
            await asyncio.sleep(0)


def kube_time(moment: datetime) -> datetime:
    """`moment` as metav1.Time holds it: whole seconds in UTC."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.replace(microsecond=0) if moment.microsecond else moment


def micro_time(moment: datetime) -> str:
    """`moment` as metav1.MicroTime is written: always six digits (client-go parses no other form)."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def parse_micro_time(text: str) -> datetime:
    """The moment that a MicroTime names. Raises ValueError where it is not RFC 3339."""
    return datetime.fromisoformat(text)
