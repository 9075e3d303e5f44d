"""The API server on a socket: TLS, HTTP/1.1, streams. The core answers.

Small requests are carried by `Connection`, all others by the low-level aiohttp server, without its router and
middlewares: every request goes to one callable, and the path is taken apart once, by the core.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from sampan.apiserver.core import status, users
from sampan.apiserver.core.bodies import MAX_BODY_BYTES
from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.requestheader import FrontProxy
from sampan.apiserver.core.server import ApiServer
from sampan.apiserver.core.users import User
from sampan.apiserver.http.connection import IDLE_LIMIT_S, Connection, parsed_query
from sampan.apiserver.http.heads import Heads
from sampan.apiserver.http.outbox import Outbox
from sampan.apiserver.http.relay import Relay
from sampan.apiserver.http.tls import Sends, TlsTransport
from sampan.base.errors import SampanError

_READING: Final = frozenset({"GET", "HEAD"})
# kube-apiserver compresses what is larger than that, at the cheapest level.
COMPRESS_ABOVE_BYTES: Final = 128 * 1024
_BACKLOG: Final = 1024
_SHUTDOWN_S: Final = 2.0
_SWEEP_EVERY_S: Final = 60.0
_HEADERS: Final = {"Cache-Control": "no-cache, private"}


class HttpServer:
    """Serves one ApiServer on one or more addresses."""

    def __init__(self, api: ApiServer, relay: Relay, log_error: Any = None) -> None:
        self._api = api
        self._relay = relay
        self._log_error = log_error
        # Whoever may say in headers who asks; set before the start, as is the TLS context that takes its
        # certificates.
        self.front_proxy: FrontProxy | None = None
        self._runner: web.Server | None = None
        # Numbers of requests in the form of UUIDs, without the cost of making one for each.
        self._id_prefix, self._id_numbers = str(uuid4())[:24], itertools.count(1)
        self._sites: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._known = Heads()
        self._outbox = Outbox()
        self._sends = Sends()
        self._sweep: asyncio.TimerHandle | None = None
        # Tasks of writes that go on although their client has gone.
        self._writes: set[asyncio.Task[Response]] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen; returns the port. Raises SampanError where the address is taken."""
        if self._runner is None:
            self._runner = web.Server(
                self._handle,
                request_factory=_request,
                handler_cancellation=True,
                access_log=None,
                keepalive_timeout=3600.0,
            )
        loop = asyncio.get_running_loop()
        if self._sweep is None:
            self._close_idle()
        made: Callable[[], asyncio.Protocol] = self._connection
        if tls is not None:
            made = partial(TlsTransport, tls, self._connection, self._sends)
        try:
            site = await loop.create_server(made, host, port, backlog=_BACKLOG)
        except OSError as problem:
            raise SampanError(
                f"The API server cannot listen on {host}:{port}: {problem.strerror or problem}. "
                "Choose another port with --port, or stop what uses this one."
            ) from problem
        self._sites.append(site)
        bound: int = site.sockets[0].getsockname()[1]
        return bound

    def _connection(self) -> Connection:
        assert self._runner is not None, "made before anything listens"
        return Connection(
            self._respond,
            self._is_elsewhere,
            self._runner,
            self._user_of,
            self._connections,
            self._known,
            self._outbox,
        )

    def _user_of(self, transport: asyncio.BaseTransport) -> tuple[User | None, bool]:
        certificate = transport.get_extra_info("peercert")
        if not certificate:
            return None, False
        front = self.front_proxy
        return certificate_user(certificate), front is not None and certificate["issuer"] == front.authority

    def _is_elsewhere(self, path: str) -> bool:
        return bool(self._api.aggregator.routes) and self._api.aggregator.find(path) is not None

    def _close_idle(self) -> None:
        """Once a minute: who has asked nothing for an hour is gone, or can connect again."""
        long_ago_s = time.monotonic() - IDLE_LIMIT_S
        for connection in [one for one in self._connections if one.is_idle and one.last_used_s < long_ago_s]:
            connection.close()
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._close_idle)

    async def close(self) -> None:
        for site in self._sites:
            site.close()
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._connections):
            connection.close()
        busy = [connection.task for connection in self._connections if connection.task is not None]
        if busy:
            await asyncio.wait(busy, timeout=_SHUTDOWN_S)
        if self._runner is not None:
            await self._runner.shutdown(_SHUTDOWN_S)
        await self._relay.close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        request = await self._read(http)
        if isinstance(request, Response):
            return _plain(request)
        response = await self._answered(self._shielded, request)
        if response.chunks is not None:
            return await _stream(http, response)
        if response.tunnel is not None:
            try:
                return await self._relay.carry(http, request, response.tunnel)
            finally:
                if response.ended is not None:
                    response.ended()
        await _compress(request, response)
        return _plain(response)

    async def _respond(self, request: Request) -> Response:
        """The answer to a request that is not relayed: whole, or in chunks. Whoever awaits it for a write
        does so to its end."""
        response = await self._answered(self._api.handle, request)
        assert response.tunnel is None, f"{request.path} is not answered here"
        if response.chunks is None and len(response.body) > COMPRESS_ABOVE_BYTES:
            await _compress(request, response)
        return response

    async def _answered(self, answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        try:
            response = await answer(request)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as problem:  # the one place where a bug becomes an answer
            if self._log_error is not None:
                self._log_error(request, problem)
            response = status.internal(f"{type(problem).__name__}: {problem}").response()
        # Under which the audit has the request, where it does; each answer has some, as kube-apiserver's.
        given = request.audit.audit_id if request.audit is not None else request.headers.get("audit-id")
        response.audit_id = given or f"{self._id_prefix}{next(self._id_numbers):012x}"
        return response

    async def _shielded(self, request: Request) -> Response:
        if request.method in _READING:
            return await self._api.handle(request)
        # A write that was taken is finished even when its client goes away meanwhile.
        task = asyncio.create_task(self._api.handle(request))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def _read(self, http: web.BaseRequest) -> Request | Response:
        raw_path = http.raw_path
        path, _, raw_query = raw_path.partition("?")
        if "%" in path:
            path = unquote(path)
        query, lists = parsed_query(raw_query)
        body = b""
        if http.can_read_body:
            try:
                body = await http.read()
            except web.HTTPRequestEntityTooLarge:
                message = f"limit is {MAX_BODY_BYTES}"
                return status.too_large(message).response()
        headers: Mapping[str, str] = http.headers
        if "impersonate-group" in headers:
            groups = ",".join(http.headers.getall("Impersonate-Group"))
            headers = {**{k.lower(): v for k, v in headers.items()}, "impersonate-group": groups}
        return Request(
            method=http.method,
            path=path,
            query=query,
            query_lists=lists,
            headers=headers,
            body=body,
            user=self._certified(http) if http.transport is not None else None,
            host=http.headers.get("Host", ""),
            remote=(http.remote or "") if self._api.audit is not None else "",
        )

    def _certified(self, http: web.BaseRequest) -> User | None:
        """The user by the connection's verified certificate; None where it has none."""
        assert http.transport is not None
        certificate = http.transport.get_extra_info("peercert")
        if not certificate:
            return None
        user, front = certificate_user(certificate), self.front_proxy
        if front is not None and certificate["issuer"] == front.authority:
            return front.user(user.name if user is not None else "", http.headers.items())
        return user


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """The user that a verified client certificate names: CN, and O for each group."""
    name, groups = "", []
    for part in certificate["subject"]:
        for key, value in part:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    return User(name, (*groups, users.AUTHENTICATED)) if name else None


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES + 1)


async def _compress(request: Request, response: Response) -> None:
    """Compress a large answer for clients that take gzip, in a thread: the loop has others to serve."""
    if len(response.body) <= COMPRESS_ABOVE_BYTES or request.method != "GET":
        return
    accepted = request.headers.get("Accept-Encoding") or request.headers.get("accept-encoding", "")
    if "gzip" in accepted and "Content-Encoding" not in response.headers:
        response.body = await asyncio.to_thread(_gzip, response.body)
        response.headers["Content-Encoding"] = "gzip"


def _gzip(body: bytes) -> bytes:
    from isal import isal_zlib  # late: most clients ask for less than that at a time

    compressed: bytes = isal_zlib.compress(body, 0, wbits=16 + isal_zlib.MAX_WBITS)
    return compressed


def _plain(response: Response) -> web.Response:
    headers = {
        "Content-Type": response.content_type,
        **_HEADERS,
        "Audit-Id": response.audit_id,
        **response.headers,
    }
    return web.Response(body=response.body, status=response.status, headers=headers)


async def _stream(http: web.BaseRequest, response: Response) -> web.StreamResponse:
    stream = web.StreamResponse(
        status=response.status,
        headers={
            "Content-Type": response.content_type,
            **_HEADERS,
            "Audit-Id": response.audit_id,
            **response.headers,
        },
    )
    stream.enable_chunked_encoding()
    chunks = response.chunks
    assert chunks is not None
    try:
        await stream.prepare(http)
        async for chunk in chunks:
            await stream.write(chunk)
        await stream.write_eof()
    except ConnectionError:
        pass  # the client has gone, which is how most watches end
    finally:
        closing = getattr(chunks, "aclose", None)
        if closing is not None:
            with contextlib.suppress(RuntimeError):
                await closing()
    return stream
