"""Small answers, written together.

Those of one turn of the event loop are mostly made together: their writes were one commit. To encrypt and
send each as soon as it is made takes half as long again as to do so for one after the other once all are
there: what encryption and the kernel need is still in the processor's caches then, and so is what the next
answer needs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

_log = logging.getLogger(__name__)


class Writes(Protocol):
    """Whoever has an answer to write."""

    def write(self, data: bytes) -> None: ...


class Outbox:
    """What is to be written in the next turn of the event loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Writes, bytes]] = []

    def add(self, whose: Writes, data: bytes) -> None:
        """Write `data` before anything that is begun later in this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append((whose, data))

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        for whose, data in waiting:
            try:
                whose.write(data)
            except Exception:  # one connection's trouble must not keep answers from all others
                _log.exception("an answer cannot be written")
