"""The server on a real socket with real certificates, before a node that is made up."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from sampan.base.clock import SystemClock
from sampan.cluster import pki
from sampan.cluster.tls import client_context, server_context
from sampan.node.streaming import spdy
from sampan.node.streaming.portforward import TUNNEL_PROTOCOL
from sampan.node.streaming.server import StreamServer
from sampan.schema import api
from tests.unit.streaming.fakes import FakeHost, FakeSession

LIMIT_S = 20.0
POD = "shop/web"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    now = datetime.now(UTC)
    authority = pki.make_authority("test", now)
    pki.save(directory, "ca", authority)
    pki.save(directory, "node", pki.issue(authority, "node", now, hosts=("127.0.0.1",)))
    pki.save(directory, "apiserver", pki.issue(authority, "kube-apiserver-kubelet-client", now))
    pki.save(directory, "anna", pki.issue(authority, "anna", now, organizations=("system:authenticated",)))
    return directory


class Client:
    """An HTTP client with a certificate."""

    def __init__(self, http: aiohttp.ClientSession, port: int, tls: ssl.SSLContext) -> None:
        self._http = http
        self._base = f"https://127.0.0.1:{port}"
        self._tls = tls

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(self._base + path, ssl=self._tls) as answer:
            return answer.status, await answer.text()

    def socket(self, path: str, *protocols: str) -> Any:
        return self._http.ws_connect(self._base + path, protocols=protocols, ssl=self._tls)


@asynccontextmanager
async def serving(host: FakeHost, certificates: Path, who: str = "apiserver") -> AsyncIterator[Client]:
    authority = certificates / "ca.crt"
    server = StreamServer(host, SystemClock(), server_context(authority, certificates, "node"))
    port = await server.start("127.0.0.1")
    if who:
        tls = client_context(authority, certificates, who)
    else:
        tls = ssl.create_default_context(cafile=str(authority))
    try:
        async with asyncio.timeout(LIMIT_S), aiohttp.ClientSession() as http:
            yield Client(http, port, tls)
    finally:
        await server.close()


def run(
    host: FakeHost,
    certificates: Path,
    test: Callable[[Client], Coroutine[Any, Any, None]],
    who: str = "apiserver",
) -> None:
    async def main() -> None:
        async with serving(host, certificates, who) as client:
            await test(client)

    asyncio.run(main())


@pytest.mark.parametrize(("who", "code"), [("", 401), ("anna", 403), ("apiserver", 200)])
def test_only_the_api_server_and_admins_get_past_healthz(certificates: Path, who: str, code: int) -> None:
    async def test(client: Client) -> None:
        assert await client.get("/healthz") == (200, "ok")
        status, body = await client.get("/pods")
        assert status == code
        answer = msgspec.json.decode(body)
        assert answer["kind"] == ("PodList" if code == 200 else "Status")
        if code == 200:
            assert [pod["metadata"]["name"] for pod in answer["items"]] == ["web"]

    run(FakeHost(), certificates, test, who)


def test_logs(certificates: Path, tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text("".join(f"2026-01-01T00:00:0{n}Z stdout F line {n}\n" for n in range(3)))

    async def test(client: Client) -> None:
        logs = f"/containerLogs/{POD}/main"
        assert await client.get(logs) == (200, "line 0\nline 1\nline 2\n")
        assert await client.get(f"{logs}?tailLines=1&timestamps=true") == (
            200,
            "2026-01-01T00:00:02.000000000Z line 2\n",
        )
        assert await client.get(f"{logs}?sinceTime=2026-01-01T00:00:01Z&limitBytes=8") == (200, "line 1\nl")
        for wrong, code, words in (
            (f"/containerLogs/{POD}/other", 404, 'container "other" not found in pod "web"'),
            ("/containerLogs/shop/none/main", 404, 'pod "none" does not exist'),
            (f"{logs}?tailLines=x", 400, "tailLines must be a number"),
            (f"{logs}?previous=true", 400, 'previous terminated container "main"'),
            ("/nothing", 404, "has no /nothing"),
        ):
            status, body = await client.get(wrong)
            assert (status, msgspec.json.decode(body)["code"]) == (code, code)
            assert words in msgspec.json.decode(body)["message"]

    run(FakeHost(str(path)), certificates, test)


def test_logs_of_a_container_that_waits(certificates: Path) -> None:
    host = FakeHost()
    host.state = api.ContainerState(waiting=api.ContainerStateWaiting(reason="ContainerCreating"))

    async def test(client: Client) -> None:
        status, body = await client.get(f"/containerLogs/{POD}/main?follow=true")
        assert status == 400
        answer = msgspec.json.decode(body)
        assert answer["reason"] == "BadRequest"
        assert answer["message"] == 'container "main" in pod "web" is waiting to start: ContainerCreating'

    run(host, certificates, test)


EXEC = f"/exec/{POD}/main?command=sh&command=-c&stdin=true&stdout=true&stderr=true"


async def messages(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    return [message.data async for message in socket]


def test_exec_with_the_input_ended_by_version_5(certificates: Path) -> None:
    host = FakeHost()

    async def test(client: Client) -> None:
        host.runtime.sessions.append(FakeSession(4))
        async with client.socket(EXEC, "v4.channel.k8s.io", "v5.channel.k8s.io") as socket:
            assert socket.protocol == "v5.channel.k8s.io"
            await socket.send_bytes(b"\x00hello")
            await socket.send_bytes(b"\xff\x00")
            *said, last = await messages(socket)
        assert said == [b"\x01", b"\x01hello", b"\x02end of input"]
        assert last[0] == 3
        assert msgspec.json.decode(last[1:])["details"]["causes"][0]["message"] == "4"
        assert host.runtime.begun == [("1", ("sh", "-c"), False, True)]

    run(host, certificates, test)


@pytest.mark.parametrize("protocol", ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"])
def test_exec_in_base64(certificates: Path, protocol: str) -> None:
    host = FakeHost()

    async def test(client: Client) -> None:
        session = FakeSession(0)
        host.runtime.sessions.append(session)
        async with client.socket(EXEC, protocol) as socket:
            await socket.send_str("0aGk=")
            assert (await socket.receive()).data == "1"
            assert (await socket.receive()).data == "1aGk="
            session.finish()
            rest = await messages(socket)
        assert len(rest) == (1 if protocol.startswith("v4") else 0)

    run(host, certificates, test)


def test_exec_that_cannot_start_is_told_on_the_error_channel(certificates: Path) -> None:
    async def test(client: Client) -> None:
        async with client.socket(EXEC, "v4.channel.k8s.io") as socket:
            (last,) = await messages(socket)
        assert last[0] == 3
        assert msgspec.json.decode(last[1:])["message"] == "no such command"

    run(FakeHost(), certificates, test)


@pytest.mark.parametrize(
    ("path", "running", "code"),
    [
        (f"/exec/{POD}/other?stdout=1&command=x", True, 404),
        (f"/exec/{POD}/main?stdout=1&command=x", False, 500),
        (f"/exec/{POD}/main?stdout=1", True, 400),
        (f"/exec/{POD}/main?command=x", True, 400),
        (f"/portForward/{POD}", True, 400),
        (f"/portForward/{POD}?port=99999", True, 400),
    ],
)
def test_sessions_that_cannot_be_are_refused_before_the_upgrade(
    certificates: Path, path: str, running: bool, code: int
) -> None:
    host = FakeHost()
    host.running = running

    async def test(client: Client) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with client.socket(path, "v4.channel.k8s.io"):
                pass
        assert refused.value.status == code

    run(host, certificates, test)


def test_unknown_subprotocols_and_plain_requests_are_refused(certificates: Path) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with client.socket(EXEC, "soap"):
                pass
        assert refused.value.status == 403
        status, body = await client.get(EXEC)
        assert status == 400 and "Upgrade: websocket" in body

    run(FakeHost(), certificates, test)


def test_a_session_is_closed_when_its_client_vanishes(certificates: Path) -> None:
    host = FakeHost()

    async def test(client: Client) -> None:
        session = FakeSession()
        host.runtime.sessions.append(session)
        async with client.socket(EXEC, "v5.channel.k8s.io") as socket:
            await socket.receive()
            transport = socket.get_extra_info("socket")
            assert transport is not None
            socket._response.connection.transport.abort()
            await session.closed.wait()

    run(host, certificates, test)


@asynccontextmanager
async def shouter() -> AsyncIterator[int]:
    """A server that answers with what it gets in capitals, up to the end; then says that it has ended.

    At the end it waits until all its connections have ended: whoever forwards to it has to see to that.
    """
    tasks: list[asyncio.Task[None]] = []

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.write(b"<end>")
        writer.close()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*tasks)


def test_port_forward_on_channels(certificates: Path) -> None:
    host = FakeHost()

    async def test(client: Client) -> None:
        async with shouter() as port:
            host.runtime.port = port
            path = f"/portForward/{POD}?ports={port}&ports=1"
            async with client.socket(path, "v4.channel.k8s.io") as socket:
                number = struct.pack("<H", port)
                first = [(await socket.receive()).data for _ in range(4)]
                assert first == [b"\x00" + number, b"\x01" + number, b"\x02\x01\x00", b"\x03\x01\x00"]
                await socket.send_bytes(b"\x00hello")
                answers = sorted([(await socket.receive()).data, (await socket.receive()).data])
                assert answers[0] == b"\x00HELLO"
                assert answers[1].startswith(b"\x03error forwarding port 1 to the pod")

    run(host, certificates, test)


def test_port_forward_through_a_tunnel(certificates: Path) -> None:
    host = FakeHost()

    async def test(client: Client) -> None:
        async with shouter() as port:
            host.runtime.port = port
            async with client.socket(f"/portForward/{POD}", TUNNEL_PROTOCOL) as socket:
                assert socket.protocol == TUNNEL_PROTOCOL
                peer = spdy.SpdyConnection(client=True)
                heard: dict[int, bytes] = {}
                ended: set[int] = set()
                wanted = []
                for request, number in enumerate((port, 1, port)):
                    common = {"port": str(number), "requestid": str(request)}
                    error, frame = peer.open({**common, "streamtype": "error"}, fin=True)
                    data, more = peer.open({**common, "streamtype": "data"})
                    text = b"%d" % request + b"x" * 100_000
                    frames = frame + more + peer.data(data, text) + peer.data(data, b"", fin=True)
                    wanted.append((error, data, text.upper() + b"<end>"))
                    for start in range(0, len(frames), 30_000):
                        await socket.send_bytes(frames[start : start + 30_000])
                while len(ended) < 6:
                    for event in peer.receive((await socket.receive()).data)[0]:
                        if isinstance(event, spdy.DataCame):
                            heard[event.stream_id] = heard.get(event.stream_id, b"") + event.data
                            ended |= {event.stream_id} if event.fin else set()
                for error, data, text in (wanted[0], wanted[2]):
                    assert (heard.get(data), heard.get(error)) == (text, b"")
                error, data, _ = wanted[1]
                assert heard[error].startswith(b"error forwarding port 1 to the pod: nothing listens")

    run(host, certificates, test)


def test_a_port_forward_of_garbage_ends_and_the_server_goes_on(certificates: Path) -> None:
    async def test(client: Client) -> None:
        async with client.socket(f"/portForward/{POD}", TUNNEL_PROTOCOL) as socket:
            await socket.send_bytes(b"\x80\x07garbage, and more of it" * 10)
            assert await messages(socket) == []
        assert (await client.get("/healthz"))[0] == 200

    run(FakeHost(), certificates, test)
