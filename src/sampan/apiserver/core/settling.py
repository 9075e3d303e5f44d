"""One name settled after the other: those of which something has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.apiserver.core.status import StatusError
from sampan.base.clock import Clock

RETRY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Settling:
    """Names that wait; one noted again meanwhile is settled again, and one refused comes last again.

    `what` is what names stand for, as the log says it.
    """

    def __init__(self, what: str, settle: Callable[[str], Awaitable[None]], clock: Clock) -> None:
        self._what = what
        self._settle = settle
        self._clock = clock
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

    def note(self, name: str) -> None:
        """Something about `name` has changed."""
        self._waiting[name] = None
        self._wake.set()

    async def run(self) -> None:
        """Settle what is noted, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                name = next(iter(self._waiting))
                del self._waiting[name]
                try:
                    await self._settle(name)
                except StatusError as refused:
                    _log.warning("the %s %s is not settled yet: %s", self._what, name, refused)
                    await self._clock.sleep(RETRY_S)
                    self.note(name)
