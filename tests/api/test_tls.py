"""The server's TLS over loopback: handshakes, order, limits and ends, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.apiserver.http import tls
from sampan.apiserver.http.tls import Sends, TlsTransport
from sampan.cluster import pki
from sampan.cluster.tls import client_context, server_context

LIMIT_S = 20
# More than the kernel takes for a client that reads nothing.
LARGE = b"".join(b"%099d," % number for number in range(150_000))
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, now = tmp_path_factory.mktemp("pki"), datetime.now(UTC)
    authority = pki.make_authority("authority", now)
    pki.save(directory, "ca", authority)
    pki.save(directory, "server", pki.issue(authority, "here", now, hosts=("127.0.0.1",)))
    pki.save(directory, "client", pki.issue(authority, "somebody", now))
    return directory


@pytest.fixture(params=list(LOOPS))
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


class Echo(asyncio.Protocol):
    """Gives back what comes; some words ask for more."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.writable = True
        self.pauses = 0
        self.said_goodbye = False
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if data == b"close":
            self.transport.write(LARGE)
            self.transport.close()
        else:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.said_goodbye = True

    def pause_writing(self) -> None:
        self.writable = False
        self.pauses += 1

    def resume_writing(self) -> None:
        self.writable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Server:
    def __init__(self, files: Path, port: int, made: list[Echo], sends: Sends) -> None:
        self.files = files
        self.port = port
        self.made = made
        self.sends = sends

    async def connected(self, count: int = 1) -> Echo:
        while len(self.made) < count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        return self.made[-1]

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
        context = client_context(self.files / "ca.crt", self.files, "client")
        for name, value in options.items():
            setattr(context, name, value)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@pytest.fixture
def serve(
    files: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> Callable[[Callable[[Server], Coroutine[Any, Any, None]]], None]:
    async def whole(work: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
        context = server_context(files / "ca.crt", files, "server")
        made: list[Echo] = []
        raws: list[TlsTransport] = []
        sends = Sends()

        def echo() -> Echo:
            made.append(Echo())
            return made[-1]

        def transport() -> TlsTransport:
            raws.append(TlsTransport(context, echo, sends))
            return raws[-1]

        listening = await asyncio.get_running_loop().create_server(transport, "127.0.0.1", 0)
        try:
            async with asyncio.timeout(LIMIT_S):
                await work(Server(files, listening.sockets[0].getsockname()[1], made, sends))
        finally:
            listening.close()
            for each in raws:
                each.abort()
            for one in made:
                await one.lost.wait()

    def run(work: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(whole(work))

    return run


Serve = Callable[[Callable[[Server], Coroutine[Any, Any, None]]], None]


class ByHand:
    """A client that sends its bytes as a test says."""

    def __init__(self, port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl._create_unverified_context()
        context.maximum_version = version
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.loop = asyncio.get_running_loop()

    async def send(self, piece: int = 1 << 20) -> None:
        data = self.outgoing.read()
        for start in range(0, len(data), piece):
            await self.loop.sock_sendall(self.socket, data[start : start + piece])
            await asyncio.sleep(0)

    async def until(self, step: Callable[[], Any], piece: int = 1 << 20) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self.send(piece)
                data = await self.loop.sock_recv(self.socket, 1 << 16)
                if not data:
                    self.incoming.write_eof()
                self.incoming.write(data)

    async def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self.until(lambda: self.tls.read(1 << 16))
        return data


@contextlib.contextmanager
def by_hand(server: Server, **options: Any) -> Iterator[ByHand]:
    client = ByHand(server.port, **options)
    try:
        yield client
    finally:
        client.socket.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_is_sent_comes_back_whatever_its_size(serve: Serve, version: ssl.TLSVersion) -> None:
    async def work(server: Server) -> None:
        async with server.client(maximum_version=version) as (reader, writer):
            for size in (1, 16_384, 16_385, 100_000, 3_000_000):
                writer.write(LARGE[:size])
                assert await reader.readexactly(size) == LARGE[:size]
            assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")

    serve(work)


def test_a_client_certificate_is_told(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            transport = server.made[0].transport
            assert dict(part[0] for part in transport.get_extra_info("peercert")["subject"]) == {
                "commonName": "somebody"
            }
            assert transport.get_extra_info("peername") == writer.get_extra_info("sockname")
            assert transport.get_extra_info("no such thing", "else") == "else"
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            await client.send()
            made = await server.connected(2)
            assert made.transport.get_extra_info("peercert") is None

    serve(work)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_may_come_byte_by_byte(serve: Serve, version: ssl.TLSVersion) -> None:
    async def work(server: Server) -> None:
        with by_hand(server, version=version) as client:
            await client.until(client.tls.do_handshake, 1)
            client.tls.write(b"one")
            await client.send(1)
            assert await client.read(3) == b"one"

    serve(work)


def test_what_comes_with_the_end_of_the_handshake_is_heard(serve: Serve) -> None:
    async def work(server: Server) -> None:
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            # One segment: the client's last flight, and several records.
            for word in (b"one", b"two", LARGE[:40_000]):
                data = memoryview(word)
                while data:
                    data = data[client.tls.write(data) :]
            await client.send()
            assert await client.read(40_006) == b"onetwo" + LARGE[:40_000]

    serve(work)


def test_who_speaks_plain_http_is_told(serve: Serve) -> None:
    async def work(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        assert answer.endswith(b"Client sent an HTTP request to an HTTPS server.\n")
        writer.close()
        await writer.wait_closed()
        assert not server.made

    serve(work)


def test_who_speaks_no_tls_at_all_is_closed(serve: Serve) -> None:
    async def work(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01\x00\x05hello" + b"\x00" * 50)
        assert (await reader.read())[:1] == b"\x15"  # an alert
        writer.close()
        await writer.wait_closed()

    serve(work)


def test_a_broken_record_ends_the_connection(serve: Serve) -> None:
    async def work(server: Server) -> None:
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            await client.send()
            made = await server.connected()
            client.tls.write(b"one")
            broken = bytearray(client.outgoing.read())
            broken[-1] ^= 1
            await client.loop.sock_sendall(client.socket, broken)
            await made.lost.wait()
            with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
                await client.read(3)
            assert made.heard == b""

    serve(work)


def test_a_handshake_has_its_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_LIMIT_S", 0.01)

    async def work(server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    serve(work)


def test_a_goodbye_is_told_and_answered(serve: Serve) -> None:
    async def work(server: Server) -> None:
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            client.tls.write(b"last")
            # Said by shutting down, without waiting for the answer to it.
            with pytest.raises(ssl.SSLWantReadError):
                client.tls.unwrap()
            await client.send()
            assert await client.read(4) == b"last"
            with pytest.raises(ssl.SSLZeroReturnError):
                await client.until(lambda: client.tls.read(1))
            made = await server.connected()
            await made.lost.wait()
            assert made.said_goodbye

    serve(work)


def test_a_client_that_goes_without_a_word_is_gone(serve: Serve) -> None:
    async def work(server: Server) -> None:
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            await client.send()
            made = await server.connected()
        await made.lost.wait()
        assert not made.said_goodbye
        assert made.transport.is_closing()
        made.transport.write(b"nobody hears this")
        made.transport.write_soon(b"nor this")
        made.transport.close()

    serve(work)


def test_the_last_answer_comes_whole_with_a_goodbye(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"close")
            made = await server.connected()
            while not made.heard:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            # Too late: it must not turn the answer into a reset.
            writer.write(b"more that nobody reads")
            assert await reader.readexactly(len(LARGE)) == LARGE
            assert await reader.read() == b""
            writer.close()
            await made.lost.wait()

    serve(work)


def test_who_does_not_answer_a_goodbye_is_closed_in_the_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "GOODBYE_LIMIT_S", 0.01)

    async def work(server: Server) -> None:
        with by_hand(server) as client:
            await client.until(client.tls.do_handshake)
            await client.send()
            made = await server.connected()
            made.transport.write(LARGE)
            made.transport.close()
            made.transport.close()
            await made.lost.wait()

    serve(work)


def test_a_paused_protocol_gets_nothing_until_it_goes_on(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"one")
            assert await reader.readexactly(3) == b"one"
            (made,) = server.made
            made.transport.pause_reading()
            assert not made.transport.is_reading()
            writer.write(LARGE)
            for _ in range(20):
                await asyncio.sleep(0)
            assert made.heard == b"one"
            made.transport.resume_reading()
            assert await reader.readexactly(len(LARGE)) == LARGE

    serve(work)


def test_a_slow_client_pauses_writing(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            (made,) = server.made
            made.transport.set_write_buffer_limits(64_000)
            assert made.transport.get_write_buffer_limits()[1] == 64_000
            written = 0
            while not made.pauses:
                made.transport.write(LARGE[:50_000])
                written += 50_000
                assert written < len(LARGE)
            assert made.transport.get_write_buffer_size() > 0
            while not made.writable:
                written -= len(await reader.read(50_000))
            await reader.readexactly(written)
            assert made.pauses == 1

    serve(work)


def test_what_is_written_soon_keeps_its_order(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            transport = server.made[0].transport
            transport.write_soon(b"1")
            transport.write_soon(b"2")
            transport.writelines([b"3", b"4"])
            transport.write_soon(b"5")
            transport.close()
            assert await reader.read() == b"12345"

    serve(work)


def test_what_is_written_soon_waits_for_what_is_still_unsent(serve: Serve) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            (made,) = server.made
            made.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for start in range(0, 1_980_000, 60_000):
                made.transport.write_soon(LARGE[start : start + 60_000])
                server.sends.flush()
            assert not made.writable
            made.transport.write(b"end")
            assert await reader.readexactly(1_980_003) == LARGE[:1_980_000] + b"end"

    serve(work)


def test_nothing_is_sent_past_a_transport_that_closes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    really = os.write

    def write(fd: int, data: bytes) -> int:
        sent.append(fd)
        return really(fd, data)

    async def work(server: Server) -> None:
        async with server.client() as (reader, writer), server.client() as (other_reader, other):
            for each, heard in ((writer, reader), (other, other_reader)):
                each.write(b"x")
                await heard.readexactly(1)
            gone, there = (made.transport for made in server.made)
            monkeypatch.setattr(os, "write", write)
            fds = [each.get_extra_info("socket").fileno() for each in (gone, there)]
            gone.write_soon(b"to nobody")
            there.write_soon(b"to somebody")
            gone.abort()
            server.sends.flush()
            monkeypatch.undo()
            assert sent == fds[1:]
            assert await other_reader.readexactly(11) == b"to somebody"
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    serve(work)


def test_a_socket_that_cannot_be_sent_to_ends_its_connection_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer), server.client() as (other_reader, other):
            for each, heard in ((writer, reader), (other, other_reader)):
                each.write(b"x")
                await heard.readexactly(1)
            bad, good = (made.transport for made in server.made)
            broken_fd = bad.get_extra_info("socket").fileno()
            really = os.write

            def write(fd: int, data: bytes) -> int:
                if fd == broken_fd:
                    raise BrokenPipeError
                if len(data) > 40:
                    raise BlockingIOError
                return really(fd, data)

            monkeypatch.setattr(os, "write", write)
            bad.write_soon(b"lost")
            good.write_soon(b"here" * 20)
            server.sends.flush()
            monkeypatch.undo()
            await server.made[0].lost.wait()
            assert await other_reader.readexactly(80) == b"here" * 20
            assert not server.made[1].lost.is_set()

    serve(work)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_keys_may_be_renewed_by_the_client(serve: Serve) -> None:
    async def work(server: Server) -> None:
        client = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        try:
            for word in (b"before", b"after", b"later"):
                client.stdin.write(word + b"\n")
                while word + b"\n" not in await client.stdout.readline():
                    pass
                # "K" has the client ask for new keys of both sides.
                client.stdin.write(b"K\n")
                while b"KEYUPDATE" not in await client.stdout.readline():
                    pass
            assert server.made[0].heard == b"before\nafter\nlater\n"
        finally:
            client.kill()
            await client.communicate()

    serve(work)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "soon", "flush", "turn", "read"]), st.integers(1, 70_000)),
        max_size=40,
    )
)
def test_all_that_is_written_comes_once_and_in_order(serve: Serve, steps: list[tuple[str, int]]) -> None:
    async def work(server: Server) -> None:
        async with server.client() as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            transport = server.made[0].transport
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            written = heard = 0
            for step, size in steps:
                if step == "write":
                    transport.write(LARGE[written : written + size])
                    written += size
                elif step == "soon":
                    transport.write_soon(LARGE[written : written + size])
                    written += size
                elif step == "flush":
                    server.sends.flush()
                elif step == "turn":
                    await asyncio.sleep(0)
                else:
                    size = min(size, written - heard)
                    assert await reader.readexactly(size) == LARGE[heard : heard + size]
                    heard += size
            transport.close()
            assert await reader.read() == LARGE[heard:written]

    serve(work)
