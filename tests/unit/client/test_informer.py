from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.client.cache import Cache
from sampan.client.client import Client
from sampan.client.informer import Informer, SharedInformers
from sampan.schema import api
from tests.fakes.apiserver import FakeServer
from tests.fakes.waiting import run, until


def pod(name: str, node: str = "", **labels: str) -> api.Pod:
    return api.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=api.ObjectMeta(name=name, namespace="default", labels=labels),
        spec=api.PodSpec(nodeName=node or None),
    )


@asynccontextmanager
async def running(informer: Informer[api.Pod] | SharedInformers) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Seen:
    def __init__(self) -> None:
        self.changes: list[tuple[str | None, str | None]] = []

    def __call__(self, old: api.Pod | None, new: api.Pod | None) -> None:
        self.changes.append((old.metadata.name if old else None, new.metadata.name if new else None))


def test_the_cache_follows_the_server() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        await client.create(pod("a", node="n1"))
        by_node = {"node": lambda p: (p.spec.nodeName or "",)}
        informer = Informer(client, api.Pod, SimulatedClock(), indexes=by_node)
        seen = Seen()
        informer.on_change(seen)
        async with running(informer):
            await informer.synced()
            assert [p.metadata.name for p in informer.cache.by_index("node", "n1")] == ["a"]
            made = await client.create(pod("b", node="n1"))
            await informer.until_seen(int(made.metadata.resourceVersion or 0))
            assert len(informer.cache.by_index("node", "n1")) == 2
            await client.delete(api.Pod, "a", "default", grace_s=0)
            await until(lambda: informer.cache.get("default", "a") is None)
            assert [p.metadata.name for p in informer.cache.by_index("node", "n1")] == ["b"]
        assert seen.changes == [(None, "a"), (None, "b"), ("a", None)]

    run(main())


def test_a_disconnected_informer_resumes_where_it_was() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        clock = SimulatedClock()
        await client.create(pod("a"))
        informer = Informer(client, api.Pod, clock)
        async with running(informer):
            await informer.synced()
            await until(lambda: ("WATCH", "/api/v1/pods") in server.requests)
            server.disconnect()
            server.put(pod("b"))
            await clock.advance(120)
            assert informer.cache.get("default", "b") is None
            server.down = False
            await clock.advance(60)
            await until(lambda: informer.cache.get("default", "b") is not None)
        assert server.requests.count(("GET", "/api/v1/pods")) == 1

    run(main())


def test_gone_lists_again_and_tells_the_differences() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        clock = SimulatedClock()
        for name in ("kept", "changed", "removed", "replaced"):
            await client.create(pod(name))
        informer = Informer(client, api.Pod, clock)
        async with running(informer):
            await informer.synced()
            seen = Seen()
            informer.on_change(seen)
            await until(lambda: ("WATCH", "/api/v1/pods") in server.requests)
            server.disconnect()
            await clock.advance(0.01)
            seen.changes.clear()
            server.put(pod("added"))
            server.put(pod("changed", now="1"))
            server.drop("/api/v1/namespaces/default/pods/removed")
            server.drop("/api/v1/namespaces/default/pods/replaced")
            server.put(pod("replaced"))
            server.forget_history()
            server.down = False
            await clock.advance(60)
            await until(lambda: informer.cache.get("default", "added") is not None)
        assert sorted(seen.changes, key=str) == [
            ("changed", None),  # stored around the rules with a new uid: another object
            ("removed", None),
            ("replaced", None),
            (None, "added"),
            (None, "changed"),
            (None, "replaced"),
        ]

    run(main())


def test_a_handler_that_throws_does_not_stop_the_others() -> None:
    async def main() -> None:
        client = Client(FakeServer())
        informer = Informer(client, api.Pod, SimulatedClock())
        seen = Seen()

        def broken(old: api.Pod | None, new: api.Pod | None) -> None:
            raise RuntimeError("broken handler")

        informer.on_change(broken)
        informer.on_change(seen)
        async with running(informer):
            await client.create(pod("a"))
            await until(lambda: seen.changes == [(None, "a")])

    run(main())


def test_removal_can_be_awaited() -> None:
    async def main() -> None:
        client = Client(FakeServer())
        informer = Informer(client, api.Pod, SimulatedClock())
        made = await client.create(pod("a", node="n1"))
        async with running(informer):
            await informer.synced()
            await client.delete(api.Pod, "a", "default")
            # A pod on a node is only marked; that is as good as gone for who deleted it.
            await informer.until_removed(("default", "a"), made.metadata.uid or "")
            held = informer.cache.get("default", "a")
            assert held is not None
            assert held.metadata.deletionTimestamp is not None

    run(main())


def test_one_informer_for_all_who_ask() -> None:
    async def main() -> None:
        server = FakeServer()
        informers = SharedInformers(Client(server), SimulatedClock())
        pods = informers.of(api.Pod)
        assert informers.of(api.Pod) is pods
        async with running(informers):
            await informers.synced()
            nodes = informers.of(api.Node)
            await nodes.synced()
        assert server.requests.count(("GET", "/api/v1/pods")) == 1

    run(main())


NAMES = st.sampled_from(["a", "b", "c", "d"])
NODES = st.sampled_from(["", "n1", "n2"])


@settings(max_examples=100)
@given(st.lists(st.tuples(NAMES, NODES, st.booleans()), max_size=30))
def test_indexes_hold_exactly_what_the_cache_holds(steps: list[tuple[str, str, bool]]) -> None:
    cache: Cache[api.Pod] = Cache({"node": lambda p: (p.spec.nodeName or "none",)})
    model: dict[str, str] = {}
    for number, (name, node, remove) in enumerate(steps):
        if remove:
            cache.remove(("default", name))
            model.pop(name, None)
        else:
            made = pod(name, node=node)
            made.metadata.uid = f"u{number}"
            cache.put(made)
            model[name] = node or "none"
    for node in ("none", "n1", "n2"):
        found = {p.metadata.name for p in cache.by_index("node", node)}
        assert found == {name for name, where in model.items() if where == node}
    for held in cache.items():
        assert cache.by_uid(held.metadata.uid or "") is held
    assert len(cache.by_namespace("default")) == len(cache) == len(model)


def test_an_event_that_cannot_be_read_makes_it_read_everything() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        clock = SimulatedClock()
        informer = Informer(client, api.Pod, clock)
        async with running(informer):
            await informer.synced()
            await until(lambda: ("WATCH", "/api/v1/pods") in server.requests)
            bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7, "namespace": "default"}}
            server.put(bad)
            await clock.advance(5)
            server.drop("/api/v1/namespaces/default/pods/7")
            server.put(pod("good"))
            await clock.advance(60)
            await until(lambda: informer.cache.get("default", "good") is not None)
        assert server.requests.count(("GET", "/api/v1/pods")) > 1

    run(main())
