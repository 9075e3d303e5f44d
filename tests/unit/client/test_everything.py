from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client.client import Client
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.everything import Everything
from sampan.client.informer import SharedInformers
from sampan.client.resources import Partial
from sampan.schema import api
from tests.fakes.apiserver import FakeServer, Refuse
from tests.fakes.waiting import run, until

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.example.com"},
}
BOAT = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "sam", "namespace": "default"}}


class CustomServer(FakeServer):
    """Serves boats.example.com while its definition is stored."""

    def _read(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        found = super()._read(path, query)
        served = any(o["metadata"]["name"] == "boats.example.com" for o in self.objects.values())
        if path == "/apis" and served:
            version = {"groupVersion": "example.com/v1", "version": "v1"}
            found["groups"].append(
                {"name": "example.com", "versions": [version], "preferredVersion": version}
            )
        if path == "/apis/example.com/v1" and served:
            verbs = ["list", "watch", "delete", "get"]
            boats = {"name": "boats", "kind": "Boat", "namespaced": True, "singularName": "", "verbs": verbs}
            found["resources"] = [boats, {**boats, "name": "boats/status"}]
        return found


@asynccontextmanager
async def everything(server: FakeServer) -> AsyncIterator[tuple[Everything, SharedInformers, SimulatedClock]]:
    clock, client = SimulatedClock(), Client(server)
    informers = SharedInformers(client, clock)
    informers.of(api.Pod)
    made = Everything(client, informers, clock)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(made.run())]
    try:
        await made.synced()
        yield made, informers, clock
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_objects_are_found_by_uid_namespace_and_owner() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        owner = await client.create(api.ConfigMap(metadata=api.ObjectMeta(name="o", namespace="default")))
        reference = api.OwnerReference(
            apiVersion="v1", kind="ConfigMap", name="o", uid=owner.metadata.uid or ""
        )
        meta = api.ObjectMeta(name="d", namespace="default", ownerReferences=[reference])
        await client.create(api.Pod(metadata=meta))
        async with everything(server) as (graph, _informers, _clock):
            (dependent,) = graph.dependents(owner.metadata.uid or "")
            assert (dependent.resource.kind, dependent.obj.metadata.name) == ("Pod", "d")
            assert isinstance(dependent.obj, api.Pod)  # shared with who wants whole pods
            found = graph.by_uid(owner.metadata.uid or "")
            assert found is not None
            assert isinstance(found.obj, Partial)
            assert len(graph.in_namespace("default")) == 2
            await client.delete(api.Pod, "d", "default")
            await until(lambda: not graph.dependents(owner.metadata.uid or ""))
            watched = [path for method, path in server.requests if method == "WATCH"]
            assert len(watched) == len(set(watched))

    run(main())


def test_changes_that_concern_nobody_but_its_kind_are_not_told() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        where = ("p", "default")
        made = await client.create(api.Pod(metadata=api.ObjectMeta(name="p", namespace="default")))
        async with everything(server) as (graph, informers, _clock):
            changes: list[tuple[Any, Any]] = []
            graph.on_change(lambda _resource, old, new: changes.append((old, new)))
            pods = informers.of(api.Pod)
            changed = await client.patch(api.Pod, *where, {"metadata": {"labels": {"a": "b"}}})
            await pods.until_seen(int(changed.metadata.resourceVersion or 0))
            assert changes == []
            entry = graph.by_uid(made.metadata.uid or "")
            assert entry is not None
            assert entry.obj.metadata.labels == {"a": "b"}
            changed = await client.patch(api.Pod, *where, {"metadata": {"finalizers": ["example.com/keep"]}})
            await pods.until_seen(int(changed.metadata.resourceVersion or 0))
            (change,) = changes
            assert [one.metadata.finalizers for one in change] == [[], ["example.com/keep"]]

    run(main())


def test_custom_kinds_come_and_go() -> None:
    async def main() -> None:
        server = CustomServer()
        async with everything(server) as (graph, _informers, _clock):
            changes: list[tuple[Any, Any]] = []
            graph.on_change(
                lambda resource, old, new: changes.append((old, new)) if resource.kind == "Boat" else None
            )
            assert graph.resource("example.com/v1", "Boat") is None
            server.put(CRD)
            await until(lambda: graph.resource("example.com/v1", "Boat") is not None)
            stored = server.put(BOAT)
            await until(lambda: graph.by_uid(stored["metadata"]["uid"]))
            server.drop(server.path_of(CRD))
            await until(lambda: graph.resource("example.com/v1", "Boat") is None)
            assert graph.by_uid(stored["metadata"]["uid"]) is None
            assert len(changes) == 2

    run(main())


def test_a_group_that_cannot_be_read_keeps_what_is_known_of_it() -> None:
    async def main() -> None:
        server = CustomServer()
        server.put(CRD)
        async with everything(server) as (graph, _informers, clock):

            def fail(method: str, path: str, body: Any) -> None:
                if path == "/apis/example.com/v1":
                    raise Refuse(503, "ServiceUnavailable", "no endpoints")

            server.intercept = fail
            server.put({**CRD, "metadata": {"name": "other.example.org"}})
            await until(lambda: graph.failed == ("example.com/v1",))
            assert graph.resource("example.com/v1", "Boat") is not None
            server.intercept = lambda method, path, body: None
            await clock.advance(10)
            assert graph.failed == ()

    run(main())


def test_kinds_are_looked_up_in_the_registry_and_then_on_the_server() -> None:
    async def main() -> None:
        server = CustomServer()
        discovery = Discovery(Client(server))
        assert (await discovery.resource("apps/v1", "Deployment")).plural == "deployments"
        assert server.requests == []
        with pytest.raises(UnknownKind, match="serves no Boat"):
            await discovery.resource("example.com/v1", "Boat")
        server.put(CRD)
        assert (await discovery.resource("example.com/v1", "Boat")).path("x", "y") == (
            "/apis/example.com/v1/namespaces/x/boats/y"
        )

    run(main())
