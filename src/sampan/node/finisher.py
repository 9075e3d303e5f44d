"""Lets go of the API objects of pods that have ended: those of one turn of the event loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.node.names import PodKey
from sampan.schema import api

# More than these go in several batches.
TOGETHER_MOST: Final = 256

_ONE_BY_ONE: Final = ConnectionError("the server has to be shown each deletion")
Told = Callable[[Exception | None], None]


class Finisher:
    """Deletes pods without grace, each only where it has the uid that is meant."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: list[tuple[PodKey, Told]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, key: PodKey, told: Told) -> None:
        """Delete the pod soon, and say then what went wrong, if anything.

        That is an ApiError (also where the pod is gone or is another one), ConnectionError or TimeoutError.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append((key, told))

    def close(self) -> None:
        """Drop what is under way."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        for first in range(0, len(batch), TOGETHER_MOST):
            task = asyncio.get_running_loop().create_task(self._carry(batch[first : first + TOGETHER_MOST]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, batch: Sequence[tuple[PodKey, Told]]) -> None:
        refusals: Sequence[Exception | None] | None
        try:
            wanted = [(key.name, key.namespace, key.uid) for key, _ in batch]
            refusals = await self._client.delete_each(api.Pod, wanted)
        except (ApiError, ConnectionError, TimeoutError) as error:
            refusals = [error] * len(batch)
        # None where the server has begun to want to see what is sent.
        for (_, told), refused in zip(batch, refusals or [_ONE_BY_ONE] * len(batch), strict=True):
            told(refused)
