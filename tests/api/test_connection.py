"""One connection over loopback: what it answers itself, what it hands to aiohttp, and what order it keeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.http import connection
from sampan.apiserver.http.connection import Connection
from sampan.apiserver.http.heads import Heads
from sampan.apiserver.http.outbox import Outbox
from sampan.store.audience import Lines

LIMIT_S = 20
# More than the kernel takes for a client that reads nothing.
LARGE = b"".join(b"%099d," % number for number in range(230_000))


class Other(asyncio.Protocol):
    """Stands for aiohttp: says what it was handed, and echoes what comes then."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"other:" + data)


class Stream:
    """A watch of this test's own."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sink: Any = None
        self.closed = False

    def send_to(self, sink: Any) -> None:
        self.sink = sink

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.chunks.get()
        if chunk is None:
            raise StopAsyncIteration
        if chunk == b"broken":
            raise ValueError("this chunk cannot be given")
        return chunk

    async def aclose(self) -> None:
        self.closed = True


class Server:
    """Answers with the path and the body; paths that begin with /wait wait for `go`, /watch is a stream."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.seen: list[Request] = []
        self.answered: list[str] = []
        self.cancelled: list[str] = []
        self.open: set[Connection] = set()
        self.others: list[Other] = []
        self.is_proxy = False
        self.outbox = Outbox()
        self.streams: list[Stream] = []

    async def answer(self, request: Request) -> Response:
        self.seen.append(request)
        if request.path.startswith("/wait"):
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled.append(request.path)
                raise
        self.answered.append(request.path)
        if request.path == "/gone":
            raise ConnectionResetError
        if request.path == "/watch":
            self.streams.append(Stream())
            return Response(chunks=self.streams[-1])
        if request.path.startswith("/large"):
            return Response(body=LARGE)
        headers = {"Warning": "one\r\nX-Forged: two"} if request.path == "/warn" else {}
        code = 299 if request.path == "/odd" else 200
        return Response(status=code, body=f"{request.path} {request.body.decode()}".encode(), headers=headers)

    def connection(self) -> Connection:
        return Connection(
            self.answer,
            lambda path: path == "/elsewhere",
            self.other,
            lambda _: (None, self.is_proxy),
            self.open,
            Heads(),
            self.outbox,
        )

    def other(self) -> Other:
        self.others.append(Other())
        return self.others[-1]


def serve(
    work: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> None:
    async def whole() -> None:
        made = Server()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(made.connection, "127.0.0.1", 0)
        async with asyncio.timeout(LIMIT_S), listening:
            reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
            await work(made, reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            for left in [*made.open, *made.others]:
                left.abort()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(whole())


async def reply(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body.decode()


async def watching(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *lines: str
) -> Stream:
    """A watch whose head has been read."""
    head = ["GET /watch?watch=1 HTTP/1.1", "Host: here", *lines]
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert answer.startswith("http/1.1 200")
    assert "transfer-encoding: chunked" in answer
    assert "content-length" not in answer
    return server.streams[-1]


async def chunk_of(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readline(), 16)
    return (await reader.readexactly(size + 2))[:-2]


def post(path: str, body: str, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def get(path: str, *lines: str) -> bytes:
    return ("\r\n".join([f"GET {path} HTTP/1.1", "Host: here", *lines]) + "\r\n\r\n").encode()


def test_requests_one_after_the_other() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(3):
            writer.write(post("/p?a=1&a=2&b=", f"body {number}", "Accept: x", "ACCEPT: y"))
            code, headers, body = await reply(reader)
            assert (code, body) == (200, f"/p body {number}")
            assert headers["content-type"] == "application/json"
            assert headers["date"].endswith("gmt")
        seen = server.seen[0]
        assert (seen.query, seen.query_lists) == ({"a": "1", "b": ""}, {"a": ["1", "2"], "b": [""]})
        assert (seen.accept, seen.host, seen.remote) == ("x", "here", "127.0.0.1")

    serve(work)


def test_answers_keep_the_order_of_requests_that_were_sent_at_once() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/wait", "1") + post("/b", "2") + b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0)
        server.go.set()
        assert [(await reply(reader))[2] for _ in range(3)] == ["/wait 1", "/b 2", "/c "]

    serve(work)


@pytest.mark.parametrize("step", [1, 7, 60])
def test_a_request_may_come_in_pieces(step: int) -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = post("/p", "x" * 50)
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reply(reader))[2] == "/p " + "x" * 50

    serve(work)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/v1/pods?watch=1 HTTP/1.0\r\nHost: h\r\n\r\n",
        b"GET /pods/p/log?follow=true HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /pods/p/%6cog HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /pods/p/exec HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
        b"GET /x HTTP/1.1\nHost: h\n\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: h\r\nA: b\n c\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
    ],
)
def test_what_is_handed_over_with_every_byte(data: bytes) -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/first", "1"))
        await reply(reader)
        writer.write(data)
        assert await reader.readexactly(len(data) + 6) == b"other:" + data
        writer.write(b"more")  # and it stays there
        assert await reader.readexactly(10) == b"other:more"
        assert [request.path for request in server.seen] == ["/first"]
        assert not server.open

    serve(work)


def test_what_a_front_proxy_asks_is_handed_over() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.is_proxy = True
        reader, proxy = await asyncio.open_connection(*writer.get_extra_info("peername"))
        proxy.write(post("/p", ""))
        assert await reader.readexactly(10) == b"other:POST"
        proxy.close()
        await proxy.wait_closed()

    serve(work)


def test_a_head_without_end_is_handed_over() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * connection.HEAD_MOST_BYTES)
        assert await reader.readexactly(10) == b"other:GET "

    serve(work)


def test_a_client_that_goes_ends_what_it_waited_for() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/wait"))
        while not server.seen:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)
        writer.close()
        while server.cancelled != ["/wait"]:  # noqa: ASYNC110 - nor for this
            await asyncio.sleep(0)
        assert not server.open

    serve(work)


def test_a_write_goes_on_when_its_client_has_gone() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/wait", ""))
        while not server.seen:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)
        writer.close()
        while server.open:  # noqa: ASYNC110 - nor for this
            await asyncio.sleep(0)
        assert not server.answered
        server.go.set()
        while server.answered != ["/wait"]:  # noqa: ASYNC110 - nor for this
            await asyncio.sleep(0)
        assert not server.cancelled

    serve(work)


def test_what_follows_a_request_that_closes_is_not_answered() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/a", "Connection: close") + get("/b"))
        assert (await reply(reader))[2] == "/a "
        assert await reader.read() == b""
        assert [request.path for request in server.seen] == ["/a"]

    serve(work)


def test_a_client_that_wants_the_connection_closed_is_obeyed() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/p", "", "Connection: close"))
        _, headers, _ = await reply(reader)
        assert headers["connection"] == "close"
        assert await reader.read() == b""

    serve(work)


def test_a_header_ends_where_its_line_does() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/warn", ""))
        _, headers, _ = await reply(reader)
        assert headers["warning"] == "one  x-forged: two"
        assert "x-forged" not in headers
        writer.write(post("/odd", ""))
        assert (await reply(reader))[0] == 299

    serve(work)


def test_who_floods_is_not_read_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AHEAD_MOST_BYTES", 1000)

    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/wait", ""))
        many = 200
        writer.write(post("/b", "x" * 100) * many)
        while not server.open or next(iter(server.open))._reading:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        server.go.set()
        assert [(await reply(reader))[2][:5] for _ in range(many + 1)] == ["/wait", *["/b xx"[:5]] * many]

    serve(work)


def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /gone HTTP/1.1\r\nHost: h\r\n\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)

    serve(work)


def test_closing_waits_for_the_answer() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post("/wait", "1"))
        while not server.seen:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0)
        (one,) = server.open
        one.close()
        server.go.set()
        _, headers, body = await reply(reader)
        assert (headers["connection"], body) == ("close", "/wait 1")
        assert await reader.read() == b""

    serve(work)


def test_a_large_answer_comes_whole_and_the_next_after_it() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/large") + post("/p", "next"))
        _, headers, body = await reply(reader)
        assert int(headers["content-length"]) == len(LARGE)
        assert body == LARGE.decode()
        assert (await reply(reader))[2] == "/p next"

    serve(work)


async def unread(server: Server, path: str, writer: asyncio.StreamWriter) -> Connection:
    """The connection of a client that has asked for a large answer and does not read it."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(post(path, ""))
    while not server.open or next(iter(server.open))._writable:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    (one,) = server.open
    return one


def test_a_large_answer_waits_for_who_reads_slowly() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        one = await unread(server, "/large", writer)
        for _ in range(50):
            await asyncio.sleep(0)
        assert one._transport is not None
        assert one._transport.get_write_buffer_size() < 10 * connection.PIECE_BYTES
        other_reader, other = await asyncio.open_connection(*writer.get_extra_info("peername"))
        other.write(get("/b"))  # meanwhile others are served
        assert (await reply(other_reader))[2] == "/b "
        other.close()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await reply(reader))[2] == LARGE.decode()
        assert one.is_idle

    serve(work)


def test_a_large_answer_to_who_has_gone_ends() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = (await unread(server, "/large", writer)).task
        assert task is not None
        writer.transport.abort()
        await task  # a write, whose task nobody cancels
        assert not server.open

    serve(work)


def test_a_watch_is_a_chunk_after_the_other_and_the_connection_lives_on() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        stream.chunks.put_nowait(b"one\n")
        assert await chunk_of(reader) == b"one\n"
        stream.chunks.put_nowait(b"")  # nothing, which must not look like the end
        assert stream.sink(Lines(b"x" * 300))
        assert await chunk_of(reader) == b"x" * 300
        stream.chunks.put_nowait(None)
        assert await chunk_of(reader) == b""
        writer.write(post("/p", "after"))
        assert (await reply(reader))[2] == "/p after"
        assert stream.closed

    serve(work)


def test_many_connections_share_the_bytes_of_a_chunk() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        lines = Lines(b"one\n")
        stream.sink(lines)
        wire = lines.wire
        stream.sink(lines)
        assert lines.wire is wire
        assert [await chunk_of(reader) for _ in range(2)] == [b"one\n"] * 2
        stream.chunks.put_nowait(None)
        await chunk_of(reader)

    serve(work)


def test_a_watcher_that_does_not_read_is_not_written_to_without_end() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        piece, fed = b"x" * 100_000, 1
        while stream.sink(Lines(piece)):
            fed += 1
            assert fed < 500, "never told to wait"
        stream.chunks.put_nowait(b"")
        stream.chunks.put_nowait(b"last")
        for _ in range(50):
            await asyncio.sleep(0)
        (one,) = server.open
        assert one._transport is not None
        assert one._transport.get_write_buffer_size() < connection.UNSENT_MOST_BYTES + 2 * len(piece)
        assert stream.chunks.qsize() == 1  # waits as well
        for _ in range(fed):
            assert await chunk_of(reader) == piece
        assert await chunk_of(reader) == b"last"
        stream.chunks.put_nowait(None)
        await chunk_of(reader)

    serve(work)


def test_a_watcher_that_goes_is_forgotten() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        writer.close()
        while not stream.closed:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        assert not server.open
        assert stream.sink(Lines(b"nobody gets this"))

    serve(work)


def test_a_server_that_closes_cuts_watches_short() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        (one,) = server.open
        one.close()
        assert await reader.read() == b""
        assert stream.closed

    serve(work)


def test_a_watch_of_who_wants_the_connection_closed_ends_with_it() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer, "Connection: close")
        stream.chunks.put_nowait(None)
        assert await reader.read() == b"0\r\n\r\n"

    serve(work)


def test_a_watch_that_breaks_does_not_look_complete(caplog: pytest.LogCaptureFixture) -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await watching(server, reader, writer)
        stream.chunks.put_nowait(b"broken")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert stream.closed

    serve(work)
    assert "its next part cannot be given" in caplog.text


def test_an_answer_that_says_how_long_it_may_be_kept_says_nothing_else() -> None:
    plain = connection._head(Response(), keeps=True)
    assert plain.count(b"Cache-Control: no-cache, private\r\n") == plain.count(b"Cache-Control") == 1
    kept = connection._head(Response(headers={"Cache-Control": "public, immutable"}), keeps=True)
    assert kept.count(b"Cache-Control: public, immutable\r\n") == kept.count(b"Cache-Control") == 1


def test_answers_of_one_turn_are_written_when_all_are_made() -> None:
    written: list[tuple[str, bytes]] = []

    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        def write(self, data: bytes) -> None:
            if data == b"broken":
                raise ValueError("this answer cannot be written")
            written.append((self.name, data))

    async def work() -> None:
        outbox, one, other = Outbox(), Client("one"), Client("other")
        outbox.add(one, b"1")
        outbox.add(other, b"broken")
        outbox.add(other, b"2")
        begun_later = asyncio.ensure_future(asyncio.sleep(0))
        begun_later.add_done_callback(lambda _: written.append(("later", b"")))
        assert written == []
        await begun_later
        await asyncio.sleep(0)
        assert written == [("one", b"1"), ("other", b"2"), ("later", b"")]
        outbox.add(one, b"3")
        outbox.flush()
        assert written[3:] == [("one", b"3")]
        await asyncio.sleep(0)
        assert len(written) == 4

    asyncio.run(work())


def test_an_answer_comes_before_what_aiohttp_says_to_the_next_request() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/a") + get("/elsewhere"))
        assert (await reply(reader))[2] == "/a "
        assert await reader.readexactly(6) == b"other:"

    serve(work)


def test_a_server_that_closes_sends_the_answers_that_are_made() -> None:
    async def work(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(get("/a"))
        while not server.answered:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        (one,) = server.open
        one.close()
        assert (await reply(reader))[2] == "/a "
        assert await reader.read() == b""

    serve(work)
