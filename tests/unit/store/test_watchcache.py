from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from sampan.store.backend import Batch, Compacted, Delete, Guard, KeyRange, Put, StoreUnavailable
from sampan.store.items import Fields, Item, render_json, respliced, splice
from sampan.store.memory import MemoryStore
from sampan.store.watchcache import KindCache, WatchCache, Watcher

PODS = "/registry/core/pods/"
NODES = "/registry/core/nodes/"
LIMIT_S = 5.0


def value(name: str, **labels: str) -> bytes:
    return msgspec.json.encode({"metadata": {"resourceVersion": "", "name": name, "labels": labels}})


async def put(store: MemoryStore, key: str, **labels: str) -> int:
    return (await store.commit([], [Put(key, value(key.rpartition("/")[2], **labels))])).revision


async def lines(watcher: Watcher) -> list[Any]:
    async with asyncio.timeout(LIMIT_S):
        joined = await watcher.next()
    events = [msgspec.json.decode(line) for line in joined.splitlines()]
    return [(e["type"], e["object"]["metadata"]["name"]) for e in events]


def run(work: Callable[[MemoryStore, WatchCache], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryStore()
        cache = WatchCache(store)
        await work(store, cache)
        await cache.close()
        await store.close()

    asyncio.run(main())


def names(cache: KindCache, namespace: str = "") -> list[str]:
    return [item.key.removeprefix(cache.prefix) for item in cache.items(namespace)]


def test_the_revision_goes_in_and_can_be_replaced() -> None:
    stored = b'{"kind":"X","metadata":{"resourceVersion":"","annotations":{"resourceVersion":"5"}}}'
    shown = splice(stored, 12)
    assert msgspec.json.decode(shown)["metadata"]["resourceVersion"] == "12"
    assert respliced(shown, 345) == splice(stored, 345)
    assert respliced(respliced(shown, 345), 12) == shown


def test_objects_with_the_same_labels_and_namespace_share_them() -> None:
    one, two, other = (
        Item(f"{PODS}default/{name}", value(name, **labels), 1, 1)
        for name, labels in (("x", {"app": "web"}), ("y", {"app": "web"}), ("z", {"app": "db"}))
    )
    assert dict(one.labels) == {"app": "web"}
    assert one.labels is two.labels
    assert dict(other.labels) == {"app": "db"}
    assert one.namespace is two.namespace


@pytest.mark.parametrize("metadata", [{}, {"labels": None}, {"labels": {}}])
def test_an_object_may_have_no_labels(metadata: dict[str, Any]) -> None:
    stored = msgspec.json.encode({"metadata": {"resourceVersion": "", **metadata}})
    assert dict(Item(PODS + "a/x", stored, 1, 1).labels) == {}


def test_fields_are_a_mapping() -> None:
    fields = Fields({"metadata.name": 0, "spec.nodeName": 1}, ("x", "n1"))
    assert dict(fields) == {"metadata.name": "x", "spec.nodeName": "n1"}
    assert (fields.get("spec.nodeName"), fields.get("other", ""), len(fields)) == ("n1", "", 2)
    with pytest.raises(KeyError):
        fields["other"]


@pytest.mark.parametrize(
    ("key", "namespace", "name"),
    [
        ("/registry/core/pods/default/web-0", "default", "web-0"),
        ("/registry/core/nodes/n1", "", "n1"),
        ("/registry/rbac.authorization.k8s.io/clusterroles/system:node", "", "system:node"),
    ],
)
def test_names_come_from_keys(key: str, namespace: str, name: str) -> None:
    item = Item(key, value(name), 1, 1)
    assert (item.namespace, item.name) == (namespace, name)


def test_what_is_stored_is_there_from_the_start_and_changes_follow() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await put(store, PODS + "a/x")
        await put(store, NODES + "n1")
        await cache.start()
        pods = cache.kind(PODS)
        assert (names(pods), names(cache.kind(NODES))) == (["a/x"], ["n1"])
        revision = await put(store, PODS + "a/y", app="web")
        await cache.reached(revision)
        found = pods.get("a", "y")
        assert found is not None
        assert (found.revision, dict(found.labels), pods.count) == (revision, {"app": "web"}, 2)
        revision = (await store.commit([], [Delete(PODS + "a/x"), Delete(PODS + "a/y")])).revision
        await cache.reached(revision)
        assert (names(pods), pods.count, pods.get("a", "x")) == ([], 0, None)

    run(check)


def test_items_are_in_the_order_of_their_keys() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        keys = [PODS + rest for rest in ("a/x", "a-b/x", "a.b/x", "ab/x", "a/b-c", "a/b")]
        for key in keys:
            await put(store, key)
        await cache.start()
        assert [item.key for item in cache.kind(PODS).items()] == sorted(keys)
        assert names(cache.kind(PODS), "a") == ["a/b", "a/b-c", "a/x"]

    run(check)


def test_nobody_resumes_from_before_the_start() -> None:
    """What happened before the cache began is not in its history, even for kinds asked for earlier."""

    async def check(store: MemoryStore, cache: WatchCache) -> None:
        pods = cache.kind(PODS)  # known before anything is loaded
        first = await put(store, PODS + "a/x")
        await put(store, PODS + "a/y")
        await cache.start()
        with pytest.raises(Compacted):
            pods.watch(first)
        watcher = pods.watch(cache.revision)
        await put(store, PODS + "a/z")
        assert await lines(watcher) == [("ADDED", "z")]

    run(check)


def test_watchers_get_each_change_once_and_in_order() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await cache.start()
        pods = cache.kind(PODS)
        everywhere, here = pods.watch(None), pods.watch(None, "a")
        for key in ("a/x", "b/x", "a/x"):
            revision = await put(store, PODS + key)
        await store.commit([Guard(PODS + "a/x", revision)], [Delete(PODS + "a/x")])
        await cache.reached(revision + 1)
        wanted = [("ADDED", "x"), ("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]
        assert await lines(everywhere) == wanted
        assert await lines(here) == [wanted[0], *wanted[2:]]
        assert await lines(pods.watch(revision - 1)) == wanted[2:]
        everywhere.close()
        here.close()

    run(check)


def test_watchers_of_one_form_share_their_lines() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await cache.start()
        rendered: list[str] = []

        def render(event_type: str, item: Item) -> bytes:
            rendered.append(item.name)
            return render_json(event_type, item)

        watchers = [cache.kind(PODS).watch(None, render=render) for _ in range(5)]
        await cache.reached(await put(store, PODS + "a/x"))
        for watcher in watchers:
            assert await lines(watcher) == [("ADDED", "x")]
        assert rendered == ["x"]

    run(check)


def test_an_ended_watcher_gives_what_waits_and_then_nothing() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await cache.start()
        watcher = cache.kind(PODS).watch(None)
        waiting = asyncio.ensure_future(watcher.next())
        await asyncio.sleep(0)
        watcher.end()
        assert await waiting == b""
        await cache.reached(await put(store, PODS + "a/x"))
        assert await lines(watcher) == [("ADDED", "x")]
        assert await watcher.next() == b""

    run(check)


class Forgetful(MemoryStore):
    """A store that loses its reader once."""

    def __init__(self) -> None:
        super().__init__()
        self.lose = asyncio.Event()
        self.lost = False

    async def changes(self, keys: KeyRange, after: int) -> AsyncIterator[Batch]:
        if not self.lost:
            await self.lose.wait()
            self.lost = True
            raise Compacted(after)
        async for batch in super().changes(keys, after):
            yield batch


def test_a_feed_that_fell_behind_begins_anew() -> None:
    async def main() -> None:
        store = Forgetful()
        cache = WatchCache(store)
        await put(store, PODS + "a/gone")
        await cache.start()
        reloads: list[int] = []
        cache.on_reload.append(lambda: reloads.append(cache.revision))
        watcher = cache.kind(PODS).watch(None)
        revision = (await store.commit([], [Delete(PODS + "a/gone")])).revision
        revision = await put(store, PODS + "a/new")
        waiting = asyncio.ensure_future(cache.reached(revision))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.lose.set()
        async with asyncio.timeout(LIMIT_S):
            await waiting
        assert (names(cache.kind(PODS)), cache.kind(PODS).count) == (["a/new"], 1)
        assert (watcher.expired, reloads) == (True, [revision])
        with pytest.raises(Compacted):
            cache.kind(PODS).watch(revision - 1)
        later = cache.kind(PODS).watch(revision)
        await put(store, PODS + "a/later")
        assert await lines(later) == [("ADDED", "later")]
        await cache.close()
        await store.close()

    asyncio.run(main())


def test_who_waits_for_what_will_never_come_is_told() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await cache.start()
        waiting = asyncio.ensure_future(cache.reached(99))
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreUnavailable):
            async with asyncio.timeout(LIMIT_S):
                await waiting
        with pytest.raises(StoreUnavailable):
            await cache.reached(100)

    run(check)


def test_bookmarks_are_for_those_who_have_not_heard_of_the_present() -> None:
    async def check(store: MemoryStore, cache: WatchCache) -> None:
        await cache.start()
        pods = cache.kind(PODS)
        told, silent, busy = pods.watch(None), pods.watch(None), pods.watch(None, "b")
        for watcher in (told, busy):
            watcher.bookmark = lambda revision: b'{"type":"BOOKMARK","object":{"metadata":{"name":"-"}}}\n'
        await cache.reached(await put(store, NODES + "n1"))
        cache.send_bookmarks()
        cache.send_bookmarks()
        assert await lines(told) == [("BOOKMARK", "-")]
        revision = await put(store, PODS + "b/x")
        await cache.reached(revision)
        cache.send_bookmarks()
        assert await lines(busy) == [("BOOKMARK", "-"), ("ADDED", "x")]
        assert await lines(silent) == [("ADDED", "x")]

    run(check)
