"""Bindings that a scheduler asks for together come to what requests of their own come to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sampan.apiserver.core.request import Request, Response
from sampan.apiserver.core.users import ADMIN, User
from sampan.apiserver.direct import DirectTransport
from sampan.client.errors import ApiError
from sampan.client.transport import Bind
from sampan.schema import api as types
from sampan.store.items import splice
from tests.api.server import PODS, STRATEGIC, Api, pod, served, user
from tests.api.test_admission_policies import match, validating


def _bind(name: str, node: str = "n1", uid: str = "") -> Bind:
    return Bind("default", name, uid, node)


class _Counted:
    """The requests that a server is asked."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        handle = api.server.handle

        async def counted(request: Request) -> Response:
            self.count += 1
            return await handle(request)

        monkeypatch.setattr(api.server.bulk, "_handle", counted)


async def _together(api: Api, *wanted: Bind, as_user: User = ADMIN) -> list[Exception | None]:
    return await DirectTransport(api.server, as_user).bind_all(wanted)


async def _by_request(api: Api, wanted: Bind) -> ApiError | None:
    metadata = {"name": wanted.name} | ({"uid": wanted.uid} if wanted.uid else {})
    body = {"metadata": metadata, "target": {"kind": "Node", "name": wanted.node}}
    answer = await api.post(f"{PODS}/{wanted.name}/binding", body)
    return None if answer.code == 201 else ApiError.of(answer.code, answer.json["reason"], answer.message)


def _told(problems: list[Any]) -> list[tuple[int, str, str] | None]:
    return [(p.code, p.reason, str(p)) if isinstance(p, ApiError) else p for p in problems]


def _alike(made: Any) -> Any:
    own = ("name", "uid", "resourceVersion")
    return {**made, "metadata": {k: v for k, v in made["metadata"].items() if k not in own}}


def _kinds(prefix: str) -> list[dict[str, Any]]:
    hashed = "automountServiceAccountToken"
    return [
        pod(f"{prefix}-plain", **{hashed: False}),
        pod(f"{prefix}-labelled", labels={"app": "web"}, **{hashed: False}, hostname="host"),
        pod(f"{prefix}-asking", **{hashed: False}, tolerations=[{"operator": "Exists"}], containers=[
            {"name": "c", "image": "i", "resources": {"limits": {"cpu": "0.5", "memory": "1e3"}}}
        ]),
    ]  # fmt: skip


@served
async def test_pods_are_stored_as_single_bindings_store_them(api: Api) -> None:
    await api.account()
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
    other = {"type": "Ready", "status": "False"}
    for prefix in ("one", "all"):
        for body in _kinds(prefix):
            (await api.post(PODS, body)).ok(201)
        change = {"status": {"conditions": [condition, other], "nominatedNodeName": "n9"}}
        (await api.patch(f"{PODS}/{prefix}-labelled/status", change, STRATEGIC)).ok()
        applied = pod(f"{prefix}-asking", labels={"team": "red"})
        del applied["spec"]
        (await api.apply(f"{PODS}/{prefix}-asking", applied, "me")).ok()
    for body in _kinds("one"):
        assert await _by_request(api, _bind(body["metadata"]["name"])) is None
    assert await _together(api, *(_bind(body["metadata"]["name"]) for body in _kinds("all"))) == [None] * 3
    for one, together in zip(_kinds("one"), _kinds("all"), strict=True):
        expected = (await api.get(f"{PODS}/{one['metadata']['name']}")).ok()
        made = (await api.get(f"{PODS}/{together['metadata']['name']}")).ok()
        assert expected["spec"]["nodeName"] == "n1"
        for each in (expected, made):  # which of two managers wrote when is told by name
            for managed in each["metadata"].get("managedFields", []):
                managed["manager"] = managed["manager"].replace("sampan", "test")
        assert _alike(made) == _alike(expected)


@served
async def test_one_after_the_other_with_a_revision_of_its_own(api: Api) -> None:
    for number in range(4):
        await api.pod(f"p{number}")
    watch = await api.watch(PODS, resourceVersion=(await api.get(PODS)).ok()["metadata"]["resourceVersion"])
    assert await _together(api, *(_bind(f"p{number}") for number in range(4))) == [None] * 4
    events = [await watch.next() for _ in range(4)]
    assert [e["object"]["metadata"]["name"] for e in events] == ["p0", "p1", "p2", "p3"]
    revisions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
    assert len(set(revisions)) == 4
    assert revisions == sorted(revisions)
    for event in events:
        name = event["object"]["metadata"]["name"]
        assert (await api.get(f"{PODS}/{name}")).ok() == event["object"]
    await watch.close()


@served
async def test_what_cannot_be_is_refused_in_the_same_words(api: Api) -> None:
    await api.pod("gated", schedulingGates=[{"name": "wait"}])
    await api.pod("bound", node="n2")
    leaving = pod("leaving")
    leaving["metadata"]["finalizers"] = ["example.com/wait"]
    await api.account()
    (await api.post(PODS, leaving)).ok(201)
    (await api.delete(f"{PODS}/leaving", gracePeriodSeconds="0")).ok()
    await api.pod("meant")
    await api.pod("fine")
    impossible = [
        _bind("gated"),
        _bind("bound"),
        _bind("leaving"),
        _bind("missing"),
        _bind("meant", uid="another"),
        _bind("meant", node=""),
    ]
    expected = [await _by_request(api, each) for each in impossible]
    assert all(expected)
    found = await _together(api, _bind("fine"), *impossible)
    assert found[0] is None
    assert _told(found[1:]) == _told(expected)
    twice = await _together(api, _bind("meant"), _bind("meant", "n2"))
    assert twice[0] is None
    assert _told(twice)[1] == (409, "Conflict", str(await _by_request(api, _bind("meant", "n2"))))
    assert (await api.get(f"{PODS}/meant")).ok()["spec"]["nodeName"] == "n1"


@served
async def test_who_may_not_bind_is_told_so_for_each(api: Api) -> None:
    await api.pod("a")
    await api.pod("b")
    found = await _together(api, _bind("a"), _bind("b"), as_user=user("jane"))
    assert [told[:2] for told in _told(found) if told] == [(403, "Forbidden")] * 2
    assert "nodeName" not in (await api.get(f"{PODS}/a")).ok()["spec"]


@served
async def test_other_writers_lose_nothing(api: Api) -> None:
    for number in range(6):
        await api.pod(f"p{number}")
    labels = [api.patch(f"{PODS}/p{number}", {"metadata": {"labels": {"x": "y"}}}) for number in range(6)]
    bound, *patched = await asyncio.gather(_together(api, *(_bind(f"p{n}") for n in range(6))), *labels)
    assert bound == [None] * 6
    assert {answer.code for answer in patched} == {200}
    for number in range(6):
        made = (await api.get(f"{PODS}/p{number}")).ok()
        assert (made["spec"]["nodeName"], made["metadata"]["labels"]) == ("n1", {"x": "y"})


@served
async def test_what_is_counted_reviewed_or_written_down_goes_by_request(api: Api) -> None:
    """Without any of that no request is made at all, and yet each binding counts as one."""
    for number in range(8):
        await api.pod(f"p{number}")
    with pytest.MonkeyPatch.context() as patching:
        counted = _Counted(api, patching)
        assert await _together(api, _bind("p0"), _bind("p1")) == [None, None]
        assert counted.count == 0
        page = (await api.get("/metrics")).body.decode()
        made = next(
            line for line in page.splitlines() if 'subresource="binding"' in line and "_total" in line
        )
        assert made.split()[-1] in ("2", "2.0")
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "20"}}}
        (await api.post("/api/v1/namespaces/default/resourcequotas", quota)).ok(201)
        counted.count = 0
        assert await _together(api, _bind("p2"), _bind("p3")) == [None, None]
        assert counted.count == 2
        await validating(
            api,
            "object.target.name != 'forbidden'",
            matchConstraints=match("pods/binding", "", "CREATE"),
        )
        found = await _together(api, _bind("p4"), _bind("p5", "forbidden"))
        assert found[0] is None
        assert "denied request" in str(found[1])


@served
async def test_a_store_that_is_gone_leaves_no_answer_out(api: Api) -> None:
    await api.pod("a")
    await api.pod("b")
    await api.store.close()
    assert [told[0] for told in _told(await _together(api, _bind("a"), _bind("b"))) if told] == [503, 503]


def _of_one_body(name: str, **metadata: Any) -> dict[str, Any]:
    made = pod(name, automountServiceAccountToken=False, containers=[{"name": "c", "image": "i"}])
    made["metadata"] |= metadata
    return made


@served
async def test_pods_of_one_body_are_stored_as_single_bindings_store_them(api: Api) -> None:
    await api.account()
    waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
    bodies = [
        _of_one_body("a"),
        _of_one_body("b"),
        _of_one_body("c", labels={"app": "web"}, annotations={"note": 'a "},"spec":{" in it'}),
        _of_one_body("d", generateName="d-", finalizers=["example.com/hold"]),
        _of_one_body("e"),
        _of_one_body("f"),
        _of_one_body("g"),
        _of_one_body("h", ownerReferences=[{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]),
    ]
    for prefix in ("one", "all"):
        for body in bodies:
            name = f"{prefix}-{body['metadata']['name']}"
            body = {**body, "metadata": {**body["metadata"], "name": name}}
            (await api.post(PODS, body)).ok(201)
            if name.endswith(("-e", "-f", "-g")):
                change = {"status": {"conditions": [waiting], "nominatedNodeName": "n9"}}
                (await api.patch(f"{PODS}/{name}/status", change, STRATEGIC)).ok()
    names = [body["metadata"]["name"] for body in bodies]
    for number, name in enumerate(names):
        assert await _by_request(api, _bind(f"one-{name}", f"n{number}")) is None
    wanted = [_bind(f"all-{name}", f"n{number}") for number, name in enumerate(names)]
    assert await _together(api, *wanted[:5]) == [None] * 5
    assert await _together(api, *wanted[5:]) == [None] * 3
    pods = api.server.resources.of(types.Pod)
    for name in names:
        expected = (await api.get(f"{PODS}/one-{name}")).ok()
        made = (await api.get(f"{PODS}/all-{name}")).ok()
        for each in (expected, made):
            assert each["status"]["conditions"][0].pop("lastTransitionTime")
        assert _alike(made) == _alike(expected)
        item = pods.cache.get("default", f"all-{name}")
        assert item is not None
        assert splice(pods.encode(pods.decode_stored(item.data)), item.revision) == item.data
    counted = [api.server.bulk._together._bound._stamps]
    assert any(stamp is not None for stamp in counted[0].values())


@served
async def test_a_pod_of_a_known_body_that_cannot_be_bound_is_refused_all_the_same(api: Api) -> None:
    await api.account()
    for name in ("a", "b", "c", "d", "leaving", "meant"):
        (await api.post(PODS, _of_one_body(name, finalizers=["example.com/wait"]))).ok(201)
    assert await _together(api, *(_bind(name) for name in "abc")) == [None] * 3
    (await api.delete(f"{PODS}/leaving", gracePeriodSeconds="0")).ok()
    wanted = [_bind("a", "n2"), _bind("leaving"), _bind("meant", uid="another"), _bind("d", "n7")]
    told = _told(await _together(api, *wanted))
    assert told[3] is None
    assert told[:3] == _told([await _by_request(api, each) for each in wanted[:3]])
    assert (await api.get(f"{PODS}/d")).ok()["spec"]["nodeName"] == "n7"
    assert "nodeName" not in (await api.get(f"{PODS}/meant")).ok()["spec"]
