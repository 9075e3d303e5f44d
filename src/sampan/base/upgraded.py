"""The raw bytes of a server connection whose HTTP request asked for another protocol.

aiohttp knows websockets alone; this is the rest: SPDY, and connections that are only passed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

# What may wait for a slow reader before the peer is held up.
_MOST_WAITING_BYTES: Final = 256 * 1024


class UpgradedConnection:
    """A connection taken over from aiohttp's server, inside the request's handler.

    The handler returns `response` when it is done, and the connection is closed.
    """

    def __init__(self, http: web.BaseRequest) -> None:
        self._http = http
        self._blocks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._held_up = False
        self._arrived = asyncio.Event()
        self.response = web.StreamResponse(status=101)

    async def accept(self, headers: Mapping[str, str]) -> None:
        """Answer 101 Switching Protocols. `headers` must hold Upgrade, and Connection: Upgrade."""
        self.response.headers.update(headers)
        # What follows is no HTTP: there can be no next request.
        self.response.force_close()
        await self.response.prepare(self._http)
        parser: Any = self
        self._http.protocol.set_parser(parser)

    async def read(self) -> bytes:
        """The next bytes; empty once the peer has ended."""
        while not self._blocks:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        block = self._blocks.popleft()
        self._waiting_bytes -= len(block)
        if self._held_up and self._waiting_bytes <= _MOST_WAITING_BYTES // 2:
            self._held_up = False
            if self._http.transport is not None:
                self._http.transport.resume_reading()
        return block

    async def write(self, data: bytes) -> None:
        """Send; returns when more may be sent. Raises ConnectionError when the peer is gone."""
        await self.response.write(data)

    # -- what aiohttp calls, as it does its own parsers

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._blocks.append(data)
        self._waiting_bytes += len(data)
        if (
            not self._held_up
            and self._waiting_bytes > _MOST_WAITING_BYTES
            and self._http.transport is not None
        ):
            self._held_up = True
            self._http.transport.pause_reading()
        self._arrived.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._arrived.set()
