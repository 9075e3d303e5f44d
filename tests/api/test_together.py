"""Changes that are asked for together come to what changes of their own come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.users import ADMIN, User
from sampan.apiserver.direct import DirectTransport
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.schema import api as types
from tests.api.server import PODS, Api, served, user

Make = Callable[[types.Pod], types.Pod]


def _phase(phase: str, uid: str = "") -> Make:
    def make(pod: types.Pod) -> types.Pod:
        meta = replace(pod.metadata, uid=uid or pod.metadata.uid)
        return replace(pod, metadata=meta, status=replace(pod.status, phase=phase))

    return make


async def _together(api: Api, *wanted: tuple[str, Make], as_user: User = ADMIN) -> list[Any]:
    client = Client(DirectTransport(api.server, as_user))
    asked = [(name, "default", make) for name, make in wanted]
    refusals = await client.change_all(types.Pod, asked, subresource="status")
    assert refusals is not None
    return [(p.code, p.reason, str(p)) if isinstance(p, ApiError) else p for p in refusals]


async def _alone(api: Api, name: str, make: Make) -> Any:
    try:
        done = await Client(DirectTransport(api.server, ADMIN)).change(
            types.Pod, name, "default", make, subresource="status"
        )
    except ApiError as refused:
        return refused.code, refused.reason, str(refused)
    assert done
    return None


@served
async def test_each_is_a_write_of_its_own_and_one_that_changes_nothing_is_none(api: Api) -> None:
    for number in range(4):
        await api.pod(f"p{number}", node="n1")
    assert await _together(api, ("p3", _phase("Running"))) == [None]
    before = (await api.get(f"{PODS}/p3")).ok()["metadata"]["resourceVersion"]
    watch = await api.watch(PODS, resourceVersion=before)
    with pytest.MonkeyPatch.context() as patching:
        asked: list[Request] = []
        handle = api.server.handle

        async def counted(request: Request) -> Response:
            asked.append(request)
            return await handle(request)

        patching.setattr(api.server.bulk, "_handle", counted)
        found = await _together(api, *((f"p{number}", _phase("Running")) for number in range(4)))
        assert found == [None] * 4
        assert not asked
    events = [await watch.next() for _ in range(3)]
    assert [e["object"]["metadata"]["name"] for e in events] == ["p0", "p1", "p2"]
    assert len({e["object"]["metadata"]["resourceVersion"] for e in events}) == 3
    assert {e["object"]["status"]["phase"] for e in events} == {"Running"}
    assert (await api.get(f"{PODS}/p3")).ok()["metadata"]["resourceVersion"] == before
    await watch.close()


@served
async def test_what_cannot_be_is_refused_in_the_same_words(api: Api) -> None:
    await api.pod("fine", node="n1")
    await api.pod("other", node="n1")

    def renamed(pod: types.Pod) -> types.Pod:
        return replace(pod, metadata=replace(pod.metadata, labels={"not valid!": "x"}))

    impossible = [("missing", _phase("Running")), ("other", _phase("Failed", "another")), ("other", renamed)]
    expected = [await _alone(api, name, make) for name, make in impossible]
    assert [told[0] for told in expected] == [404, 422, 422]
    assert await _together(api, ("fine", _phase("Running")), *impossible) == [None, *expected]
    assert (await api.get(f"{PODS}/fine")).ok()["status"]["phase"] == "Running"


@served
async def test_two_changes_of_one_object_are_both_made(api: Api) -> None:
    await api.pod("a", node="n1")

    def told(reason: str) -> Make:
        def make(pod: types.Pod) -> types.Pod:
            message = (pod.status.message or "") + reason
            return replace(pod, metadata=replace(pod.metadata), status=replace(pod.status, message=message))

        return make

    assert await _together(api, ("a", told("x")), ("a", told("y"))) == [None, None]
    assert (await api.get(f"{PODS}/a")).ok()["status"]["message"] == "xy"


@served
async def test_who_may_not_is_told_so_for_each(api: Api) -> None:
    await api.pod("a")
    await api.pod("b")
    found = await _together(api, ("a", _phase("Failed")), ("b", _phase("Failed")), as_user=user("jane"))
    assert [told[:2] for told in found] == [(403, "Forbidden")] * 2


@served
async def test_the_last_finalizer_of_a_deleted_object_takes_it_along(api: Api) -> None:
    await api.account()
    for name in ("a", "b"):
        (await api.post(PODS, _held(name))).ok(201)
        (await api.delete(f"{PODS}/{name}", gracePeriodSeconds="0")).ok()

    def freed(pod: types.Pod) -> types.Pod:
        return replace(pod, metadata=replace(pod.metadata, finalizers=[]))

    client = Client(DirectTransport(api.server, ADMIN))
    asked = [(name, "default", freed) for name in ("a", "b")]
    assert await client.change_all(types.Pod, asked) == [None, None]
    assert [(await api.get(f"{PODS}/{name}")).code for name in ("a", "b")] == [404, 404]


async def _deleted(api: Api, *wanted: tuple[str, str], as_user: User = ADMIN) -> list[Any]:
    client = Client(DirectTransport(api.server, as_user))
    refusals = await client.delete_each(types.Pod, [(name, "default", uid) for name, uid in wanted])
    assert refusals is not None
    return [(p.code, p.reason, str(p)) if isinstance(p, ApiError) else p for p in refusals]


async def _deleted_alone(api: Api, name: str, uid: str) -> Any:
    try:
        client = Client(DirectTransport(api.server, ADMIN))
        await client.delete(types.Pod, name, "default", uid=uid, grace_s=0)
    except ApiError as refused:
        return refused.code, refused.reason, str(refused)
    return None


@served
async def test_each_deletion_is_an_event_of_its_own(api: Api) -> None:
    uids = {name: (await api.pod(name, node="n1"))["metadata"]["uid"] for name in ("p0", "p1", "p2")}
    (await api.delete(f"{PODS}/p1")).ok()  # with grace: it is there still
    before = (await api.get(f"{PODS}/p1")).ok()["metadata"]["resourceVersion"]
    watch = await api.watch(PODS, resourceVersion=before)
    with pytest.MonkeyPatch.context() as patching:
        asked: list[Request] = []
        handle = api.server.handle

        async def counted(request: Request) -> Response:
            asked.append(request)
            return await handle(request)

        patching.setattr(api.server.bulk, "_handle", counted)
        assert await _deleted(api, *uids.items()) == [None] * 3
        assert not asked
    events = [await watch.next() for _ in range(3)]
    assert [(e["type"], e["object"]["metadata"]["uid"]) for e in events] == [
        ("DELETED", uid) for uid in uids.values()
    ]
    assert len({e["object"]["metadata"]["resourceVersion"] for e in events}) == 3
    assert [(await api.get(f"{PODS}/{name}")).code for name in uids] == [404] * 3
    await watch.close()


@served
async def test_deletions_that_cannot_be_are_refused_in_the_same_words(api: Api) -> None:
    await api.account()
    fine, other = [(await api.pod(name, node="n1"))["metadata"]["uid"] for name in ("fine", "other")]
    held = (await api.post(PODS, _held("held"))).ok(201)["metadata"]["uid"]
    impossible = [("missing", "x"), ("other", "of-another")]
    expected = [await _deleted_alone(api, *each) for each in impossible]
    assert [told[0] for told in expected] == [404, 409]
    found = await _deleted(api, ("fine", fine), *impossible, ("held", held), ("fine", fine))
    assert found[:4] == [None, *expected, None]
    assert found[4][:2] == (404, "NotFound")
    assert [(await api.get(f"{PODS}/{name}")).code for name in ("fine", "other", "held")] == [404, 200, 200]
    marked = (await api.get(f"{PODS}/held")).ok()["metadata"]
    assert marked["deletionTimestamp"] and not marked["deletionGracePeriodSeconds"]
    found = await _deleted(api, ("other", other), ("held", held), as_user=user("jane"))
    assert [told[:2] for told in found] == [(403, "Forbidden")] * 2


@served
async def test_what_deletions_free_counts_for_the_quota(api: Api) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    (await api.post("/api/v1/namespaces/default/resourcequotas", quota)).ok(201)
    for _ in range(2):
        uids = [(name, (await api.pod(name, node="n1"))["metadata"]["uid"]) for name in ("a", "b")]
        assert await _deleted(api, *uids) == [None, None]


def _held(name: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    return {"metadata": {"name": name, "finalizers": ["example.com/wait"]}, "spec": spec}
