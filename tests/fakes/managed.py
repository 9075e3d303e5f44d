"""A `Manager` with some controllers over the fake server, for as long as a test needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sampan.base.clock import SimulatedClock
from sampan.client.client import Client
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.runtime.manager import Manager
from tests.fakes.apiserver import FakeServer
from tests.fakes.waiting import until


class Managed:
    def __init__(self, controllers: Sequence[Controller], server: FakeServer | None = None) -> None:
        self.clock = SimulatedClock()
        self.server = server or FakeServer(self.clock.now)
        self.client = Client(self.server)
        self.manager = Manager(self.client, self.clock, controllers)

    async def quiet(self) -> None:
        """Return once nothing has happened for many turns of the loop and no controller has work."""
        still, revision = 0, -1
        while still < 60:
            await asyncio.sleep(0)
            busy = not self.manager.idle or self.server.revision != revision
            still, revision = (0 if busy else still + 1), self.server.revision


@asynccontextmanager
async def managed(
    controllers: Sequence[Controller], server: FakeServer | None = None
) -> AsyncIterator[Managed]:
    running = Managed(controllers, server)
    task = asyncio.create_task(running.manager.run())
    try:
        await until(lambda: task.done() or _is_synced(running))
        await running.quiet()
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_synced(running: Managed) -> bool:
    informers = running.manager.informers
    everything = running.manager.everything
    return all(i.is_synced for i in informers._informers.values()) and (
        everything is None or bool(everything.resources)
    )
