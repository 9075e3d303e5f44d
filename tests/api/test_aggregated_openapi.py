"""What extension servers say of themselves in OpenAPI is said here too, and explained by kubectl."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sampan.apiserver.core.aggregation import openapi
from sampan.cluster import pki
from sampan.cluster.tls import server_context
from tests.api.server import Api
from tests.api.test_aggregation import GROUP, ROOT, SERVICES, Extension, _condition, _with_extension
from tests.kubectl import newest

PLACE = f"apis/{GROUP}/v1"
GVK = {"group": GROUP, "version": "v1", "kind": "Thing"}
THING = {
    "description": "A Thing does nothing.",
    "type": "object",
    "properties": {
        "spec": {
            "description": "What the thing is to be.",
            "type": "object",
            "properties": {"size": {"description": "In metres.", "type": "integer"}},
        },
        "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
    },
    "x-kubernetes-group-version-kind": [GVK],
}
V2: dict[str, Any] = {
    "swagger": "2.0",
    "info": {"title": "things", "version": "v1"},
    "paths": {
        f"{ROOT}/namespaces/{{namespace}}/things": {
            "get": {
                "produces": ["application/json"],
                "parameters": [{"$ref": "#/parameters/limit-1"}],
                "responses": {"200": {"schema": {"$ref": "#/definitions/com.example.things.v1.ThingList"}}},
                "x-kubernetes-group-version-kind": GVK,
            },
            "post": {
                "parameters": [
                    {"name": "body", "in": "body", "required": True,
                     "schema": {"$ref": "#/definitions/com.example.things.v1.Thing"}},
                ],
                "responses": {"201": {"description": "Created"}},
                "x-kubernetes-action": "post",
                "x-kubernetes-group-version-kind": GVK,
            },
        },
        "/apis/others.example.com/v1/others": {"get": {"responses": {}}},
    },
    "parameters": {"limit-1": {"name": "limit", "in": "query", "type": "integer"}},
    "definitions": {
        "com.example.things.v1.Thing": THING,
        "com.example.things.v1.ThingList": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {"$ref": "#/definitions/com.example.things.v1.Thing"}}
            },
        },
        "com.example.things.v1.Unused": {"type": "string"},
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "description": "of long ago"},
    },
}  # fmt: skip


def documented(extension: Extension, **documents: Any) -> None:
    """Let the extension server answer these paths below /openapi/, with JSON or with bytes as they are."""
    plain = extension._handle

    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        if not http.path.startswith("/openapi/"):
            return await plain(http)
        found = documents.get(http.path.removeprefix("/openapi/"))
        if found is None:
            return web.Response(status=404)
        body = found if isinstance(found, bytes) else msgspec.json.encode(found)
        return web.Response(body=body, content_type="application/json")

    extension._handle = handle  # type: ignore[method-assign]


async def _index(ask: Any, has: bool = True) -> dict[str, Any]:
    """The paths of the index of version 3, once the extension server's is there or is not."""
    for _ in range(500):
        _, index = await ask("GET", "/openapi/v3")
        paths: dict[str, Any] = index["paths"]
        if (PLACE in paths) is has:
            return paths
        await asyncio.sleep(0.01)
    raise AssertionError(sorted(paths))


def _serving(tmp_path: Path, work: Any, **documents: Any) -> None:
    async def whole(api: Api, extension: Extension, ask: Any) -> None:
        documented(extension, **documents)
        await _condition(api, "Passed")
        await api.clock.advance(31)
        await work(api, extension, ask)

    _with_extension(tmp_path, whole)


def _index_of(digest: str) -> dict[str, Any]:
    return {"paths": {PLACE: {"serverRelativeURL": f"/openapi/v3/{PLACE}?hash={digest}"}}}


V3 = msgspec.json.decode(openapi.v3_of(openapi.part_of_v2(V2, PLACE), "things"))


def test_documents_of_version_3_are_served_as_they_are(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        url = (await _index(ask))[PLACE]["serverRelativeURL"]
        code, document = await ask("GET", url)
        assert (code, document) == (200, V3)
        _, whole = await ask("GET", "/openapi/v2")
        assert whole["definitions"]["com.example.things.v1.Thing"] == THING
        assert "io.k8s.api.apps.v1.Deployment" in whole["definitions"]
        assert "of long ago" not in str(whole["definitions"])
        assert "com.example.things.v1.Unused" not in whole["definitions"]
        assert f"{ROOT}/namespaces/{{namespace}}/things" in whole["paths"]
        assert "/apis/others.example.com/v1/others" not in whole["paths"]
        # What changed is read when the index says so.
        changed = {**V3, "info": {"title": "changed", "version": "2"}}
        documented(extension, v3=_index_of("B"), v2=V2, **{f"v3/{PLACE}": changed})
        await api.clock.advance(31)
        for _ in range(500):
            if (await ask("GET", f"/openapi/v3/{PLACE}"))[1] == changed:
                break
            await asyncio.sleep(0.01)
        assert (await ask("GET", url))[1]["info"]["title"] == "changed"  # the old hash leads to the new one
        # A server that is down takes nothing with it, and one that is no more is not told of.
        extension.well = False
        await api.clock.advance(31)
        await _condition(api, "FailedDiscoveryCheck")
        assert (await ask("GET", "/openapi/v3/apis/apps/v1"))[0] == 200
        assert (await ask("GET", "/openapi/v2"))[0] == 200
        (await api.delete(f"{SERVICES}/v1.{GROUP}")).ok()
        await _index(ask, has=False)
        assert (await ask("GET", f"/openapi/v3/{PLACE}"))[0] == 404
        assert "com.example.things.v1.Thing" not in (await ask("GET", "/openapi/v2"))[1]["definitions"]

    _serving(tmp_path, work, v3=_index_of("A"), v2=V2, **{f"v3/{PLACE}": V3})


def test_a_document_of_version_2_is_made_into_one_of_version_3(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _index(ask)
        _, document = await ask("GET", f"/openapi/v3/{PLACE}")
        item = document["paths"][f"{ROOT}/namespaces/{{namespace}}/things"]
        assert item["post"]["requestBody"] == {
            "content": {"*/*": {"schema": {"$ref": "#/components/schemas/com.example.things.v1.Thing"}}},
            "required": True,
        }
        assert item["get"]["parameters"] == [
            {"name": "limit", "in": "query", "description": "", "schema": {"type": "integer"}}
        ]
        listed = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert listed == {"$ref": "#/components/schemas/com.example.things.v1.ThingList"}
        assert item["get"]["x-kubernetes-group-version-kind"] == GVK
        spec = document["components"]["schemas"]["com.example.things.v1.Thing"]["properties"]["spec"]
        assert spec["properties"]["size"]["description"] == "In metres."

    _serving(tmp_path, work, v2=V2)


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"v3": b"rubbish", "v2": b"rubbish"},
        {"v3": [1], "v2": [2]},
        {"v3": _index_of("A"), "v2": V2},  # the document that it names is not there
        {"v3": _index_of("A"), f"v3/{PLACE}": {"openapi": "2"}},
        {"v3": {"paths": {PLACE: {"serverRelativeURL": "https://elsewhere.example.com/"}}}},
        {"v2": {**V2, "definitions": {"com.example.things.v1.ThingList": {"type": 5}}}},
        {"v2": {"swagger": "2.0", "paths": {f"{ROOT}/things": {"get": {"responses": {"200": 1}}}}}},
        {"v2": b"[" * 100_000},
    ],
)
def test_servers_that_say_nothing_of_use_leave_the_rest_as_it_is(tmp_path: Path, documents: Any) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        assert "apis/apps/v1" in await _index(ask, has=False)
        assert (await ask("GET", "/openapi/v2"))[1]["swagger"] == "2.0"
        assert (await _condition(api, "Passed"))["status"] == "True"

    _serving(tmp_path, work, **documents)


def test_a_server_without_documents_is_asked_again_after_an_hour_or_a_change(tmp_path: Path) -> None:
    async def work(api: Api, extension: Extension, ask: Any) -> None:
        asked: list[str] = []
        plain = extension._handle

        async def handle(http: web.BaseRequest) -> web.StreamResponse:
            asked.append(http.path)
            return await plain(http)

        extension._handle = handle  # type: ignore[method-assign]

        async def checks(seconds: float, path: str, times: int) -> None:
            before = asked.count(path)
            await api.clock.advance(seconds)
            for _ in range(500):
                if asked.count(path) >= before + times:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(asked)

        await checks(31, ROOT, 1)
        await checks(31, ROOT, 1)
        assert not [path for path in asked if path.startswith("/openapi/")]
        await checks(3600, "/openapi/v2", 1)

    _serving(tmp_path, work)


def test_kubectl_explains_what_an_extension_server_answers(tmp_path: Path) -> None:
    kubectl = newest()

    async def work(api: Api, extension: Extension, ask: Any) -> None:
        await _index(ask)
        pair = pki.issue(extension.authority, "api", datetime.now(UTC), hosts=("127.0.0.1",))
        pki.save(tmp_path, "api", pair)
        port = await ask.http.start(
            "127.0.0.1", 0, server_context(tmp_path / "things-ca.crt", tmp_path, "api")
        )
        for arguments, said in (
            (("explain", "things"), "A Thing does nothing."),
            (("explain", "thing.spec.size"), "In metres."),
            (("explain", "deployments"), "Deployment enables declarative updates"),
        ):
            where = f"--server=https://127.0.0.1:{port}", f"--certificate-authority={tmp_path}/things-ca.crt"
            command = [kubectl, *where, "--token=jane", f"--cache-dir={tmp_path}", *arguments]
            done = await asyncio.to_thread(
                subprocess.run,
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                env={"KUBECONFIG": "/dev/null", "HOME": str(tmp_path)},
            )
            assert done.returncode == 0, done.stderr
            assert said in done.stdout

    _serving(tmp_path, work, v2=V2)


def test_a_definition_whose_name_is_taken_gets_another() -> None:
    own = {"paths": {}, "definitions": {"a.B": {"type": "string"}}, "swagger": "2.0"}
    part = {
        "paths": {"/x": {"get": {"schema": {"$ref": "#/definitions/a.B"}}}},
        "definitions": {"a.B": {"type": "object"}, "a.C": {"$ref": "#/definitions/a.B"}},
    }
    merged = openapi.merged_v2(own, [part, {"paths": {}, "definitions": {"a.B": {"type": "string"}}}])
    assert merged["definitions"] == {
        "a.B": {"type": "string"},
        "a.B_v2": {"type": "object"},
        "a.C": {"$ref": "#/definitions/a.B_v2"},
    }
    assert merged["paths"]["/x"]["get"]["schema"]["$ref"] == "#/definitions/a.B_v2"
    assert own["definitions"] == {"a.B": {"type": "string"}}
