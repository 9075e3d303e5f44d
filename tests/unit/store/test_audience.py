"""Delivery to many watchers: whatever gathers, blocks, comes and goes, each gets its lines once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.store import audience
from sampan.store.audience import Lines, Watcher
from sampan.store.backend import Change
from sampan.store.items import BOOKMARK, Item
from sampan.store.watchcache import KindCache

PODS = "/registry/core/pods/"


def is_even(item: Item) -> bool:
    return item.revision % 2 == 0


def bookmark(revision: int) -> bytes:
    return b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d"}}}\n' % revision


class Client:
    """A watcher's transport, and the task that an HTTP connection would have."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.got: list[int] = []
        self.writes = 0
        self.open = asyncio.Event()
        self.open.set()
        self.over = False
        self.takes = True
        watcher.sink = self.take
        self.task = asyncio.create_task(self._read())

    def take(self, lines: Lines) -> bool:
        assert self.takes, "it said that it could take no more"
        self.note(lines.data)
        self.takes = self.open.is_set()
        return self.takes

    def note(self, data: bytes) -> None:
        self.writes += 1
        for line in data.splitlines():
            event = msgspec.json.decode(line)
            revision = int(event["object"]["metadata"]["resourceVersion"])
            if event["type"] == BOOKMARK:
                assert not self.got or self.got[-1] < revision
            else:
                self.got.append(revision)

    async def _read(self) -> None:
        while True:
            await self.open.wait()
            self.takes = True
            lines = await self.watcher.next()
            if lines:
                self.note(lines)
            elif self.watcher.ended or self.watcher.expired:
                self.over = True
                return

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.watcher.close()


class World:
    """A kind whose objects change, and its clients."""

    def __init__(self) -> None:
        self.pods = KindCache(PODS, 0)
        self.revision = 0
        self.changes: list[int] = []
        self.clients: list[tuple[Client, int, bool]] = []

    def change(self) -> None:
        self.revision += 1
        self.changes.append(self.revision)
        value = msgspec.json.encode({"metadata": {"resourceVersion": "", "name": f"p{self.revision}"}})
        key = f"{PODS}default/p{self.revision}"
        self.pods.apply(Change(key, self.revision, self.revision, value, None))

    def bookmark(self) -> None:
        """Something else changes, and all are told how far they have seen."""
        self.revision += 1
        for watcher in list(self.pods.watchers()):
            if watcher.told() < self.revision:
                watcher.push(bookmark(self.revision), self.revision)

    def watch(self, after: int | None = None, evens: bool = False) -> Client:
        client = Client(self.pods.watch(after, match=is_even if evens else None))
        self.clients.append((client, self.revision if after is None else after, evens))
        return client

    def is_told(self) -> bool:
        return all(client.got == self.wanted(after, evens) for client, after, evens in self.clients)

    def wanted(self, after: int, evens: bool) -> list[int]:
        return [n for n in self.changes if n > after and (not evens or n % 2 == 0)]


def run(work: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        async with asyncio.timeout(20):
            await work(world)
            for client, _, _ in world.clients:
                await client.stop()
        assert not list(world.pods.watchers())
        assert not world.pods._audiences

    asyncio.run(main())


async def settled(world: World) -> None:
    while not world.is_told():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 64]), st.sampled_from([60, 10**6]))
def test_each_watcher_gets_every_line_once_and_in_order(seed: int, cohort: int, most_bytes: int) -> None:
    chance = random.Random(seed)

    async def work(world: World) -> None:
        for _ in range(150):
            match chance.randrange(8):
                case 0 if len(world.clients) < 30:
                    world.watch(
                        chance.choice([None, chance.randint(0, world.revision)]), chance.random() < 0.3
                    )
                case 1 | 2 if world.clients:
                    client, _, _ = chance.choice(world.clients)
                    client.open.clear()  # the next write is the last it takes
                case 3 if world.clients:
                    chance.choice(world.clients)[0].open.set()
                case 4 if world.clients:
                    client, _, _ = world.clients.pop(chance.randrange(len(world.clients)))
                    await client.stop()
                case 5 if chance.random() < 0.2:
                    world.bookmark()
                case 5:
                    await asyncio.sleep(0)
                case _:
                    world.change()
        for client, _, _ in world.clients:
            client.open.set()
        await settled(world)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience, "COHORT_WATCHERS", cohort)
        patch.setattr(audience, "WRITE_MOST_BYTES", most_bytes)
        patch.setattr(audience, "GATHER_EACH_S", chance.choice([0.0, 0.001]))
        run(work)


def test_a_lone_watcher_gets_its_line_at_once_after_a_quiet_while() -> None:
    async def work(world: World) -> None:
        client = world.watch()
        await asyncio.sleep(0)
        world.change()
        await asyncio.sleep(0)
        assert client.got == [1]

    run(work)


def test_changes_in_quick_succession_are_one_write_for_a_lone_watcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audience, "GATHER_LEAST_S", 60.0)
    monkeypatch.setattr(audience, "GATHER_MOST_S", 60.0)

    async def work(world: World) -> None:
        client = world.watch()
        await asyncio.sleep(0)
        world.change()
        await asyncio.sleep(0)
        for _ in range(10):
            world.change()
            await asyncio.sleep(0)
        assert client.got == [1]
        client.watcher.end()  # which lets it have what gathers
        await settled(world)
        assert client.got == list(range(1, 12))
        assert client.writes == 2

    run(work)


def test_lines_gather_for_many_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "COHORT_WATCHERS", 2)
    monkeypatch.setattr(audience.Audience, "gathers_s", lambda self: 0.02)

    async def work(world: World) -> None:
        clients = [world.watch() for _ in range(6)]
        await asyncio.sleep(0)
        world.change()
        for _ in range(3):  # one cohort in each turn of the event loop
            await asyncio.sleep(0)
        assert [client.got for client in clients] == [[1]] * 6
        for _ in range(10):
            world.change()
            await asyncio.sleep(0)
        await settled(world)
        assert max(client.writes for client in clients) <= 3

    run(work)


def test_a_turn_of_the_event_loop_writes_to_one_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever asks something meanwhile waits for a few writes, and not for all of them."""
    monkeypatch.setattr(audience, "COHORT_WATCHERS", 2)

    async def work(world: World) -> None:
        clients = [world.watch() for _ in range(6)]
        await asyncio.sleep(0)
        world.change()
        told = []
        for _ in range(3):
            await asyncio.sleep(0)
            told.append(sum(client.got == [1] for client in clients))
        assert told == [2, 4, 6]

    run(work)


def test_large_audiences_gather_for_longer_than_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "COHORT_WATCHERS", 2)

    async def work(world: World) -> None:
        gathers = []
        for wanted in (2, 3, 100, 1000):
            while len(world.clients) < wanted:
                world.watch()
            await asyncio.sleep(0)
            (watched,) = world.pods._audiences[""]
            gathers.append(watched.gathers_s())
        least, most = audience.GATHER_LEAST_S, audience.GATHER_MOST_S
        assert gathers == pytest.approx([least, least, 98 * audience.GATHER_EACH_S, most])

    run(work)


def test_watchers_of_one_audience_are_given_the_same_bytes() -> None:
    async def work(world: World) -> None:
        given_lines: list[Lines] = []
        for _ in range(3):
            client = world.watch()
            client.watcher.sink = lambda lines, note=client.note: (  # type: ignore[misc]
                given_lines.append(lines) or note(lines.data) or True  # type: ignore[func-returns-value]
            )
        await asyncio.sleep(0)
        world.change()
        await settled(world)
        assert len({id(lines) for lines in given_lines}) == 1

    run(work)


def test_who_can_take_no_more_falls_behind_alone_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "WATCHER_LAG_EVENTS", 5)
    monkeypatch.setattr(audience.Audience, "gathers_s", lambda self: 0.0)

    async def work(world: World) -> None:
        slow, quick = world.watch(), world.watch()
        await asyncio.sleep(0)
        slow.open.clear()
        for _ in range(20):
            world.change()
            await asyncio.sleep(0)
        assert slow.watcher.expired
        assert not quick.watcher.expired
        slow.open.set()
        await asyncio.sleep(0.001)
        assert slow.over
        assert len(slow.got) < 5
        world.clients.remove((slow, 0, False))
        await slow.stop()
        await settled(world)

    run(work)


def test_more_than_anybody_may_lag_behind_at_once_expires_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "WATCHER_LAG_EVENTS", 5)

    async def work(world: World) -> None:
        clients = [world.watch() for _ in range(3)]
        await asyncio.sleep(0)
        for _ in range(8):
            world.change()  # without a turn of the event loop
        await asyncio.sleep(0.001)
        assert all(client.over and client.watcher.expired for client in clients)
        assert [client.got for client in clients] == [[]] * 3

    run(work)


def test_a_watch_whose_transport_breaks_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def work(world: World) -> None:
        broken, whole = world.watch(), world.watch()

        def breaks(lines: Lines) -> bool:
            raise OSError("broken")

        broken.watcher.sink = breaks
        await asyncio.sleep(0)
        world.change()
        await asyncio.sleep(0.001)
        assert (broken.watcher.expired, whole.got) == (True, [1])
        world.clients.remove((broken, 0, False))
        await broken.stop()

    run(work)
    assert "cannot be written to" in caplog.text


def test_the_end_of_a_watch_comes_after_what_gathers_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience.Audience, "gathers_s", lambda self: 10.0)

    async def work(world: World) -> None:
        client = world.watch()
        await asyncio.sleep(0)
        world.change()
        await asyncio.sleep(0)
        world.change()
        client.watcher.end()
        await client.task
        assert client.got == [1, 2]

    run(work)


def test_a_bookmark_comes_after_what_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience.Audience, "gathers_s", lambda self: 10.0)

    async def work(world: World) -> None:
        client = world.watch()
        await asyncio.sleep(0)
        world.change()
        await asyncio.sleep(0)
        world.change()
        assert client.watcher.told() == 2
        client.watcher.push(bookmark(9), 9)
        await asyncio.sleep(0)
        assert client.got == [1, 2]
        assert client.watcher.told() == 9
        world.clients.clear()
        await client.stop()

    run(work)
