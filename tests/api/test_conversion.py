"""Conversion between versions by a real webhook over TLS, honest and otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.api.server import APPLY, TABLE, Api, served
from tests.api.test_customresources import CRDS, settled
from tests.api.webhooks import Hooks, hooks

GROUP = "/apis/stable.example.com"
V1, V2 = f"{GROUP}/v1/namespaces/default/hosts", f"{GROUP}/v2/namespaces/default/hosts"
NAME = "hosts.stable.example.com"
PATH = "/convert"


def version(name: str, fields: dict[str, Any], *, storage: bool = False) -> dict[str, Any]:
    spec = {"type": "object", "properties": fields}
    schema = {"type": "object", "properties": {"spec": spec}}
    columns = [{"name": f"{field}", "type": "string", "jsonPath": f".spec.{field}"} for field in fields]
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    }


TEXT = {"type": "string"}


def definition(config: dict[str, Any], storage: str = "v1") -> dict[str, Any]:
    """v1 has spec.hostPort "a:1", v2 has spec.host and spec.port."""
    versions = [
        version("v1", {"hostPort": TEXT}, storage=storage == "v1"),
        version("v2", {"host": TEXT, "port": {**TEXT, "pattern": "^[0-9]+$"}}, storage=storage == "v2"),
    ]
    webhook = {"clientConfig": config, "conversionReviewVersions": ["v2", "v1"]}
    return {
        "metadata": {"name": NAME},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "hosts", "kind": "Host"},
            "versions": versions,
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def host(name: str, api_version: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"stable.example.com/{api_version}",
        "kind": "Host",
        "metadata": {"name": name},
        "spec": spec,
    }


def converted(request: dict[str, Any]) -> dict[str, Any]:
    """What an honest webhook answers."""
    made = []
    for obj in request["objects"]:
        spec = obj["spec"]
        if request["desiredAPIVersion"].endswith("v2"):
            name, _, port = spec["hostPort"].partition(":")
            spec = {"host": name, "port": port, "unknown": 1}
        else:
            spec = {"hostPort": f"{spec['host']}:{spec['port']}"}
        made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"convertedObjects": made, "result": {"status": "Success"}}


def convert_at(server: Hooks, answer: Any = converted, **review: Any) -> None:
    async def handle(request: web.Request) -> web.Response:
        asked = msgspec.json.decode(await request.read())
        server.seen.setdefault(PATH, []).append(asked["request"])
        response = {"uid": asked["request"]["uid"], **answer(asked["request"])}
        body = {"apiVersion": asked["apiVersion"], "kind": "ConversionReview", "response": response, **review}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    server.raw(PATH, handle)


async def define(api: Api, server: Hooks, storage: str = "v1") -> None:
    (await api.post(CRDS, definition(server.config(PATH), storage))).ok(201)
    await settled(api, NAME)


@pytest.mark.conformance("CustomResourceConversionWebhook should be able to convert from CR v1 to CR v2")
@served
async def test_objects_are_read_and_written_in_every_version(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        await define(api, server)
        (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
        assert server.seen == {}
        shown = (await api.get(f"{V2}/a")).ok()
        assert (shown["apiVersion"], shown["spec"]) == (
            "stable.example.com/v2",
            {"host": "one", "port": "1"},
        )
        made = (await api.post(V2, host("b", "v2", host="two", port="2"))).ok(201)
        assert made["spec"] == {"host": "two", "port": "2"}
        assert (await api.get(f"{V1}/b")).ok()["spec"] == {"hostPort": "two:2"}
        changed = (await api.patch(f"{V2}/a", {"spec": {"port": "9"}})).ok()
        assert changed["spec"] == {"host": "one", "port": "9"}
        assert (await api.get(f"{V1}/a")).ok()["spec"] == {"hostPort": "one:9"}
        assert (await api.delete(f"{V2}/a")).ok()["status"] == "Success"


@served
async def test_what_is_validated_is_the_version_of_the_request(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        await define(api, server)
        refused = await api.post(V2, host("b", "v2", host="two", port="x"))
        assert "spec.port in body should match '^[0-9]+$'" in refused.refused(422, "Invalid")
        (await api.post(V1, host("a", "v1", hostPort="one:x"))).ok(201)


@pytest.mark.conformance(
    "CustomResourceFieldSelectors CustomResourceFieldSelectors MUST list and watch custom resources matching "
    "the field selector"
)
@served
async def test_fields_of_a_version_select_what_a_webhook_makes_of_objects(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        chosen = definition(server.config(PATH))
        for each, fields in zip(chosen["spec"]["versions"], (["hostPort"], ["host", "port"]), strict=True):
            each["selectableFields"] = [{"jsonPath": f".spec.{name}"} for name in fields]
        (await api.post(CRDS, chosen)).ok(201)
        await settled(api, NAME)
        (await api.post(V1, host("old", "v1", hostPort="one:1"))).ok(201)
        before = (await api.get(V2)).ok()["metadata"]["resourceVersion"]
        whole = await api.watch(V2, fieldSelector="spec.host=one")
        later = await api.watch(V2, fieldSelector="spec.host=one", resourceVersion=before)
        assert (await whole.next())["object"]["metadata"]["name"] == "old"
        for name, spec in (("a", ("one", "80")), ("b", ("one", "8080")), ("c", ("two", "80"))):
            (await api.post(V2, host(name, "v2", host=spec[0], port=spec[1]))).ok(201)

        async def listed(path: str, fields: str) -> list[str]:
            found = (await api.get(path, fieldSelector=fields)).ok()
            assert "remainingItemCount" not in found["metadata"]
            return [item["metadata"]["name"] for item in found["items"]]

        assert await listed(V2, "spec.host=one") == ["a", "b", "old"]
        assert await listed(V2, "spec.host=one,spec.port=80") == ["a"]
        assert await listed(V1, "spec.hostPort=one:8080") == ["b"]
        (await api.delete(V2, fieldSelector="spec.host=one,spec.port=80")).ok()
        for name in ("b", "old"):  # they leave the selection
            (await api.patch(f"{V2}/{name}", {"spec": {"host": "two"}})).ok()
        (await api.patch(f"{V2}/c", {"spec": {"host": "one"}})).ok()
        assert await listed(V2, "spec.host=one") == ["c"]
        wanted = ["ADDED a", "ADDED b", "DELETED a", "DELETED b", "DELETED old", "ADDED c"]
        for watch in (whole, later):
            events = [await watch.next() for _ in wanted]
            told = [f"{event['type']} {event['object']['metadata']['name']}" for event in events]
            assert told == wanted
        # One that leaves is shown as it last was.
        assert events[3]["object"]["spec"] == {"host": "one", "port": "8080"}


@served
async def test_a_list_is_converted_in_one_review(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        await define(api, server)
        for number in range(5):
            (await api.post(V1, host(f"h{number}", "v1", hostPort=f"h:{number}"))).ok(201)
        listed = (await api.get(V2)).ok()
        assert [item["spec"]["port"] for item in listed["items"]] == list("01234")
        assert [len(review["objects"]) for review in server.seen[PATH]] == [5]
        table = (await api.get(V2, accept=TABLE)).ok()
        assert table["rows"][3]["cells"] == ["h3", "h", "3"]


@pytest.mark.conformance(
    "CustomResourceConversionWebhook should be able to convert a non homogeneous list of CRs"
)
@served
async def test_objects_of_an_earlier_storage_version_are_rewritten_when_updated(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        await define(api, server)
        (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
        (await api.post(V1, host("b", "v1", hostPort="two:2"))).ok(201)
        versions = definition({}, "v2")["spec"]["versions"]
        crd = (await api.patch(f"{CRDS}/{NAME}", {"spec": {"versions": versions}})).ok()
        assert crd["status"]["storedVersions"] == ["v1", "v2"]
        (await api.patch(f"{V1}/a", {"metadata": {"labels": {"moved": "yes"}}})).ok()
        items = {
            item.name: item.data for item in api.server.cache.kind("/registry/stable.example.com/hosts/")
        }
        assert b'"apiVersion":"stable.example.com/v2"' in items["a"]
        assert b'"apiVersion":"stable.example.com/v1"' in items["b"]
        # A list of both: only what is stored in another version is asked for.
        listed = (await api.get(V1)).ok()["items"]
        assert [item["spec"]["hostPort"] for item in listed] == ["one:1", "two:2"]


@served
async def test_watches_are_converted_and_applies_merge(api: Api) -> None:
    async with hooks() as server:
        convert_at(server)
        await define(api, server)
        (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
        watch = await api.watch(V2, allowWatchBookmarks="true")
        first = await watch.next()
        assert (first["type"], first["object"]["spec"]) == ("ADDED", {"host": "one", "port": "1"})
        applied = await api.patch(
            f"{V2}/a", host("a", "v2", port="7"), APPLY, fieldManager="me", force="true"
        )
        assert applied.ok()["spec"] == {"host": "one", "port": "7"}
        event = await watch.next()
        assert (event["type"], event["object"]["spec"]["port"]) == ("MODIFIED", "7")
        await api.delete(f"{V1}/a")
        assert (await watch.next())["type"] == "DELETED"
        convert_at(server, lambda _request: {"result": {"status": "Failure", "message": "not today"}})
        (await api.post(V1, host("b", "v1", hostPort="one:1"))).ok(201)
        broken = await watch.next()
        assert (broken["type"], broken["object"]["code"]) == ("ERROR", 500)
        assert await watch.next() == {}


def _renamed(request: dict[str, Any]) -> dict[str, Any]:
    answer = converted(request)
    answer["convertedObjects"][0]["metadata"] = {"name": "other"}
    return answer


def _unchanged(request: dict[str, Any]) -> dict[str, Any]:
    return {"convertedObjects": request["objects"], "result": {"status": "Success"}}


LIES = [
    (lambda r: {"result": {"status": "Failure", "message": "not today"}}, {}, "failed: not today"),
    (lambda r: {"result": {"status": "Success"}}, {}, "expected 1 converted objects, got 0"),
    (lambda r: {**converted(r), "uid": "x"}, {}, "expected response.uid"),
    (_renamed, {}, "converted object 0 has invalid metadata"),
    (_unchanged, {}, "converted object 0 is a Host of stable.example.com/v1"),
    (lambda r: {**converted(r), "convertedObjects": [1]}, {}, "converted object 0 is invalid"),
    (converted, {"kind": "Other"}, "no ConversionReview"),
    (converted, {"response": 1}, "no response"),
]


@pytest.mark.parametrize(("answer", "review", "message"), LIES)
def test_webhooks_that_lie_are_found_out(answer: Any, review: dict[str, Any], message: str) -> None:
    @served
    async def check(api: Api) -> None:
        async with hooks() as server:
            convert_at(server, answer, **review)
            await define(api, server)
            (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
            told = (await api.get(f"{V2}/a")).refused(500, "InternalError")
            assert "conversion webhook for stable.example.com/v1, Kind=Host failed" in told
            assert message in told
            (await api.post(V2, host("b", "v2", host="two", port="2"))).refused(500, "InternalError")
            assert (await api.get(V1)).names == ["a"]

    check()


@served
async def test_a_webhook_that_is_not_there_or_says_nothing_useful(api: Api) -> None:
    async with hooks() as server:
        await define(api, server)
        (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
        assert "could not find the requested resource" in (await api.get(f"{V2}/a")).refused(
            500, "InternalError"
        )

        async def noise(_request: web.Request) -> web.Response:
            return web.Response(body=b"\xff\x00{")

        server.raw(PATH, noise)
        assert "is not JSON" in (await api.get(f"{V2}/a")).refused(500, "InternalError")


@served
async def test_a_webhook_that_hangs_holds_up_nobody_else(api: Api) -> None:
    from sampan.apiserver.core.custom import conversion

    patch = pytest.MonkeyPatch()
    patch.setattr(conversion, "TIMEOUT_S", 0.2)
    try:
        async with hooks() as server:

            async def hang(_request: web.Request) -> web.Response:
                await server.over.wait()
                return web.Response()

            server.raw(PATH, hang)
            await define(api, server)
            (await api.post(V1, host("a", "v1", hostPort="one:1"))).ok(201)
            asked = asyncio.create_task(api.get(f"{V2}/a"))
            assert (await api.get(f"{V1}/a")).ok()["spec"] == {"hostPort": "one:1"}
            assert "context deadline exceeded" in (await asked).refused(500, "InternalError")
    finally:
        patch.undo()
