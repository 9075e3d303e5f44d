"""Which container or sandbox has just exited: containerd's events, or a look every second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from sampan.base.clock import Clock
from sampan.node.runtimes.cri import messages
from sampan.node.runtimes.cri.client import EVENTS, NAMESPACE, RUNTIME, CriClient, NotFound
from sampan.node.runtimes.runtime import Listing, RuntimeFailure, State

POLL_INTERVAL_S = 1.0
RECONNECT_DELAY_S = 0.2
# containerd tells of an exit before its CRI part has noted it; it follows within milliseconds.
_NOTED_ATTEMPTS = 100
_NOTED_DELAY_S = 0.005
_CONTAINER_EXITED = 2
_SANDBOX_NOT_READY = 1
# Exits that wait for a slow reader; beyond it the oldest is dropped, as a list finds it anyway.
MAX_WAITING = 4096


async def from_containerd(client: CriClient, clock: Clock) -> AsyncIterator[str]:
    """Ids as they exit, each once CRI reports it; reconnects without end when containerd restarts."""
    waiting: asyncio.Queue[str] = asyncio.Queue()
    listener = asyncio.ensure_future(_listen(client, clock, waiting))
    try:
        while True:
            yield await waiting.get()
    finally:
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener


async def _listen(client: CriClient, clock: Clock, waiting: asyncio.Queue[str]) -> None:
    task_exit = messages.message("containerd.events.TaskExit")
    filters = [f'topic=="/tasks/exit",namespace=={NAMESPACE}']
    async with asyncio.TaskGroup() as noting:
        while True:
            with suppress(RuntimeFailure):
                async for envelope in client.stream(EVENTS, "Subscribe", filters=filters):
                    event = task_exit.FromString(envelope.event.value)
                    # An exec'd process exits under the container's id with an id of its own.
                    if event.id in ("", event.container_id):
                        noting.create_task(_tell(client, clock, event.container_id, waiting))
            await clock.sleep(RECONNECT_DELAY_S)


async def _tell(client: CriClient, clock: Clock, exited: str, waiting: asyncio.Queue[str]) -> None:
    for _ in range(_NOTED_ATTEMPTS):
        with suppress(RuntimeFailure):
            if await _is_noted(client, exited):
                break
        await clock.sleep(_NOTED_DELAY_S)
    if waiting.qsize() >= MAX_WAITING:
        waiting.get_nowait()
    waiting.put_nowait(exited)


async def _is_noted(client: CriClient, exited: str) -> bool:
    try:
        answer = await client.call(RUNTIME, "ContainerStatus", container_id=exited)
        return bool(answer.status.state == _CONTAINER_EXITED)
    except NotFound:
        pass
    try:
        sandbox = await client.call(RUNTIME, "PodSandboxStatus", pod_sandbox_id=exited)
        return bool(sandbox.status.state == _SANDBOX_NOT_READY)
    except NotFound:
        return True


async def from_polling(list_all: Callable[[], Awaitable[Listing]], clock: Clock) -> AsyncIterator[str]:
    """Ids that ran at one look and no more at the next."""
    running: set[str] = set()
    while True:
        with suppress(RuntimeFailure):
            listing = await list_all()
            now = {each.id for each in listing.containers if each.state is State.RUNNING}
            now |= {each.id for each in listing.sandboxes if each.ready}
            for exited in sorted(running - now):
                yield exited
            running = now
        await clock.sleep(POLL_INTERVAL_S)
