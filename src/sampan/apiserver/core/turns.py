"""Writers of one object take turns: racing each other through the store would only waste their work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """A queue for each key that somebody writes."""

    def __init__(self) -> None:
        # The last in each queue; its future is done when its turn is over.
        self._last: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        """How many keys have a queue now."""
        return len(self._last)

    @contextlib.asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[None]:
        """The span of one writer's turn."""
        before = self._last.get(key)
        mine = self._last[key] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                # Shielded: one that gives up waiting must not end the turn of the one before it.
                await asyncio.shield(before)
            yield
        finally:
            if before is None or before.done():
                self._pass_on(key, mine)
            else:  # a turn that never began ends when the one before it does
                before.add_done_callback(lambda _: self._pass_on(key, mine))

    def _pass_on(self, key: str, turn: asyncio.Future[None]) -> None:
        turn.set_result(None)
        if self._last.get(key) is turn:
            del self._last[key]
