"""The DNS server's sockets: UDP and TCP; and its metrics."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from sampan.base.errors import SampanError
from sampan.network.dns.resolver import Resolver
from sampan.network.dns.wire import EDNS_UDP_BYTES, TCP_BYTES, Query

TCP_CONNECTIONS_MOST: Final = 256
TCP_IDLE_S: Final = 10.0
# How many datagrams are taken in one turn of the loop before others get theirs.
_BATCH: Final = 64
_PORTS_TRIED: Final = 16
_RECEIVE_BUFFER_BYTES: Final = 1 << 20


class DnsServer:
    """Serves a resolver on one address, UDP and TCP on the same port.

    `host` "" means every address, IPv4 and IPv6. With port 0 the system chooses one: see `port`.
    """

    def __init__(self, resolver: Resolver, host: str = "", port: int = 53) -> None:
        self.port = port
        self.udp_queries = 0
        self.tcp_queries = 0
        self._resolver = resolver
        self._host = host
        self._udp: socket.socket | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises SampanError where the address or port cannot be had."""
        try:
            self._udp, tcp = _bind_both(self._host, self.port)
            self.port = self._udp.getsockname()[1]
            self._tcp = await asyncio.start_server(self._connected, sock=tcp)
        except OSError as error:
            self._close_sockets()
            raise SampanError(
                f"DNS cannot listen on {self._host or 'every address'}, port {self.port}: {error}; "
                "choose another with --port, or stop what listens there."
            ) from error
        asyncio.get_running_loop().add_reader(self._udp, self._readable, self._udp)

    async def stop(self) -> None:
        """Stop listening and drop what is under way."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp)
        self._close_sockets()
        under_way = [*self._tasks, *self._connections]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _close_sockets(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
        if self._udp is not None:
            self._udp.close()
        self._udp = self._tcp = None

    def _readable(self, udp: socket.socket) -> None:
        answer_at_once = self._resolver.answer_at_once
        for _ in range(_BATCH):
            try:
                packet, client = udp.recvfrom(EDNS_UDP_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP error about an earlier answer
                continue
            self.udp_queries += 1
            reply = answer_at_once(packet)
            if isinstance(reply, Query):
                self._spawn(self._answer_later(udp, client, reply, packet))
            elif reply is not None:
                _send(udp, reply, client)

    async def _answer_later(
        self, udp: socket.socket, client: tuple[object, ...], query: Query, packet: bytes
    ) -> None:
        _send(udp, await self._resolver.answer(query, packet), client)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if len(self._connections) >= TCP_CONNECTIONS_MOST or task is None:
            writer.close()
            return
        self._connections.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                while True:
                    async with asyncio.timeout(TCP_IDLE_S):
                        size = int.from_bytes(await reader.readexactly(2), "big")
                        packet = await reader.readexactly(size)
                    self.tcp_queries += 1
                    reply = self._resolver.answer_at_once(packet, tcp=True)
                    if isinstance(reply, Query):
                        reply = await self._resolver.answer(reply, packet, tcp=True)
                    if reply is None:
                        return
                    writer.write(len(reply).to_bytes(2, "big") + reply[:TCP_BYTES])
                    async with asyncio.timeout(TCP_IDLE_S):
                        await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def metrics(resolver: Resolver, server: DnsServer) -> str:
    """The counters in Prometheus' text form."""
    forwarder = resolver.forwarder
    lines = [
        "# TYPE sampan_dns_queries_total counter",
        f'sampan_dns_queries_total{{proto="udp"}} {server.udp_queries}',
        f'sampan_dns_queries_total{{proto="tcp"}} {server.tcp_queries}',
        "# TYPE sampan_dns_answers_total counter",
        *(f'sampan_dns_answers_total{{rcode="{i}"}} {n}' for i, n in enumerate(resolver.counts) if n),
        "# TYPE sampan_dns_upstream_queries_total counter",
        f"sampan_dns_upstream_queries_total {forwarder.sent}",
        "# TYPE sampan_dns_upstream_failures_total counter",
        f"sampan_dns_upstream_failures_total {forwarder.failed}",
        "# TYPE sampan_dns_cached_answers gauge",
        f"sampan_dns_cached_answers {len(forwarder.cache)}",
        "# TYPE sampan_dns_zone_generation gauge",
        f"sampan_dns_zone_generation {resolver.zone.generation}",
    ]
    return "\n".join(lines) + "\n"


def _send(udp: socket.socket, reply: bytes, client: tuple[object, ...]) -> None:
    with suppress(OSError):  # a full buffer or a vanished client: it will ask again
        udp.sendto(reply, client)


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of one port. A port that the system chose for one may be taken for the other."""
    tries = _PORTS_TRIED if port == 0 else 1
    while True:
        tries -= 1
        udp = _bind_udp(host, port)
        address, bound = udp.getsockname()[:2]
        try:
            return udp, _bind(udp.family, socket.SOCK_STREAM, address, bound)
        except OSError:
            udp.close()
            if not tries:
                raise


def _bind_udp(host: str, port: int) -> socket.socket:
    if host:
        return _bind(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM, host, port)
    try:
        return _bind(socket.AF_INET6, socket.SOCK_DGRAM, "::", port)
    except OSError:  # a kernel without IPv6; where the port is taken the next line says so
        return _bind(socket.AF_INET, socket.SOCK_DGRAM, "0.0.0.0", port)


def _bind(family: int, kind: int, host: str, port: int) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host != "::" else 0)
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        made.setblocking(False)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
