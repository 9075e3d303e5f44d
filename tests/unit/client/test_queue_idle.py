"""A queue with a delayed key sleeps; it does not turn."""

from __future__ import annotations

import asyncio
import contextlib

from sampan.base.clock import SystemClock
from sampan.client.queue import WorkQueue


class CountingClock(SystemClock):
    def __init__(self) -> None:
        self.sleeps = 0

    async def sleep(self, delay_s: float) -> None:
        self.sleeps += 1
        await super().sleep(delay_s)


def test_an_earlier_key_does_not_make_the_timer_spin() -> None:
    async def run() -> int:
        clock = CountingClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        task = asyncio.create_task(queue.run())
        queue.add_after("late", 1000)
        await asyncio.sleep(0)
        for number in range(3):
            queue.add_after(f"earlier-{number}", 900 - number)
            for _ in range(20):
                await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return clock.sleeps

    assert asyncio.run(run()) <= 4
