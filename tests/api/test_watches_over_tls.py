"""Watches as clients have them, over TLS: each gets each event of its selector once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.apiserver.core.users import User
from sampan.apiserver.http.relay import Relay
from sampan.apiserver.http.serve import HttpServer
from sampan.cluster import pki
from sampan.cluster.tls import server_context
from tests.api.server import MERGE, Api, run

PATH = "/api/v1/namespaces/default/configmaps"
NAMES = ("a", "b", "c", "d")
COLOURS = ("red", "green")
LIMIT_S = 30
# So large that some of them are more than sockets take for a client that does not read.
PADDING = "x" * 20_000

Object = dict[str, Any]
Seen = tuple[str, str, str]


class Selector(NamedTuple):
    query: str
    match: Callable[[Object], bool]


SELECTORS = (
    Selector("", lambda _: True),
    Selector("&labelSelector=colour%3Dred", lambda found: bool(found["labels"]["colour"] == "red")),
    Selector("&labelSelector=colour%21%3Dred", lambda found: bool(found["labels"]["colour"] != "red")),
    Selector("&fieldSelector=metadata.name%3Da", lambda found: bool(found["name"] == "a")),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, now = tmp_path_factory.mktemp("pki"), datetime.now(UTC)
    authority = pki.make_authority("authority", now)
    pki.save(directory, "ca", authority)
    pki.save(directory, "server", pki.issue(authority, "server", now, hosts=("127.0.0.1",)))
    return directory


class Client:
    """One watch; it reads only when told to."""

    def __init__(self, selector: Selector) -> None:
        self.selector = selector
        self.expected: list[Seen] = []

    async def connect(self, files: Path, port: int, revision: str) -> None:
        plain = socket.socket()
        # Little, so that who does not read is soon not written to.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        context = ssl.create_default_context(cafile=str(files / "ca.crt"))
        self.reader, self.writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname="127.0.0.1", limit=1024
        )
        query = f"?watch=1&resourceVersion={revision}{self.selector.query}"
        head = "Host: here\r\nAuthorization: Bearer secret\r\n\r\n"
        self.writer.write(f"GET {PATH}{query} HTTP/1.1\r\n{head}".encode())
        assert (await self.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    async def seen(self, count: int) -> list[Seen]:
        """The first lines, and what came with the last of them."""
        data = b""
        while data.count(b"\n") < count:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data += (await self.reader.readexactly(size + 2))[:-2]
        return [_seen(msgspec.json.decode(line)) for line in data.splitlines()]

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


def _seen(event: Object) -> Seen:
    found = event["object"]
    return event["type"], found["metadata"]["name"], found["metadata"]["resourceVersion"]


class World:
    """What there is, and what each watch must have been told of it."""

    def __init__(self, api: Api, files: Path, port: int) -> None:
        self.api = api
        self.files = files
        self.port = port
        self.there: dict[str, Object] = {}
        self.clients: list[Client] = []

    async def watch(self, selector: Selector) -> None:
        client = Client(selector)
        revision = (await self.api.call("GET", PATH)).ok()["metadata"]["resourceVersion"]
        await client.connect(self.files, self.port, revision)
        self.clients.append(client)

    async def change(self, name: str, colour: str) -> None:
        """Make the object, give it that colour, or delete it where it has it."""
        before = self.there.get(name)
        labels = {"colour": colour}
        if before is None:
            body = {"metadata": {"name": name, "labels": labels}, "data": {"padding": PADDING}}
            found = (await self.api.call("POST", PATH, body)).ok(201)["metadata"]
        elif before["labels"] != labels:
            change = {"metadata": {"labels": labels}}
            found = (await self.api.call("PATCH", f"{PATH}/{name}", change, media=MERGE)).ok()["metadata"]
        else:
            (await self.api.call("DELETE", f"{PATH}/{name}")).ok()
            del self.there[name]
            revision = (await self.api.call("GET", PATH)).ok()["metadata"]["resourceVersion"]
            self._tell(name, before, None, revision)
            return
        self.there[name] = found
        self._tell(name, before, found, found["resourceVersion"])

    def _tell(self, name: str, before: Object | None, now: Object | None, revision: str) -> None:
        for client in self.clients:
            was = before is not None and client.selector.match(before)
            if now is not None and client.selector.match(now):
                client.expected.append(("MODIFIED" if was else "ADDED", name, revision))
            elif was:
                client.expected.append(("DELETED", name, revision))


def _served(files: Path, work: Callable[[World, HttpServer], Coroutine[Any, Any, None]]) -> None:
    async def whole(api: Api) -> None:
        http = HttpServer(api.server, Relay())
        port = await http.start("127.0.0.1", 0, server_context(files / "ca.crt", files, "server"))
        world = World(api, files, port)
        try:
            async with asyncio.timeout(LIMIT_S):
                await work(world, http)
                for client in world.clients:
                    assert await client.seen(len(client.expected)) == client.expected
        finally:
            for client in world.clients:
                await client.close()
            await http.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(whole, static_tokens={"secret": User("root", ("system:masters",))}))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(NAMES), st.sampled_from(COLOURS)),
        st.tuples(st.just("watch"), st.sampled_from(SELECTORS), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 100), st.none()),
        st.tuples(st.just("turn"), st.integers(0, 10), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(st.sampled_from(SELECTORS), min_size=1, max_size=6), steps=STEPS)
def test_each_watch_is_told_of_its_events_once_and_in_order(
    files: Path, first: list[Selector], steps: list[tuple[str, Any, Any]]
) -> None:
    async def work(world: World, http: HttpServer) -> None:
        for selector in first:
            await world.watch(selector)
        for step, what, colour in steps:
            if step == "change":
                await world.change(what, colour)
            elif step == "watch":
                await world.watch(what)
            elif step == "leave" and world.clients:
                await world.clients.pop(what % len(world.clients)).close()
            elif step == "turn":
                for _ in range(what):
                    await asyncio.sleep(0.001)

    _served(files, work)


def test_who_does_not_read_keeps_nobody_from_reading(files: Path) -> None:
    async def work(world: World, http: HttpServer) -> None:
        for selector in (SELECTORS[0], SELECTORS[0], SELECTORS[1]):
            await world.watch(selector)
        for one in http._connections:
            assert one._transport is not None
            one._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        slow, quick = world.clients[:2]
        for number in range(120):
            await world.change(NAMES[number % 2], COLOURS[number // 2 % 2])
            if number % 10 == 9:
                seen = await quick.seen(len(quick.expected))
                assert seen == quick.expected
                quick.expected.clear()
        # Who does not read cannot be written to, and gets all of it in the end.
        assert not all(one._writable for one in http._connections)
        assert len(slow.expected) == 120

    _served(files, work)


def test_a_watcher_that_leaves_while_lines_wait_for_it_is_left_out(files: Path) -> None:
    async def work(world: World, http: HttpServer) -> None:
        for _ in range(5):
            await world.watch(SELECTORS[0])
        for number in range(60):
            await world.change(NAMES[number % 3], COLOURS[number // 3 % 2])
            if number in (20, 21):
                await world.clients.pop(1).close()
        while len(http._connections) > 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    _served(files, work)
