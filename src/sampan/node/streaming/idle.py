"""Connections on which nothing happens for hours are ended, as kubelet does."""

from __future__ import annotations

from typing import Final

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
