"""One connection, from its first byte. Small requests are answered here, at half of what aiohttp takes.

Most requests of clients are a head, a short body or none, and one answer, for which there is one task. A
watch is answered in chunks, which the store writes to many connections with the same bytes. Everything else -
upgrades, relayed requests, chunked or large bodies, whatever is malformed - is handed to aiohttp with all
bytes that were not answered yet, and the connection stays with it from then on. In doubt a request is
aiohttp's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qsl

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.users import User
from sampan.apiserver.http import heads
from sampan.apiserver.http.heads import Heads
from sampan.apiserver.http.outbox import Outbox
from sampan.store.audience import Lines

HEAD_MOST_BYTES: Final = 16 * 1024
# What a client may send ahead of the answer to its last request before it is not read from any more.
AHEAD_MOST_BYTES: Final = 512 * 1024
IDLE_LIMIT_S: Final = 3600.0

_END: Final = b"\r\n\r\n"
# Subresources that are streamed or relayed.
_RELAYED: Final = ("/proxy", "/exec", "/attach", "/portforward", "/log")
_STREAMED: Final = "follow"
# A body up to this size goes into one TLS record with its head.
_TOGETHER_MOST_BYTES: Final = 12 * 1024
# A larger body goes out in pieces of this size: encrypted as one, all of it would be copied again and again,
# the client would begin to read late, and all others would wait meanwhile.
PIECE_BYTES: Final = 64 * 1024
# Beginnings of answers that are remembered: a status, a type, and whose flow it was.
_BEGINNINGS: Final = 1_024
# What may wait for a client that reads slowly before its watch waits too.
UNSENT_MOST_BYTES: Final = 128 * 1024
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LINES: Final = {
    code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n".encode() for code in HTTPStatus if code >= 200
}

_NO_QUERY: Final[tuple[dict[str, str], dict[str, list[str]]]] = ({}, {})
# Writes that go on although their client has gone.
_unwatched: set[asyncio.Task[None]] = set()

_log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]


def parsed_query(raw: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The first value of each name, and all values of it, in the order they stand in."""
    query: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    if raw:
        for name, value in parse_qsl(raw, keep_blank_values=True):
            query.setdefault(name, value)
            lists.setdefault(name, []).append(value)
    return query, lists


class Connection(asyncio.Protocol):
    """Answers requests one after the other, in the order they came in."""

    def __init__(
        self,
        answer: Answer,
        is_elsewhere: Callable[[str], bool],
        to_aiohttp: Callable[[], asyncio.Protocol],
        user_of: Callable[[asyncio.BaseTransport], tuple[User | None, bool]],
        open_connections: set[Connection],
        known: Heads,
        outbox: Outbox,
    ) -> None:
        """`answer` is cancelled where a client goes that only reads; what writes goes on to its end.

        `is_elsewhere` tells paths that other servers answer; `to_aiohttp` makes who takes over.

        `user_of` gives the user of the connection's certificate, and whether it is a front proxy's, whose
        requests say in their headers who asks.
        """
        self._answer = answer
        self._is_elsewhere = is_elsewhere
        self._to_aiohttp = to_aiohttp
        self._user_of = user_of
        self._open = open_connections
        self._known = known
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._user: User | None = None
        self._is_proxy = False
        self._remote = ""
        self._data = b""
        # What answers the request there is, and None between requests.
        self.task: asyncio.Task[None] | None = None
        # Whether that is to be finished although the client has gone.
        self._writes = False
        self._writable = True
        # What writes lines that many get.
        self._write_lines: Callable[[bytes], None] = _nowhere
        # Whoever waits until more can be written.
        self._drained: asyncio.Future[None] | None = None
        self._streams = False
        self._reading = True
        self._closing = False
        self.last_used_s = 0.0

    # -- what the transport calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._user, self._is_proxy = self._user_of(transport)
        peer = transport.get_extra_info("peername")
        self._remote = str(peer[0]) if peer else ""
        self.last_used_s = time.monotonic()
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._transport = None
        if self.task is None:
            return
        if self._writes:
            _unwatched.add(self.task)
            self.task.add_done_callback(_unwatched.discard)
            self._release()
        else:
            self.task.cancel()  # nobody waits for the answer

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        if self.task is None:
            self._next()
        if len(self._data) > AHEAD_MOST_BYTES and self._reading and self._transport is not None:
            self._transport.pause_reading()
            self._reading = False

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._release()
        if self.task is None:
            self._next()

    def _release(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- requests -------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return self.task is None and not self._data

    def close(self) -> None:
        """Close at once where nothing is being answered, else after the answer. A stream is cut short."""
        self._closing = True
        self._outbox.flush()
        if self._streams and self.task is not None:
            self.task.cancel()
        elif self.task is None and self._transport is not None:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Write an answer, unless the client has gone."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """Close without another word."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        """Begin with the next request that is there whole; hand over what is not for here.

        Not at once, but in a task: then all that were read in this turn of the loop are answered one after
        the other, and what each step needs is still in the processor's caches. Answers from here took longer.
        """
        if not self._data or not self._writable or self._transport is None:
            return
        request = self._taken()
        if request is not None:
            self._writes = request[0].method != "GET"
            self.task = asyncio.get_running_loop().create_task(self._serve(*request))

    def _taken(self) -> tuple[Request, bool] | None:
        """The next request, and whether the connection stays open after it; None while there is none."""
        data = self._data
        end = data.find(_END)
        if end < 0:
            if len(data) > HEAD_MOST_BYTES:
                self._hand_over()
            return None
        end += len(_END)
        found = self._known.read(data[:end])
        request = self._request(*found) if found is not None else None
        if found is None or request is None:
            self._hand_over()
            return None
        lines = found[2]
        if not lines.length:
            self._data = data[end:]
            return request, lines.keeps
        whole = end + lines.length
        if len(data) < whole:
            return None
        request.body = data[end:whole]
        self._data = data[whole:]
        return request, lines.keeps

    def _request(self, method: str, target: str, lines: heads.Lines) -> Request | None:
        """The request but for its body; None where aiohttp is to have it."""
        path, _, raw_query = target.partition("?")
        if self._is_proxy or not path.startswith("/") or "%" in path:
            return None
        for part in _RELAYED:
            if part in path:
                return None
        query, lists = parsed_query(raw_query) if raw_query else _NO_QUERY
        if _STREAMED in query or self._is_elsewhere(path):
            return None
        return Request(
            method=method,
            path=path,
            query=query,
            query_lists=lists,
            headers=lines.headers,
            user=self._user,
            host=lines.headers.get("host", ""),
            remote=self._remote,
        )

    async def _serve(self, request: Request, keeps: bool) -> None:
        try:
            response = await self._answer(request)
            if response.chunks is not None:
                await self._stream(response, response.chunks, keeps)
            elif len(response.body) > PIECE_BYTES:
                await self._write_pieces(response, keeps)
        except ConnectionError:
            self.abort()
            return
        finally:
            self.task = None
        transport = self._transport
        if transport is None:
            return
        keeps = keeps and not self._closing
        if response.chunks is None:
            if len(response.body) <= _TOGETHER_MOST_BYTES:
                self._outbox.add(self, _head(response, keeps) + response.body)
            elif len(response.body) <= PIECE_BYTES:
                transport.writelines((_head(response, keeps), response.body))
        self.last_used_s = time.monotonic()
        if not keeps:
            self._outbox.flush()
            transport.close()
            return
        if not self._reading:
            transport.resume_reading()
            self._reading = True
        if self._data:
            self._next()

    async def _write_pieces(self, response: Response, keeps: bool) -> None:
        """A large answer, as fast as the client reads it. Others are answered in between."""
        if self._transport is None:
            return
        self._transport.write(_head(response, keeps and not self._closing))
        rest = memoryview(response.body)
        while rest and self._transport is not None:
            self._transport.write(rest[:PIECE_BYTES])
            rest = rest[PIECE_BYTES:]
            await (asyncio.sleep(0) if self._writable else self._drain())

    async def _drain(self) -> None:
        """Wait until more can be written, or nothing any more."""
        self._drained = asyncio.get_running_loop().create_future()
        await self._drained

    async def _stream(self, response: Response, chunks: AsyncIterator[bytes], keeps: bool) -> None:
        """The answer in chunks, as they come."""
        transport = self._transport
        self._streams = True
        try:
            if transport is None:
                return
            transport.set_write_buffer_limits(UNSENT_MOST_BYTES)
            transport.write(_head(response, keeps))
            direct = getattr(chunks, "send_to", None)
            if direct is not None:
                self._write_lines = getattr(transport, "write_soon", transport.write)
                direct(self._feed)
            async for chunk in chunks:
                if chunk:
                    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if not self._writable:
                    await self._drain()
            transport.write(_LAST_CHUNK)
        except asyncio.CancelledError:
            # The client has gone, or this server goes.
            if transport is not None:
                transport.close()
            raise
        except Exception:
            # Its head is out, so that nothing but the end of the connection can say so.
            _log.exception("a stream ends: its next part cannot be given")
            self.abort()
        finally:
            self._streams, self._drained = False, None
            self._write_lines = _nowhere
            closing = getattr(chunks, "aclose", None)
            if closing is not None:
                await closing()

    def _feed(self, lines: Lines) -> bool:
        """Write lines that many connections get; False where the client must read something first."""
        if self._transport is not None:
            if not lines.wire:
                lines.wire = b"%x\r\n%b\r\n" % (len(lines.data), lines.data)
            self._write_lines(lines.wire)
        return self._writable

    def _hand_over(self) -> None:
        self._outbox.flush()
        transport, data = self._transport, self._data
        assert transport is not None, "only what is connected is read from"
        self._open.discard(self)
        self._transport, self._data = None, b""
        if not self._reading:
            transport.resume_reading()
        other = self._to_aiohttp()
        transport.set_protocol(other)
        other.connection_made(transport)
        other.data_received(data)


def _nowhere(data: bytes) -> None:
    """Nothing is written to who has not asked for it."""


_date: tuple[int, bytes] = (0, b"")


def _now() -> bytes:
    """The Date header, made once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode())
    return _date[1]


def _head(response: Response, keeps: bool) -> bytes:
    beginning = _beginning(response.status, response.content_type, tuple(response.headers.items()), keeps)
    audit_id = response.audit_id.encode("utf-8", "surrogateescape")
    if response.chunks is None:
        length = len(response.body)
        return b"%bContent-Length: %d\r\nAudit-Id: %b\r\n%b" % (beginning, length, audit_id, _now())
    return b"%bTransfer-Encoding: chunked\r\nAudit-Id: %b\r\n%b" % (beginning, audit_id, _now())


@lru_cache(maxsize=_BEGINNINGS)
def _beginning(code: int, content_type: str, headers: tuple[tuple[str, str], ...], keeps: bool) -> bytes:
    """All lines that say nothing of this body, nor of the time."""
    line = _LINES.get(code) or f"HTTP/1.1 {code} \r\n".encode()
    text = f"Content-Type: {content_type}\r\n"
    if all(name != "Cache-Control" for name, _ in headers):
        text += "Cache-Control: no-cache, private\r\n"
    for name, value in headers:
        if "\r" in value or "\n" in value:  # a header must not end where its text says
            value = value.replace("\r", " ").replace("\n", " ")
        text += f"{name}: {value}\r\n"
    if not keeps:
        text += "Connection: close\r\n"
    return line + text.encode("utf-8", "surrogateescape")
