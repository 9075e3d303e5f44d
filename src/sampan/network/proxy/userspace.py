"""Node ports without root: plain forwarders on loopback, for clusters whose pods are processes.

Nothing here can serve a cluster IP: no host has that address. What has a node port is reachable at
127.0.0.1:<node port>, over TCP and UDP (SCTP is left out), endpoints in turn.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from sampan.base.clock import Clock
from sampan.network.proxy.endpoints import Endpoint
from sampan.network.proxy.rules import DROP, EXTERNAL_LOCAL, REJECT, NodeFacts, RuleSet, rule_set
from sampan.schema import api

if TYPE_CHECKING:
    from sampan.client.informer import Informer

CONNECTIONS_MOST: Final = 1024
UDP_CLIENTS_MOST: Final = 1024
UDP_IDLE_S: Final = 60.0
CONNECT_S: Final = 5.0
COALESCE_S: Final = 0.03
_CHUNK_BYTES: Final = 65536

Port = tuple[str, int]
Address = tuple[str, int]
_log = logging.getLogger(__name__)


def forwards(rules: RuleSet) -> dict[Port, tuple[Endpoint, ...]]:
    """Endpoints by (protocol, node port); only ports that have endpoints."""
    return {
        (service.protocol, frontend.port): (
            service.endpoints.local or service.endpoints.cluster
            if frontend.target == EXTERNAL_LOCAL
            else service.endpoints.cluster
        )
        for service in rules.services
        for frontend in service.frontends
        if not frontend.ip and service.protocol != "sctp" and frontend.target not in (REJECT, DROP)
    }


class UserspaceProxy:
    """Serves node ports on `host` until cancelled. A port that cannot be had is logged and tried again."""

    def __init__(
        self,
        services: Informer[api.Service],
        slices: Informer[api.EndpointSlice],
        node: NodeFacts,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        self.ports: dict[Port, Forward] = {}
        self._services, self._slices, self._node, self._clock = services, slices, node, clock
        self._host = host
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._is_settled = False
        for informer in (services, slices):
            cast("Informer[Any]", informer).on_change(lambda _old, _new: self._changed.set())

    async def run(self) -> None:
        await self._services.synced()
        await self._slices.synced()
        self._changed.set()
        try:
            while True:
                await self._changed.wait()
                self._is_settled = False
                self._changed.clear()
                rules = rule_set(self._services.cache.items(), self._slices.cache.items(), self._node)
                await self._replace(forwards(rules))
                async with self._settled:
                    self._is_settled = True
                    self._settled.notify_all()
                await self._clock.sleep(COALESCE_S)
        finally:
            await self._replace({})

    async def settled(self) -> None:
        """Return once every change seen so far is served."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._is_settled and not self._changed.is_set())

    async def _replace(self, wanted: dict[Port, tuple[Endpoint, ...]]) -> None:
        for port in set(self.ports) - set(wanted):
            await self.ports.pop(port).close()
        for port, endpoints in wanted.items():
            if port in self.ports:
                self.ports[port].use(endpoints)
                continue
            forward = Forward(endpoints, self._clock)
            try:
                await forward.listen(port[0], self._host, port[1])
            except OSError as error:
                _log.error("node port %d/%s is not served on %s: %s", port[1], port[0], self._host, error)
                continue
            self.ports[port] = forward


class Forward:
    """One node port. Connections in progress stay with their endpoint until it or the client ends them."""

    def __init__(self, endpoints: tuple[Endpoint, ...], clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self.use(endpoints)

    def use(self, endpoints: tuple[Endpoint, ...]) -> None:
        """New connections go to these, in turn."""
        self._endpoints = endpoints
        self._turns: Iterator[Endpoint] = itertools.cycle(endpoints)

    async def listen(self, protocol: str, host: str, port: int) -> None:
        """Raises OSError."""
        if protocol == "tcp":
            self._server = await asyncio.start_server(self._connected, host, port)
            return
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Clients(lambda: next(self._turns), self._clock), local_addr=(host, port)
        )

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._server is not None:
            self._server.close()
        if self._udp is not None:
            self._udp.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS_MOST:
            writer.close()
            return
        self._tasks.add(task)
        try:
            upstream = await self._connect()
            if upstream is not None:
                both = (_copy(reader, upstream[1]), _copy(upstream[0], writer))
                await asyncio.gather(*both)
                upstream[1].close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        # One that refuses is passed over, as netfilter could not: here it costs nothing.
        for _ in self._endpoints:
            endpoint = next(self._turns)
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(endpoint.ip, endpoint.port)
            except (OSError, TimeoutError) as error:
                _log.info("endpoint %s:%d does not accept: %s", endpoint.ip, endpoint.port, error)
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


class _Clients(asyncio.DatagramProtocol):
    """Each UDP client keeps one endpoint until it has been silent for UDP_IDLE_S."""

    def __init__(self, pick: Callable[[], Endpoint], clock: Clock) -> None:
        self._pick, self._clock = pick, clock
        self._clients: dict[Address, _Upstream] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        for upstream in self._clients.values():
            upstream.close()
        self._clients.clear()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        now_s = self._clock.monotonic_s()
        upstream = self._clients.get(addr)
        if upstream is None or now_s - upstream.heard_s > UDP_IDLE_S:
            if upstream is not None:
                upstream.close()
            elif len(self._clients) >= UDP_CLIENTS_MOST:
                self._drop_quietest()
            upstream = self._clients[addr] = _Upstream(self._transport, addr)
            task = asyncio.get_running_loop().create_task(upstream.open(self._pick()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        upstream.heard_s = now_s
        upstream.send(data)

    def _drop_quietest(self) -> None:
        quietest = min(self._clients, key=lambda a: self._clients[a].heard_s)
        self._clients.pop(quietest).close()


class _Upstream(asyncio.DatagramProtocol):
    _HELD_MOST: Final = 16

    def __init__(self, back: asyncio.DatagramTransport, client: Address) -> None:
        self.heard_s = 0.0
        self._back, self._client = back, client
        self._transport: asyncio.DatagramTransport | None = None
        self._held: list[bytes] = []
        self._closed = False

    async def open(self, endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: self, remote_addr=(endpoint.ip, endpoint.port)
            )
        except OSError as error:
            _log.info("endpoint %s:%d cannot be reached: %s", endpoint.ip, endpoint.port, error)
            return
        if self._closed:
            transport.abort()
            return
        self._transport = transport
        held, self._held = self._held, []
        for data in held:
            self.send(data)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._held) < self._HELD_MOST:
            self._held.append(data)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._back.is_closing():
            self._back.sendto(data, self._client)

    def error_received(self, exc: Exception) -> None:
        """An endpoint that is gone: the client hears nothing, as with UDP anywhere."""
