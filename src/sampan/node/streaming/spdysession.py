"""Exec and attach over SPDY: a stream for each of input, output, errors, terminal sizes and the outcome."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.node.runtimes.runtime import RuntimeFailure, Session
from sampan.node.streaming.channels import Protocol, Size, failure, outcome, terminal_size
from sampan.node.streaming.idle import Activity
from sampan.node.streaming.query import SessionQuery
from sampan.node.streaming.session import MAX_WAITING, Input, InputEnd, carry
from sampan.node.streaming.spdymux import ByteStream, SpdyMux, SpdyStream

SESSION_PROTOCOLS: Final = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_WITH_SIZES: Final = SESSION_PROTOCOLS[:2]
# How long a client may take to open the streams that it asked for, as kubelet has it.
CREATION_S: Final = 30.0
# How long a client may take to hang up once all is said.
_PARTING_S: Final = 2.0


class SpdyWire:
    """A SPDY connection as the client's side of a session."""

    def __init__(self, connection: ByteStream, version: str, clock: Clock) -> None:
        self._version = version
        self._protocol = Protocol(version, statuses=version == SESSION_PROTOCOLS[0])
        self._clock = clock
        self._mux = SpdyMux(connection, Activity(clock))
        self._streams: dict[str, SpdyStream] = {}

    async def run(self, begin: Callable[[], Awaitable[Session]], asked: SessionQuery) -> None:
        """Wait for the streams, start the session and carry it to its end."""
        await first_done(self._mux.run(), self._serve(begin, asked))

    async def _serve(self, begin: Callable[[], Awaitable[Session]], asked: SessionQuery) -> None:
        wanted = self._wanted(asked)
        await first_done(self._collect(wanted), self._clock.sleep(CREATION_S))
        if not wanted <= set(self._streams):
            return
        try:
            session = await begin()
        except RuntimeFailure as problem:
            await self.fail(str(problem))
        else:
            await carry(self, session, asked, self._clock)
        # The client hangs up; were we first, what is under way to it could be lost.
        await self._clock.sleep(_PARTING_S)

    def _wanted(self, asked: SessionQuery) -> set[str]:
        wanted = {"error"}
        flags = (("stdin", asked.stdin), ("stdout", asked.stdout), ("stderr", asked.stderr))
        wanted |= {name for name, flag in flags if flag}
        if asked.tty and self._version in _WITH_SIZES:
            wanted.add("resize")
        return wanted

    async def _collect(self, wanted: set[str]) -> None:
        while not wanted <= set(self._streams):
            stream = await self._mux.accept()
            kind = stream.headers.get("streamtype", "")
            if kind in self._streams or kind not in wanted:
                await stream.reset()
            else:
                self._streams[kind] = stream

    async def events(self) -> AsyncIterator[Input | InputEnd | Size]:
        """Input and sizes as they come. A client that goes away ends the connection, and `run` with it."""
        came: asyncio.Queue[Input | InputEnd | Size] = asyncio.Queue(MAX_WAITING)

        async def read_input(stream: SpdyStream) -> None:
            while data := await stream.read():
                await came.put(Input(data))
            await came.put(InputEnd())

        async def read_sizes(stream: SpdyStream) -> None:
            while data := await stream.read():
                # Each is a JSON object on its own line; the last one counts.
                size = terminal_size(data.strip().rpartition(b"\n")[2])
                if size is not None:
                    await came.put(size)

        readers = [
            asyncio.ensure_future(work(self._streams[name]))
            for name, work in (("stdin", read_input), ("resize", read_sizes))
            if name in self._streams
        ]
        try:
            while True:
                yield await came.get()
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def send(self, stream: int, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            await self._streams["stdout" if stream == 1 else "stderr"].write(data)

    async def end(self, exit_code: int) -> None:
        await self._last(outcome(self._protocol, exit_code))

    async def fail(self, message: str) -> None:
        await self._last(failure(self._protocol, message))

    async def _last(self, data: bytes | None) -> None:
        for name in ("stdout", "stderr"):
            if name in self._streams:
                await self._streams[name].end()
        if data:
            await self._streams["error"].write(data)
        await self._streams["error"].end()
