"""A connection that asks the API server one thing after the other, at little cost."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any

from api import TOKEN

CONNECTIONS = 32
_LENGTH = re.compile(rb"Content-Length: (\d+)")


class Channel(asyncio.Protocol):
    """One connection over TLS."""

    def __init__(self) -> None:
        self._data = b""
        self._answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for its answer. Raises RuntimeError where it is refused."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if self._answer is None or not end or length is None or len(body) < int(length[1]):
            return
        if head[9:12] in (b"200", b"201"):
            self._answer.set_result(None)
        else:
            self._answer.set_exception(RuntimeError(self._data[:500].decode()))
        self._data = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the API server closed the connection"))

    def close(self) -> None:
        self._transport.close()


async def channels(port: int, count: int) -> list[Channel]:
    """So many connections to this machine's port."""
    loop = asyncio.get_running_loop()
    context = ssl._create_unverified_context()
    made = [await loop.create_connection(Channel, "127.0.0.1", port, ssl=context) for _ in range(count)]
    return [channel for _, channel in made]


async def send(port: int, requests: Iterator[bytes]) -> None:
    """Send all requests, as many at once as there are connections."""

    async def work(channel: Channel) -> None:
        for each in requests:
            await channel.ask(each)
        channel.close()

    await asyncio.gather(*map(work, await channels(port, CONNECTIONS)))


def request(method: str, path: str, body: Any, content_type: str = "application/json") -> bytes:
    data = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n"
    return f"{head}Content-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
