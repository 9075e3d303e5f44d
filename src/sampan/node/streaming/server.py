"""The node's own HTTPS server: what kubelet serves on port 10250 to the API server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import web

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.node.runtimes.runtime import RuntimeFailure, Session
from sampan.node.streaming import access, channels, exposition, portforward, query, stats
from sampan.node.streaming.crilog import LogDecoder
from sampan.node.streaming.errors import Refused
from sampan.node.streaming.host import KeepsLogs, LogPlace, StreamHost, bare_id, find_pod, log_place
from sampan.node.streaming.inotify import DirectoryWatch
from sampan.node.streaming.logfile import read_log
from sampan.node.streaming.session import carry
from sampan.node.streaming.spdysession import SESSION_PROTOCOLS, SpdyWire
from sampan.node.streaming.upgrade import accept_spdy, wants_spdy
from sampan.node.streaming.websocket import WebSocketWire, opened
from sampan.schema import codec

_SHUTDOWN_S: Final = 2.0
_BACKLOG: Final = 128
_WEBSOCKET: Final = "websocket"

_log = logging.getLogger(__name__)


class StreamServer:
    """Serves one node. `tls` must ask for client certificates (CERT_OPTIONAL); `authorize` judges them.

    `node_name` is empty where it serves many nodes, none of which is this machine.
    """

    def __init__(
        self,
        host: StreamHost,
        clock: Clock,
        tls: ssl.SSLContext,
        authorize: access.Authorize = access.api_server_or_admin,
        *,
        node_name: str = "",
    ) -> None:
        self._node_name = node_name
        self._host = host
        self._clock = clock
        self._tls = tls
        self._authorize = authorize
        self._watch = DirectoryWatch()
        self._server: web.Server | None = None
        self._sites: list[asyncio.Server] = []

    async def start(self, address: str, port: int = 0) -> int:
        """Listen; returns the port, which node.status.daemonEndpoints has to name.

        Raises SampanError where the address is taken.
        """
        if self._server is None:
            self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        try:
            site = await asyncio.get_running_loop().create_server(
                self._server, address, port, ssl=self._tls, backlog=_BACKLOG
            )
        except OSError as problem:
            raise SampanError(
                f"The node's server cannot listen on {address}:{port}: {problem.strerror or problem}. "
                "Stop what uses this port, or let the node choose one with port 0."
            ) from problem
        self._sites.append(site)
        bound: int = site.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening and end every session."""
        for site in self._sites:
            site.close()
        if self._server is not None:
            await self._server.shutdown(_SHUTDOWN_S)
        self._watch.close()

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(http)
        except Refused as refusal:
            return web.Response(body=refusal.body(), status=refusal.code, content_type="application/json")
        except RuntimeFailure as failure:
            _log.warning("%s %s failed: %s", http.method, http.path, failure)
            body = Refused(500, str(failure)).body()
            return web.Response(body=body, status=500, content_type="application/json")

    async def _route(self, http: web.BaseRequest) -> web.StreamResponse:
        parts = [unquote(part) for part in http.raw_path.partition("?")[0].split("/")[1:]]
        if parts == ["healthz"]:
            return web.Response(text="ok")
        self._check(http)
        asked = parse_qs(http.raw_path.partition("?")[2], keep_blank_values=True)
        match parts:
            case ["pods"] | ["pods", ""]:
                return self._pods()
            case ["stats", "summary"]:
                return web.Response(body=codec.encode(await self._summary()), content_type="application/json")
            case ["metrics", *which] if which in ([], ["resource"], ["cadvisor"]):
                return await self._metrics("".join(which))
            case ["containerLogs", namespace, pod, container]:
                return await self._logs(http, asked, namespace, pod, container)
            case ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container]:
                return await self._session(http, asked, namespace, pod, container, attach=False)
            case ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container]:
                return await self._session(http, asked, namespace, pod, container, attach=True)
            case ["portForward", namespace, pod] | ["portForward", namespace, pod, _]:
                return await self._port_forward(http, asked, namespace, pod)
        raise Refused(404, f"the node's server has no {http.path}")

    def _check(self, http: web.BaseRequest) -> None:
        certificate = http.transport.get_extra_info("peercert") if http.transport is not None else None
        who = access.subject(certificate)
        if who is None:
            raise Refused(401, "Unauthorized: show a client certificate that the cluster's authority signed")
        if not self._authorize(*who):
            raise Refused(403, f'Forbidden (user={who[0]}, path="{http.path}")')

    def _pods(self) -> web.Response:
        pods = [msgspec.structs.replace(pod, kind=None, apiVersion=None) for pod in self._host.pods()]
        listed: dict[str, Any] = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
        return web.Response(body=codec.encode(listed), content_type="application/json")

    async def _summary(self) -> dict[str, Any]:
        machine = await asyncio.to_thread(machine_usage) if self._node_name else None
        usages = await self._host.runtime.usage()
        return stats.summary(self._node_name, self._host.pods(), usages, machine, self._clock.now())

    async def _metrics(self, which: str) -> web.Response:
        found, now = await self._summary(), self._clock.now()
        if which == "resource":
            text = exposition.resource(found, now)
        elif which == "cadvisor":
            text = exposition.cadvisor(found, now)
        else:
            text = exposition.agent(self._node_name, found, await asyncio.to_thread(process_usage))
        return web.Response(body=text.encode(), headers={"Content-Type": exposition.CONTENT_TYPE})

    # -- logs

    async def _logs(
        self, http: web.BaseRequest, asked: query.Query, namespace: str, name: str, container: str
    ) -> web.StreamResponse:
        wanted = query.log_query(asked, self._clock.now())
        place = log_place(
            self._host, find_pod(self._host, namespace, name), container, previous=wanted.previous
        )
        if wanted.previous:
            wanted = query.without_follow(wanted)

        def running() -> bool:
            handle = self._host.find_container(namespace, name, container)
            return (
                handle is not None and handle.running and bare_id(handle.container_id) == place.container_id
            )

        stream = web.StreamResponse(headers={"Content-Type": "text/plain"})
        stream.enable_chunked_encoding()
        try:
            await stream.prepare(http)
            async with contextlib.aclosing(self._read(place, wanted, running)) as blocks:
                async for block in blocks:
                    await stream.write(block)
            await stream.write_eof()
        except ConnectionError:
            pass  # the client has gone, which is how most follows end
        return stream

    def _read(self, place: LogPlace, wanted: query.LogQuery, running: Any) -> Any:
        runtime = self._host.runtime
        if isinstance(runtime, KeepsLogs):
            return _kept_log(runtime.log(place.container_id), wanted)
        if not place.path:
            return _kept_log(b"", wanted)
        return read_log(place.path, wanted, self._clock, self._watch, running)

    # -- exec and attach

    async def _session(
        self,
        http: web.BaseRequest,
        asked: query.Query,
        namespace: str,
        name: str,
        container: str,
        *,
        attach: bool,
    ) -> web.StreamResponse:
        wanted = query.session_query(asked)
        handle = self._host.find_container(namespace, name, container)
        if handle is None or not handle.container_id:
            raise Refused(404, f'container not found ("{container}")')
        if not handle.running:
            raise Refused(500, f'container "{container}" of pod "{name}" is not running')
        if not attach and not wanted.command:
            raise Refused(400, "you must specify at least 1 command")
        runtime, id_ = self._host.runtime, handle.container_id
        protocol = None if wants_spdy(http) else _websocket_protocol(http)

        async def begin() -> Session:
            if attach:
                return await runtime.attach(id_, tty=handle.tty, stdin=wanted.stdin and handle.stdin)
            return await runtime.exec(id_, wanted.command, tty=wanted.tty, stdin=wanted.stdin)

        if attach:
            wanted = query.with_tty(wanted, handle.tty)
        if protocol is None:
            async with accept_spdy(http, SESSION_PROTOCOLS) as (stream, version):
                await SpdyWire(stream, version, self._clock).run(begin, wanted)
            return stream.response
        async with opened(http, protocol.name) as socket:
            wire = WebSocketWire(socket, protocol)
            try:
                session = await begin()
            except RuntimeFailure as problem:
                await wire.fail(str(problem))
                return socket
            await wire.greet(_lowest(wanted))
            await carry(wire, session, wanted, self._clock)
        return socket

    # -- port-forward

    async def _port_forward(
        self, http: web.BaseRequest, asked: query.Query, namespace: str, name: str
    ) -> web.StreamResponse:
        find_pod(self._host, namespace, name)
        runtime = self._host.runtime

        async def connect(port: int) -> tuple[int, int]:
            sandbox = self._host.find_sandbox(namespace, name)
            if not sandbox:
                raise ConnectionRefusedError(f"pod {name} has no sandbox that is ready")
            return await runtime.open_port(sandbox, port)

        if wants_spdy(http):
            async with accept_spdy(http, (portforward.SPDY_PROTOCOL,)) as (stream, _):
                await portforward.over_spdy(stream, connect, self._clock)
            return stream.response
        offered = _offered(http)
        if portforward.TUNNEL_PROTOCOL in offered:
            async with opened(http, portforward.TUNNEL_PROTOCOL) as socket:
                await portforward.over_spdy(portforward.WebSocketBytes(socket), connect, self._clock)
            return socket
        protocol = _websocket_protocol(http)
        wanted = query.ports(asked)
        if not wanted:
            raise Refused(400, 'query parameter "port" is required')
        async with opened(http, protocol.name) as socket:
            await portforward.over_channels(socket, protocol, wanted, connect, self._clock)
        return socket


def machine_usage() -> stats.MachineUsage:
    """What this machine uses as a whole."""
    import psutil

    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    busy_s = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
    return stats.MachineUsage(int(busy_s * 1e9), memory.total - memory.available, memory.available)


def process_usage() -> dict[str, float]:
    """What this process uses, by the names of the Prometheus client libraries."""
    import psutil

    process = psutil.Process()
    times = process.cpu_times()
    return {
        "process_cpu_seconds_total": times.user + times.system,
        "process_open_fds": process.num_fds(),
        "process_resident_memory_bytes": process.memory_info().rss,
        "process_start_time_seconds": process.create_time(),
    }


async def _kept_log(data: bytes, wanted: query.LogQuery) -> AsyncIterator[bytes]:
    if wanted.tail_lines is not None:
        lines = data.splitlines(keepends=True)
        data = b"".join(lines[max(0, len(lines) - wanted.tail_lines) :])
    decoder = LogDecoder(wanted)
    if block := decoder.feed(data):
        yield block


def _lowest(wanted: query.SessionQuery) -> int:
    if wanted.stdout:
        return channels.Channel.STDOUT
    return channels.Channel.STDERR if wanted.stderr else channels.Channel.ERROR


def _offered(http: web.BaseRequest) -> list[str]:
    return [p.strip() for p in http.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]


def _websocket_protocol(http: web.BaseRequest) -> channels.Protocol:
    if http.headers.get("Upgrade", "").lower() != _WEBSOCKET:
        raise Refused(400, "this needs a websocket: send the request with Upgrade: websocket")
    protocol = channels.choose(_offered(http))
    if protocol is None:
        known = ", ".join(p.name for p in channels.PROTOCOLS)
        raise Refused(403, f"none of the subprotocols offered is known; known are {known}")
    return protocol
