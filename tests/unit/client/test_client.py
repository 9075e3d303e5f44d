from __future__ import annotations

import json

import pytest

from sampan.client import errors
from sampan.client.client import ApiError, Client
from sampan.client.resources import Partial, Resource, ref_of, resource_of
from sampan.schema import api
from tests.fakes.apiserver import FakeServer, Refuse
from tests.fakes.waiting import run


def pod(name: str, **labels: str) -> api.Pod:
    return api.Pod(metadata=api.ObjectMeta(name=name, namespace="default", labels=labels))


@pytest.mark.parametrize(
    ("kind", "where", "path"),
    [
        (api.Pod, ("default", "a", ""), "/api/v1/namespaces/default/pods/a"),
        (api.Pod, ("", "", ""), "/api/v1/pods"),
        (api.Node, ("", "n 1", "status"), "/api/v1/nodes/n%201/status"),
        (api.Deployment, ("x", "d", "scale"), "/apis/apps/v1/namespaces/x/deployments/d/scale"),
        (api.EventsEvent, ("x", "", ""), "/apis/events.k8s.io/v1/namespaces/x/events"),
        (api.Event, ("x", "", ""), "/api/v1/namespaces/x/events"),
    ],
)
def test_paths(kind: type, where: tuple[str, str, str], path: str) -> None:
    assert resource_of(kind).path(*where) == path


def test_round_trip() -> None:
    async def main() -> None:
        client = Client(FakeServer())
        made = await client.create(pod("a", app="x"))
        assert (made.kind, made.apiVersion) == ("Pod", "v1")
        assert (await client.get(api.Pod, "a", "default")) == made
        await client.create(pod("b"))
        listed = await client.list(api.Pod, "default", labels="app=x")
        assert [p.metadata.name for p in listed.items] == ["a"]
        made.metadata.labels["more"] = "1"
        updated = await client.update(made)
        assert updated.metadata.labels == {"app": "x", "more": "1"}
        with pytest.raises(ApiError) as stale:
            await client.update(made)
        assert errors.is_conflict(stale.value)
        patched = await client.patch(api.Pod, "a", "default", {"metadata": {"labels": {"more": None}}})
        assert patched.metadata.labels == {"app": "x"}
        with pytest.raises(ApiError) as wrong:
            await client.delete(api.Pod, "a", "default", uid="another")
        assert errors.is_conflict(wrong.value)
        await client.delete(api.Pod, "a", "default", uid=made.metadata.uid or "")
        with pytest.raises(ApiError) as gone:
            await client.get(api.Pod, "a", "default")
        assert errors.is_not_found(gone.value)

    run(main())


def test_a_resource_can_be_read_as_less_than_its_type() -> None:
    async def main() -> None:
        client = Client(FakeServer())
        await client.create(pod("a"))
        pods = Resource("v1", "Pod", "pods", True, Partial)
        (found,) = (await client.list(pods)).items
        assert ref_of(found).name == "a"
        assert ref_of(found).kind == "Pod"

    run(main())


def test_errors_say_what_they_are() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        await client.create(pod("a"))
        with pytest.raises(ApiError) as twice:
            await client.create(pod("a"))
        assert errors.is_already_exists(twice.value)
        assert not errors.is_conflict(twice.value)

        def refuse(method: str, path: str, body: object) -> None:
            raise Refuse(403, "Forbidden", "exceeded quota")

        server.intercept = refuse
        with pytest.raises(ApiError, match="exceeded quota") as refused:
            await client.create(pod("b"))
        assert (refused.value.code, refused.value.reason) == (403, "Forbidden")

    run(main())


def test_an_answer_that_is_no_status_is_an_error_all_the_same() -> None:
    assert str(errors.error_from(502, b"<html>bad gateway</html>")) == "<html>bad gateway</html>"
    assert errors.error_from(404, b"").reason == "NotFound"
    assert errors.error_from(409, json.dumps({"kind": "Pod"}).encode()).code == 409


def test_watch_gives_changes_bookmarks_and_errors() -> None:
    async def main() -> None:
        server = FakeServer()
        client = Client(server)
        await client.create(pod("a"))
        events = client.watch(api.Pod, "default", resource_version="0")
        first = await anext(events)
        assert (first.type, first.object.metadata.name) == ("ADDED", "a")
        assert (await anext(events)).resource_version == "1"
        await client.delete(api.Pod, "a", "default")
        assert (await anext(events)).type == "DELETED"
        await events.aclose()  # type: ignore[attr-defined]
        server.forget_history()
        with pytest.raises(ApiError) as gone:
            await anext(client.watch(api.Pod, resource_version="1"))
        assert errors.is_gone(gone.value)

    run(main())
