"""Exec and attach over a websocket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiohttp import WSMsgType, web

from sampan.node.streaming.channels import (
    BadMessage,
    Channel,
    Protocol,
    Size,
    decode,
    encode,
    failure,
    outcome,
    terminal_size,
)
from sampan.node.streaming.session import MAX_MESSAGE_BYTES, Input, InputEnd


class WebSocketWire:
    """A prepared websocket as the client's side of a session."""

    def __init__(self, socket: web.WebSocketResponse, protocol: Protocol) -> None:
        self._socket = socket
        self._protocol = protocol

    async def events(self) -> AsyncIterator[Input | InputEnd | Size]:
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            try:
                channel, data = decode(self._protocol, message.data)
            except BadMessage as problem:
                await self._socket.close(code=1003, message=str(problem).encode()[:120])
                return
            if channel == Channel.STDIN and data:
                yield Input(data)
            elif channel == Channel.RESIZE and (size := terminal_size(data)) is not None:
                yield size
            elif channel == Channel.CLOSE and self._protocol.closes and data[:1] == b"\0":
                yield InputEnd()

    async def greet(self, channel: int) -> None:
        """An empty message, by which a client knows that its session runs."""
        await self._send(channel, b"")

    async def send(self, stream: int, data: bytes) -> None:
        await self._send(stream, data)

    async def end(self, exit_code: int) -> None:
        await self._last(outcome(self._protocol, exit_code))

    async def fail(self, message: str) -> None:
        await self._last(failure(self._protocol, message))

    async def _last(self, data: bytes | None) -> None:
        if data is not None:
            await self._send(Channel.ERROR, data)
        await self._socket.close()

    async def _send(self, channel: int, data: bytes) -> None:
        message = encode(self._protocol, channel, data)
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)


@contextlib.asynccontextmanager
async def opened(http: web.BaseRequest, protocol: str) -> AsyncIterator[web.WebSocketResponse]:
    """The request's websocket, closed at the end."""
    socket = web.WebSocketResponse(
        protocols=(protocol,) if protocol else (), compress=False, max_msg_size=MAX_MESSAGE_BYTES
    )
    await socket.prepare(http)
    try:
        yield socket
    finally:
        with contextlib.suppress(ConnectionError):
            await socket.close()
