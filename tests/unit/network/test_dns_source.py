"""The zone fed by an API server: in process, and over HTTP as from within a pod."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.network.dns.access import PodTransport, Refused, in_pod
from sampan.network.dns.answer import Zone
from sampan.network.dns.source import Source, ZoneFeed
from sampan.network.dns.wire import A
from tests.fakes.apiserver import FakeServer
from tests.unit.network.test_dns_answers import DB, DB_SLICE, WEB, D, said

DEADLINE_S = 20.0


class World:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.server = FakeServer()
        self.client = Client(self.server)
        self.zone = Zone(D)
        self.source = Source(self.server, ZoneFeed(self.zone), self.clock)

    async def until(self, name: str, expected: Any) -> None:
        """Move the clock on until the zone says so."""
        while said(self.zone, name, A) != expected:
            await self.clock.advance(0.1)


def run(steps: Callable[[World], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        world = World()
        running = asyncio.create_task(world.source.run())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await steps(world)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(all_of_it())


def test_services_come_change_and_go() -> None:
    async def steps(world: World) -> None:
        await world.source.synced()
        await world.client.create(WEB)
        await world.until(f"web.default.svc.{D}", ["10.96.0.10"])
        await world.client.create(DB)
        await world.client.create(DB_SLICE)
        await world.until(f"db.default.svc.{D}", ["10.88.0.5", "10.88.0.6"])
        await world.client.delete(type(WEB), "web", "default")
        await world.until(f"web.default.svc.{D}", "NXDOMAIN")

    run(steps)


def test_a_server_that_is_down_is_asked_again() -> None:
    async def steps(world: World) -> None:
        world.server.down = True
        await world.clock.advance(5)
        assert not world.source.is_synced
        world.server.down = False
        await world.client.create(WEB)
        await world.until(f"web.default.svc.{D}", ["10.96.0.10"])
        assert world.source.is_synced

    run(steps)


class Pages:
    """An HTTP server on loopback that answers with what it is given, and keeps what it was asked."""

    def __init__(self, *parts: bytes) -> None:
        self.parts, self.heads = parts, list[str]()

    async def __aenter__(self) -> Pages:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        for part in self.parts:
            writer.write(part)
            await writer.drain()
        writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_pod_transport_reads_lists_and_watches(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")

    async def lists() -> None:
        body = json.dumps({"items": []}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        async with Pages(head, body) as pages:
            transport = PodTransport("127.0.0.1", pages.port, None, token)
            reply = await transport.request("GET", "/api/v1/services", {"limit": "500"})
            assert (reply.status, reply.body) == (200, body)
            assert pages.heads[0].startswith("GET /api/v1/services?limit=500 HTTP/1.1\r\n")
            assert "Authorization: Bearer secret\r\n" in pages.heads[0]

    async def watches() -> None:
        # Lines do not end where chunks do.
        chunks = (chunk(b'{"a":'), chunk(b'1}\n{"b":2}\n{"c"'), chunk(b":3}\n"), b"0\r\n\r\n")
        async with Pages(CHUNKED, *chunks) as pages:
            transport = PodTransport("127.0.0.1", pages.port, None, token)
            lines = [line async for line in transport.stream("/x", {"watch": "true"})]
            assert lines == [b'{"a":1}', b'{"b":2}', b'{"c":3}']

    asyncio.run(asyncio.wait_for(lists(), DEADLINE_S))
    asyncio.run(asyncio.wait_for(watches(), DEADLINE_S))


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ((b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone",), Refused),
        ((CHUNKED, b"5\r\nab"), ConnectionError),
        ((b"HTTP/1.1 200",), ConnectionError),
        ((b"SSH-2.0-x\r\n\r\n",), ConnectionError),
    ],
)
def test_pod_transport_says_what_is_wrong(parts: tuple[bytes, ...], error: type[Exception]) -> None:
    async def steps() -> None:
        async with Pages(*parts) as pages:
            transport = PodTransport("127.0.0.1", pages.port, None, None)
            with pytest.raises(error):
                [line async for line in transport.stream("/x")]

    asyncio.run(asyncio.wait_for(steps(), DEADLINE_S))


def test_outside_of_a_pod_there_is_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SampanError, match="--kubeconfig"):
        in_pod()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(SampanError, match="cannot be read"):
        in_pod(tmp_path)
