"""One connection, from its first byte. Small requests are answered here, at a third of what aiohttp takes.

Most requests of clients are a head, a short body or none, and one answer: httptools parses them, and one task
answers each. A watch is answered in chunks, which the store writes to many connections with the same bytes.
Everything else - upgrades, relayed requests, chunked or large bodies, whatever is
malformed - is handed to aiohttp with all bytes that were not answered yet, and the connection stays with it
from then on. In doubt a request is aiohttp's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qsl

import httptools

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.users import User
from sampan.store.audience import Lines

HEAD_MOST_BYTES: Final = 16 * 1024
BODY_MOST_BYTES: Final = 256 * 1024
# What a client may send ahead of the answer to its last request before it is not read from any more.
AHEAD_MOST_BYTES: Final = 512 * 1024
IDLE_LIMIT_S: Final = 3600.0

_END: Final = b"\r\n\r\n"
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Headers that change how a connection is read.
_OTHERS_WORK: Final = frozenset({"upgrade", "transfer-encoding", "expect", "http2-settings"})
# Subresources that are streamed or relayed.
_RELAYED: Final = ("/proxy", "/exec", "/attach", "/portforward", "/log")
_STREAMED: Final = "follow"
# What may wait for a client that reads slowly before its watch waits too.
UNSENT_MOST_BYTES: Final = 128 * 1024
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LINES: Final = {
    code.value: f"HTTP/1.1 {code.value} {code.phrase}\r\n".encode() for code in HTTPStatus if code >= 200
}

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


class Head:
    """The head of a request: what httptools calls back with."""

    __slots__ = ("headers", "length", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.length = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        if key not in self.headers:
            self.headers[key] = text
        elif key == "impersonate-group":
            self.headers[key] += f",{text}"


class Connection(asyncio.Protocol):
    """Answers requests one after the other, in the order they came in."""

    def __init__(
        self,
        answer: Answer,
        is_elsewhere: Callable[[str], bool],
        to_aiohttp: Callable[[], asyncio.Protocol],
        user_of: Callable[[asyncio.BaseTransport], tuple[User | None, bool]],
        open_connections: set[Connection],
    ) -> None:
        """`is_elsewhere` tells paths that other servers answer; `to_aiohttp` makes who takes over.

        `user_of` gives the user of the connection's certificate, and whether it is a front proxy's, whose
        requests say in their headers who asks.
        """
        self._answer = answer
        self._is_elsewhere = is_elsewhere
        self._to_aiohttp = to_aiohttp
        self._user_of = user_of
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._user: User | None = None
        self._is_proxy = False
        self._remote = ""
        self._data = b""
        # What answers the request there is, and None between requests.
        self.task: asyncio.Task[None] | None = None
        self._writable = True
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
        if self.task is not None:
            self.task.cancel()  # nobody waits for the answer; writes are shielded from this

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
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.task is None:
            self._next()

    # -- requests -------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        return self.task is None and not self._data

    def close(self) -> None:
        """Close at once where nothing is being answered, else after the answer. A stream is cut short."""
        self._closing = True
        if self._streams and self.task is not None:
            self.task.cancel()
        elif self.task is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close without another word."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> None:
        """Begin with the next request that is there whole; hand over what is not for here."""
        data = self._data
        if not data or not self._writable or self._transport is None:
            return
        end = data.find(_END)
        if end < 0:
            if len(data) > HEAD_MOST_BYTES:
                self._hand_over()
            return
        end += len(_END)
        head = Head()
        parser = httptools.HttpRequestParser(head)
        try:
            parser.feed_data(data[:end])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._hand_over()
            return
        method = parser.get_method().decode("latin-1")
        request = self._request(method, head)
        if request is None or parser.get_http_version() != "1.1":
            self._hand_over()
            return
        whole = end + head.length
        if len(data) < whole:
            return
        request.body = data[end:whole]
        self._data = data[whole:]
        keeps = "close" not in head.headers.get("connection", "").lower()
        self.task = asyncio.get_running_loop().create_task(self._serve(request, keeps))

    def _request(self, method: str, head: Head) -> Request | None:
        """The request but for its body; None where aiohttp is to have it."""
        headers = head.headers
        if self._is_proxy or method not in _METHODS or not _OTHERS_WORK.isdisjoint(headers):
            return None
        length = headers.get("content-length")
        if length:
            if not length.isascii() or not length.isdigit() or int(length) > BODY_MOST_BYTES:
                return None
            head.length = int(length)
        path, _, raw_query = head.url.decode("utf-8", "surrogateescape").partition("?")
        if not path.startswith("/") or "%" in path or any(part in path for part in _RELAYED):
            return None
        query, lists = parsed_query(raw_query)
        if _STREAMED in query or self._is_elsewhere(path):
            return None
        return Request(
            method=method,
            path=path,
            query=query,
            query_lists=lists,
            headers=headers,
            user=self._user,
            host=headers.get("host", ""),
            remote=self._remote,
        )

    async def _serve(self, request: Request, keeps: bool) -> None:
        try:
            response = await self._answer(request)
            if response.chunks is not None:
                await self._stream(response, response.chunks, keeps)
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
            transport.writelines((_head(response, keeps), response.body))
        self.last_used_s = time.monotonic()
        if not keeps:
            transport.close()
            return
        if not self._reading:
            transport.resume_reading()
            self._reading = True
        if self._data:
            self._next()

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
                direct(self._feed)
            async for chunk in chunks:
                if chunk:
                    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if not self._writable:
                    self._drained = asyncio.get_running_loop().create_future()
                    await self._drained
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
            closing = getattr(chunks, "aclose", None)
            if closing is not None:
                await closing()

    def _feed(self, lines: Lines) -> bool:
        """Write lines that many connections get; False where the client must read something first."""
        if self._transport is not None:
            if not lines.wire:
                lines.wire = b"%x\r\n%b\r\n" % (len(lines.data), lines.data)
            self._transport.write(lines.wire)
        return self._writable

    def _hand_over(self) -> None:
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


_date: tuple[int, bytes] = (0, b"")


def _now() -> bytes:
    """The Date header, made once a second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode())
    return _date[1]


def _head(response: Response, keeps: bool) -> bytes:
    line = _LINES.get(response.status) or f"HTTP/1.1 {response.status} \r\n".encode()
    whole = response.chunks is None
    length = f"Content-Length: {len(response.body)}" if whole else "Transfer-Encoding: chunked"
    text = f"Content-Type: {response.content_type}\r\nCache-Control: no-cache, private\r\n{length}\r\n"
    for name, value in response.headers.items():
        if "\r" in value or "\n" in value:  # a header must not end where its text says
            value = value.replace("\r", " ").replace("\n", " ")
        text += f"{name}: {value}\r\n"
    if not keeps:
        text += "Connection: close\r\n"
    return line + text.encode("utf-8", "surrogateescape") + _now()
