"""Port forwarding: connections of a client to ports inside a pod's network.

Over SPDY (an upgrade of its own, or tunnelled through a websocket) every connection is a pair of streams, one
for its data and one for what goes wrong. Over plain websockets each port is one connection, on two channels.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec
from aiohttp import WSMsgType, web

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.node.streaming import channels
from sampan.node.streaming.idle import Activity
from sampan.node.streaming.session import MAX_WAITING
from sampan.node.streaming.spdymux import ByteStream, SpdyMux, SpdyStream

SPDY_PROTOCOL: Final = "portforward.k8s.io"
TUNNEL_PROTOCOL: Final = "SPDY/3.1+portforward.k8s.io"
# How long the second stream of a pair may be behind the first, as kubelet has it.
CREATION_S: Final = 30.0
# Connections at once in one session.
MAX_CONNECTIONS: Final = 512
# How long a client may still send to a pod that has said all it had to say.
_LINGER_S: Final = 1.0
_CHUNK_BYTES: Final = 32 * 1024

# A connected socket to a port of the pod: (fd, address family)
Connect = Callable[[int], Awaitable[tuple[int, int]]]


class WebSocketBytes:
    """A websocket whose binary messages are the parts of one stream of bytes."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                if message.data:
                    data: bytes = message.data
                    return data
            elif message.type in (
                WSMsgType.CLOSE,
                WSMsgType.CLOSING,
                WSMsgType.CLOSED,
                WSMsgType.ERROR,
            ):
                return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)


class ClientSide(Protocol):
    """The client's half of one forwarded connection."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None: ...


async def forward(connect: Connect, port: int, client: ClientSide, clock: Clock) -> None:
    """Join one connection to the pod. Raises ConnectionError, RuntimeFailure or OSError where that fails."""
    fd, family = await connect(port)
    reader, writer = await asyncio.open_connection(sock=_socket(fd, family))

    async def inward() -> None:
        while data := await client.read():
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def outward() -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await client.write(data)
        await client.end()

    sending = asyncio.ensure_future(inward())
    try:
        await outward()
        await first_done(_quietly(sending), clock.sleep(_LINGER_S))
    finally:
        writer.close()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _quietly(task: asyncio.Future[None]) -> None:
    await asyncio.wait({task})


def _socket(fd: int, family: int) -> sockets.socket:
    connection = sockets.socket(family, sockets.SOCK_STREAM, fileno=fd)
    connection.setblocking(False)
    return connection


# -- over SPDY


class _Pair(msgspec.Struct):
    """The streams of one connection, as they arrive."""

    data: SpdyStream | None = None
    error: SpdyStream | None = None


async def over_spdy(connection: ByteStream, connect: Connect, clock: Clock) -> None:
    """Forward whatever the client opens, until it goes away or nothing happens for hours."""
    activity = Activity(clock)
    mux = SpdyMux(connection, activity)
    forwarder = _SpdyForwarder(mux, connect, clock)
    try:
        await first_done(mux.run(), forwarder.run(), activity.until_idle())
    finally:
        await forwarder.close()


class _SpdyForwarder:
    def __init__(self, mux: SpdyMux, connect: Connect, clock: Clock) -> None:
        self._mux = mux
        self._connect = connect
        self._clock = clock
        self._pairs: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            stream = await self._mux.accept()
            request, kind = _request_of(stream), stream.headers.get("streamtype")
            pair = self._pairs.get(request)
            if pair is None:
                if len(self._tasks) >= MAX_CONNECTIONS:
                    await stream.reset()
                    continue
                pair = self._pairs[request] = _Pair()
                self._begin(self._expire(request, pair))
            if kind not in ("data", "error") or getattr(pair, kind) is not None:
                await stream.reset()
                continue
            setattr(pair, kind, stream)
            if pair.data is not None and pair.error is not None:
                del self._pairs[request]
                self._begin(self._serve(pair.data, pair.error))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _expire(self, request: str, pair: _Pair) -> None:
        await self._clock.sleep(CREATION_S)
        if self._pairs.get(request) is pair:
            del self._pairs[request]
            for stream in (pair.data, pair.error):
                if stream is not None:
                    await stream.reset()

    async def _serve(self, data: SpdyStream, error: SpdyStream) -> None:
        text = data.headers.get("port", "")
        try:
            await self._forward(text, data, error)
        except ConnectionError:
            pass  # the client is gone
        finally:
            self._mux.forget(data)
            self._mux.forget(error)

    async def _forward(self, text: str, data: SpdyStream, error: SpdyStream) -> None:
        try:
            await forward(self._connect, _port(text), data, self._clock)
        except (OSError, ValueError, RuntimeFailure) as problem:
            if not data.was_reset:
                await error.write(f"error forwarding port {text} to the pod: {problem}".encode())
                await data.end()
        await error.end()


def _request_of(stream: SpdyStream) -> str:
    """What joins two streams; old clients name no request and open the error stream just before the data."""
    request = stream.headers.get("requestid", "")
    if request:
        return request
    before = 2 if stream.headers.get("streamtype") == "data" else 0
    return f"stream {stream.id - before}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError(f'"{text}" is not a port')
    return int(text)


# -- over plain websockets


class _PortChannels:
    """One port's channels as the client's half of its connection."""

    def __init__(self, send: Callable[[int, bytes], Awaitable[None]], channel: int) -> None:
        self._send = send
        self._channel = channel
        self.came: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)

    async def read(self) -> bytes:
        return await self.came.get()

    async def write(self, data: bytes) -> None:
        await self._send(self._channel, data)

    async def end(self) -> None:
        """These channels have no end of their own: the websocket's is theirs."""

    async def fail(self, message: str) -> None:
        await self._send(self._channel + 1, message.encode())


async def over_channels(
    socket: web.WebSocketResponse,
    protocol: channels.Protocol,
    ports: Sequence[int],
    connect: Connect,
    clock: Clock,
) -> None:
    """One connection for each port, until all have ended, the client goes or nothing happens for hours."""
    activity = Activity(clock)

    async def send(channel: int, data: bytes) -> None:
        activity.note()
        message = channels.encode(protocol, channel, data)
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)

    halves = [_PortChannels(send, 2 * index) for index in range(len(ports))]
    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await send(channel, port.to_bytes(2, "little"))

    async def read() -> None:
        async for message in socket:
            activity.note()
            try:
                channel, data = channels.decode(protocol, message.data)
            except channels.BadMessage:
                return
            if data and channel % 2 == 0 and channel // 2 < len(halves):
                await halves[channel // 2].came.put(data)

    async def serve(port: int, half: _PortChannels) -> None:
        try:
            await forward(connect, port, half, clock)
        except (OSError, RuntimeFailure) as problem:
            await half.fail(f"error forwarding port {port} to the pod: {problem}")

    async def serve_all() -> None:
        await asyncio.gather(*(serve(port, half) for port, half in zip(ports, halves, strict=True)))

    with contextlib.suppress(ConnectionError):
        await first_done(read(), serve_all(), activity.until_idle())
