"""Every endpoint is asked for all sorts of nonsense: no answer is a 500, and nothing is half stored."""

from __future__ import annotations

import asyncio
import copy
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.apiserver.core.request import Response
from sampan.apiserver.core.resource import Resource
from sampan.store.backend import KeyRange
from tests.api.server import (
    ADMIN,
    APPLY,
    CONFIG_MAPS,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    TABLE,
    Api,
    config_map,
    run,
)
from tests.fuzz.documents import NAMES, document, junk
from tests.fuzz.repair import repaired

EXAMPLES = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
SELECTORS = (
    "a=b",
    "a in (b,c)",
    "a notin (",
    "!a",
    "a,,b",
    "=",
    "a==b==c",
    "a>1",
    "a>x",
    "é",
    "a" * 9000,
    "metadata.name=x",
    "metadata.name!=x",
    "spec.nodeName=",
    "status.phase=Running,metadata.name=a",
    "spec.nope=1",
    "\\,=\\=",
)
WORDS = (
    "",
    "0",
    "1",
    "-1",
    "99999999999",
    "9" * 40,
    "1.5",
    "true",
    "false",
    "All",
    "None",
    "null",
    "Exact",
    "NotOlderThan",
    "Strict",
    "Warn",
    "Ignore",
    "é",
    "\x00",
    "a" * 200,
)
PARAMETERS = (
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
    "pretty",
    "includeObject",
)
# The kinds are divided among so many tests; questions in each of their examples.
PARTS = 6
QUESTIONS = 80
# Rounds of mending a document that the server refuses.
ADVICE = 40
_MISTYPED = re.compile(r"struct field \w+\.(\S+) of type")
FORMS = (
    "application/json",
    "*/*",
    "",
    TABLE,
    PARTIAL,
    "application/yaml",
    "text/html",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v9;g=x",
    ";;;",
    "application/json;as=APIGroupDiscoveryList;v=v2",
)
MEDIA = (
    "application/json",
    "application/yaml",
    "text/plain",
    "application/vnd.kubernetes.protobuf",
    "",
    MERGE,
    STRATEGIC,
    JSON_PATCH,
    APPLY,
)
BODIES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"\xff\xfe",
    b'{"a":NaN}',
    b'{"a":1e999}',
    b"{" * 5000,
    b"[" * 100_000,
    b'{"metadata":' * 3000,
    b'{"a":1,"a":2}',
    b'{"metadata":null,"spec":null}',
    b"a: &x [*x]",
    b"a: b: c",
    b"--- \n---\n",
    b"k8s\x00",
    b"k8s\x00\x0a\xff\xff",
    b'{"metadata":{"name":"\\ud800"}}',
    b'{"spec":' + b"9" * 400 + b"}",
    b"\x00",
    b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{"containers":[{}]}}',
)


def some_query(chance: random.Random) -> dict[str, str]:
    query: dict[str, str] = {}
    for _ in range(chance.choice((0, 0, 1, 2, 4))):
        query[chance.choice(PARAMETERS)] = chance.choice(WORDS)
    for name in ("labelSelector", "fieldSelector"):
        if chance.random() < 0.15:
            query[name] = chance.choice(SELECTORS)
    return query


def some_patch(resource: Resource, media: str, chance: random.Random) -> Any:
    if media != JSON_PATCH:
        return document(resource.struct, chance, 0.05)
    paths = ("", "/", "/metadata", "/metadata/labels/a", "/spec", "/spec/-", "/a~2b", "/metadata/name/0", "x")
    operations = ("add", "remove", "replace", "move", "copy", "test", "nope", None)
    return [
        {
            "op": chance.choice(operations),
            "path": chance.choice(paths),
            "from": chance.choice(paths),
            "value": junk(chance),
        }
        for _ in range(chance.choice((1, 2, 3)))
    ]


def some_body(resource: Resource, media: str, chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return chance.choice(BODIES)
    made = (
        some_patch(resource, media, chance)
        if media in (MERGE, STRATEGIC, JSON_PATCH, APPLY)
        else document(resource.struct, chance, chance.choice((0.0, 0.02, 0.2)))
    )
    if isinstance(made, dict) and chance.random() < 0.9:
        made["apiVersion"], made["kind"] = resource.api_version, resource.kind.kind
    body = msgspec.json.encode(made)
    return body[: chance.randrange(len(body))] if chance.random() < 0.05 else body


def some_path(resource: Resource, chance: random.Random, method: str) -> str:
    kind = resource.kind
    path = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if kind.namespaced and chance.random() < 0.9:
        path += f"/namespaces/{chance.choice(('default', 'default', 'none', *NAMES))}"
    path += f"/{kind.plural}"
    if (method != "POST" and chance.random() < 0.7) or chance.random() < 0.1:
        path += f"/{chance.choice(NAMES[:5] if chance.random() < 0.8 else NAMES)}"
        if chance.random() < 0.3:
            path += f"/{chance.choice((*resource.subresources, 'nope', 'status'))}"
    return path


async def end(answer: Response) -> None:
    """Take what there is of a watch, and leave it."""
    if answer.chunks is not None:
        closing: Any = answer.chunks
        if hasattr(closing, "aclose"):
            await closing.aclose()


async def create(api: Api, resource: Resource, chance: random.Random) -> None:
    """Make an object of the kind, by taking the server's advice for a while."""
    made = copy.deepcopy(document(resource.struct, chance, 0.0))
    made["apiVersion"], made["kind"] = resource.api_version, resource.kind.kind
    made["metadata"] = {"name": chance.choice(NAMES[:4]), "labels": {"a": "b"}}
    kind = resource.kind
    path = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    path += f"/namespaces/default/{kind.plural}" if kind.namespaced else f"/{kind.plural}"
    for _ in range(ADVICE):
        body = msgspec.json.encode(made)
        answer = await api.post(path, body)
        assert answer.code != 500, (path, body[:3000], answer.body[:600])
        if answer.code not in (400, 422):
            return
        causes = answer.json.get("details", {}).get("causes", [])
        wrong = _MISTYPED.search(answer.message)
        if wrong is not None:
            causes = [{"field": wrong.group(1), "reason": "", "message": ""}]
        if not causes:
            return
        repaired(made, causes, chance)


async def ask(api: Api, resource: Resource, chance: random.Random) -> None:
    method = chance.choice(("GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS"))
    media = MEDIA[0] if chance.random() < 0.9 else chance.choice(MEDIA)
    body = b"" if chance.random() < 0.9 else chance.choice(BODIES)
    if method == "PATCH":
        media = chance.choice(MEDIA[5:])
    if method in ("POST", "PUT", "PATCH"):
        body = some_body(resource, media, chance)
    accept = chance.choice(FORMS) if chance.random() < 0.3 else FORMS[0]
    query = some_query(chance)
    if media == APPLY and chance.random() < 0.9:
        query["fieldManager"] = "fuzz"
    if method == "GET" and chance.random() < 0.2:
        query["watch"] = "true"
    path = some_path(resource, chance, method)
    async with asyncio.timeout(10):
        answer = await api.send(method, path, body, ADMIN, media, accept, None, query)
    assert answer.status != 500 or b"more than one PodDisruptionBudget" in answer.body, (
        method,
        path,
        query,
        media,
        body[:3000],
        answer.body[:600],
    )
    await end(answer)


async def whole(api: Api) -> None:
    """What is stored can be read, listed and shown by everybody."""
    for resource in api.server.resources:
        for item in resource.cache:
            obj = resource.decode_stored(item.data)
            assert obj.metadata.name == item.name
            assert obj.metadata.uid
            assert obj.metadata.resourceVersion == str(item.revision)
            assert not resource.kind.virtual
    # What the server itself writes meanwhile must not lie between the two that are compared.
    cache, revision = api.server.cache, -1
    while revision != cache.revision:
        stored = await api.store.read(KeyRange.prefix("/registry/"))
        revision = stored.revision
        await cache.reached(revision)
    assert len(stored.entries) == sum(cache.count for cache in api.server.cache._kinds.values())
    for resource in api.server.resources.kinds:
        if "list" in resource.verbs:
            path = f"/apis/{resource.group}/{resource.version}" if resource.group else "/api/v1"
            for accept in (FORMS[0], TABLE, PARTIAL):
                (await api.get(f"{path}/{resource.plural}", accept=accept)).ok()


@pytest.mark.parametrize("start", range(PARTS))
def test_every_endpoint_stands_nonsense(start: int) -> None:
    """A server for each example, with a part of the kinds: valid objects first, then a chain of nonsense."""

    @EXAMPLES
    @given(st.integers(0, 2**40))
    def check(seed: int) -> None:
        chance = random.Random(seed)

        async def work(api: Api) -> None:
            await api.account()
            every = list(api.server.resources)[start::PARTS]
            for resource in every:
                if "create" in resource.kind.verbs:
                    await create(api, resource, chance)
            for _ in range(QUESTIONS):
                await ask(api, chance.choice(every), chance)
            await whole(api)

        asyncio.run(run(work))

    check()


@settings(EXAMPLES, max_examples=50)
@given(
    st.sampled_from(("POST", "PUT", "PATCH", "DELETE")),
    st.sampled_from(MEDIA),
    st.binary(max_size=200) | st.sampled_from(BODIES) | st.text(max_size=50).map(str.encode),
)
def test_no_body_is_too_strange(method: str, media: str, body: bytes) -> None:
    async def work(api: Api) -> None:
        await api.post(CONFIG_MAPS, config_map("a", x="1"))
        path = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/a"
        answer = await api.send(method, path, body, ADMIN, media, FORMS[0], None, {"fieldManager": "fuzz"})
        assert answer.status != 500, answer.body
        await whole(api)

    asyncio.run(run(work))


@settings(EXAMPLES, max_examples=50)
@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.text(max_size=20),
    st.text(max_size=20),
    st.text(max_size=60),
)
def test_no_selector_number_or_path_is_too_strange(
    labels: str, fields: str, revision: str, limit: str, path: str
) -> None:
    async def work(api: Api) -> None:
        query = {
            "labelSelector": labels,
            "fieldSelector": fields,
            "resourceVersion": revision,
            "limit": limit,
            "continue": path,
        }
        for watch in ("", "1"):
            asked = query | {"watch": watch} if watch else query
            answer = await api.send("GET", CONFIG_MAPS, None, ADMIN, "", FORMS[0], None, asked)
            assert answer.status != 500, answer.body
            await end(answer)
        for method in ("GET", "POST", "DELETE", "PATCH"):
            answer = await api.send(method, f"/api/v1/{path}", b"{}", ADMIN, MERGE, FORMS[0], None, {})
            assert answer.status != 500, answer.body
            await end(answer)

    asyncio.run(run(work))
