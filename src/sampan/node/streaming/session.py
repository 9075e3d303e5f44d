"""Carries an exec or attach session over whatever connects it to the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, Protocol

import msgspec

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.node.runtimes.runtime import RuntimeFailure, Session
from sampan.node.streaming.channels import Size
from sampan.node.streaming.idle import Activity
from sampan.node.streaming.query import SessionQuery

# Input that waits for a process that does not read: messages, each at most MAX_MESSAGE_BYTES.
MAX_WAITING: Final = 16
MAX_MESSAGE_BYTES: Final = 1024 * 1024


class Input(msgspec.Struct, frozen=True):
    """Bytes for the standard input."""

    data: bytes


class InputEnd(msgspec.Struct, frozen=True):
    """The standard input has ended."""


class Wire(Protocol):
    """The client's side of a session."""

    def events(self) -> AsyncIterator[Input | InputEnd | Size]:
        """What the client sends, until it goes away."""
        ...

    async def send(self, stream: int, data: bytes) -> None:
        """Give the client output; returns when it may have more. Raises ConnectionError when it is gone."""
        ...

    async def end(self, exit_code: int) -> None: ...

    async def fail(self, message: str) -> None: ...


async def carry(wire: Wire, session: Session, asked: SessionQuery, clock: Clock) -> None:
    """Carry until the process ends, the client goes or nothing happens for hours. Closes the session."""
    activity = Activity(clock)
    try:
        await first_done(
            _outward(wire, session, asked, activity),
            _inward(wire, session, asked, activity),
            activity.until_idle(),
        )
    except ConnectionError:
        pass  # the client is gone, or the runtime's connection: there is nobody left to tell
    finally:
        await session.close()


async def _outward(wire: Wire, session: Session, asked: SessionQuery, activity: Activity) -> None:
    wanted = {1: asked.stdout, 2: asked.stderr}
    try:
        async for stream, data in session.output():
            activity.note()
            if data and wanted.get(stream):
                await wire.send(stream, data)
        code = await session.wait()
    except RuntimeFailure as problem:
        await wire.fail(str(problem))
    else:
        await wire.end(code)


async def _inward(wire: Wire, session: Session, asked: SessionQuery, activity: Activity) -> None:
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
    feeding = asyncio.ensure_future(_feed(waiting, session))
    try:
        async for event in wire.events():
            activity.note()
            if isinstance(event, Size):
                if asked.tty:
                    await session.resize(event.Width, event.Height)
            elif asked.stdin and not feeding.done():
                await waiting.put(event.data if isinstance(event, Input) else None)
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(waiting: asyncio.Queue[bytes | None], session: Session) -> None:
    open_ = True
    while (data := await waiting.get()) is not None:
        if not open_ or not data:
            continue
        try:
            await session.write(data)
        except (ConnectionError, RuntimeFailure):
            # The process reads no more. What comes is thrown away: its output and its end still matter.
            open_ = False
    with contextlib.suppress(ConnectionError, RuntimeFailure):
        await session.close_stdin()
    while True:
        await waiting.get()
