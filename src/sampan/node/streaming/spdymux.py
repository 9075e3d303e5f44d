"""The streams of one SPDY connection, each to be read and written on its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sampan.node.streaming.idle import Activity
from sampan.node.streaming.spdy import (
    DataCame,
    PingCame,
    SpdyConnection,
    SpdyError,
    StreamOpened,
    StreamReset,
)

_Make = Callable[[SpdyConnection], bytes]

# What one stream may hold for a slow reader before the whole connection waits for it.
MAX_WAITING_BYTES: Final = 1024 * 1024
# Streams that were opened and that nobody has taken yet.
MAX_UNTAKEN: Final = 256


class ByteStream(Protocol):
    """A connection in both directions."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the peer is gone."""
        ...


class SpdyStream:
    """One stream that the peer opened."""

    def __init__(self, mux: SpdyMux, stream_id: int, headers: Mapping[str, str]) -> None:
        self.id = stream_id
        self.headers = headers
        self.was_reset = False
        self._mux = mux
        self._blocks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes; empty once the peer has ended or reset the stream, or is gone."""
        while not self._blocks:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        block = self._blocks.popleft()
        self._waiting_bytes -= len(block)
        self._taken.set()
        return block

    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError where the peer has reset the stream, ConnectionError where it is gone."""
        if self.was_reset:
            raise BrokenPipeError("the stream was reset by the client")
        await self._mux.send(lambda spdy: spdy.data(self.id, data))

    async def end(self) -> None:
        """Say that nothing more follows."""
        await self._mux.send(lambda spdy: spdy.data(self.id, b"", fin=True))

    async def reset(self) -> None:
        """End both directions at once."""
        self.finish()
        await self._mux.send(lambda spdy: spdy.reset(self.id))

    # -- for the mux

    async def feed(self, data: bytes) -> None:
        """Take bytes; waits while too many wait already."""
        while self._waiting_bytes > MAX_WAITING_BYTES and not self._ended:
            self._taken.clear()
            await self._taken.wait()
        if data and not self._ended:
            self._blocks.append(data)
            self._waiting_bytes += len(data)
            self._arrived.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._arrived.set()
        self._taken.set()


class SpdyMux:
    """Runs one connection; `accept` gives the streams that the peer opens."""

    def __init__(self, connection: ByteStream, activity: Activity) -> None:
        self._connection = connection
        self._activity = activity
        self._spdy = SpdyConnection()
        self._streams: dict[int, SpdyStream] = {}
        self._untaken: asyncio.Queue[SpdyStream] = asyncio.Queue(MAX_UNTAKEN)
        self._writing = asyncio.Lock()

    async def accept(self) -> SpdyStream:
        """The next stream that the peer opens."""
        return await self._untaken.get()

    async def run(self) -> None:
        """Read until the peer ends, or breaks the protocol; every stream ends with it."""
        try:
            while data := await self._connection.read():
                self._activity.note()
                events, answers = self._spdy.receive(data)
                if answers:
                    await self._write(answers)
                for event in events:
                    await self._handle(event)
        except (SpdyError, ConnectionError):
            return
        finally:
            for stream in self._streams.values():
                stream.finish()

    async def send(self, make: _Make) -> None:
        """Send what `make` makes; frames leave in the order in which they are made."""
        async with self._writing:
            frames = make(self._spdy)
            if frames:
                self._activity.note()
                await self._connection.write(frames)

    async def _write(self, frames: bytes) -> None:
        async with self._writing:
            await self._connection.write(frames)

    async def _handle(self, event: object) -> None:
        if isinstance(event, DataCame):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                await stream.feed(event.data)
                if event.fin:
                    stream.finish()
        elif isinstance(event, StreamOpened):
            stream = SpdyStream(self, event.stream_id, event.headers)
            self._streams[stream.id] = stream
            if event.fin:
                stream.finish()
            await self.send(lambda spdy: spdy.reply(stream.id))
            await self._untaken.put(stream)
        elif isinstance(event, StreamReset):
            reset = self._streams.pop(event.stream_id, None)
            if reset is not None:
                reset.was_reset = True
                reset.finish()
        elif isinstance(event, PingCame) and event.reply:
            await self._write(event.reply)

    def forget(self, stream: SpdyStream) -> None:
        """Drop a stream whose both directions have ended."""
        self._streams.pop(stream.id, None)
