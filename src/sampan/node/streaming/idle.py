"""Connections on which nothing happens for hours are ended, as kubelet does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

from sampan.base.clock import Clock

IDLE_S: Final = 4 * 3600.0


class Activity:
    """When something last passed in either direction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s = clock.monotonic_s()

    def note(self) -> None:
        self._last_s = self._clock.monotonic_s()

    async def until_idle(self, limit_s: float = IDLE_S) -> None:
        """Return once nothing has passed for `limit_s` seconds."""
        while (left_s := self._last_s + limit_s - self._clock.monotonic_s()) > 0:
            await self._clock.sleep(left_s)


async def first_done(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one of them returns or fails; then cancel the others, and raise what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
