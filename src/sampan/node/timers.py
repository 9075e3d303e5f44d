"""Many timers on one clock, with one sleeping task for all of them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from sampan.base.clock import Clock


class Timer:
    """A call to come. `cancel` takes it back."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Calls plain functions when their time has come. Nothing runs while nothing is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Timer]] = []
        self._sleeper: asyncio.Task[None] | None = None
        self._awake_at_s = float("inf")

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once `delay_s` seconds have passed."""
        timer = Timer(call)
        due_s = self._clock.monotonic_s() + max(delay_s, 0.0)
        heapq.heappush(self._heap, (due_s, next(self._order), timer))
        if due_s < self._awake_at_s:
            self._sleep_until(due_s)
        return timer

    def at(self, moment: datetime, call: Callable[[], None]) -> Timer:
        """Call at that time of the clock, or soon if it is past."""
        return self.after((moment - self._clock.now()).total_seconds(), call)

    def close(self) -> None:
        """Forget every timer."""
        self._heap.clear()
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper = None
        self._awake_at_s = float("inf")

    def _sleep_until(self, due_s: float) -> None:
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._awake_at_s = due_s
        self._sleeper = asyncio.get_running_loop().create_task(self._sleep(due_s))

    async def _sleep(self, due_s: float) -> None:
        await self._clock.sleep(due_s - self._clock.monotonic_s())
        self._sleeper = None
        self._awake_at_s = float("inf")
        now_s = self._clock.monotonic_s()
        while self._heap and self._heap[0][0] <= now_s:
            _, _, timer = heapq.heappop(self._heap)
            if timer.call is not None:
                timer.call()
        self._drop_cancelled()
        if self._heap and self._heap[0][0] < self._awake_at_s:
            self._sleep_until(self._heap[0][0])

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
