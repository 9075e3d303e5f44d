"""What no honest client sends: whatever it is, it gets a Status that says so, and never a 500."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.apiserver.core.bodies import MAX_BODY_BYTES
from tests.api.server import (
    APPLY,
    CONFIG_MAPS,
    JSON_PATCH,
    MERGE,
    PODS,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    served,
)

DEEP = 100_000
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PUT", CONFIG_MAPS, 405),
        ("PATCH", CONFIG_MAPS, 405),
        ("POST", f"{CONFIG_MAPS}/a", 405),
        ("POST", "/api/v1/configmaps", 405),
        ("GET", "/api/v1/configmaps/a", 404),
        ("BREW", f"{CONFIG_MAPS}/a", 405),
        ("OPTIONS", CONFIG_MAPS, 405),
        ("GET", "/api/v1/namespaces/default/nothings", 404),
        ("GET", "/apis/nothing.example.com/v1/things", 404),
        ("GET", "/apis/apps/v1beta1/deployments", 404),
        ("GET", "/nothing", 404),
        ("GET", "/", 200),
        ("GET", "", 404),
        ("GET", "//api//v1", 404),
        ("GET", "/api/v1/namespaces/", 200),
        ("GET", f"{CONFIG_MAPS}/..%2f", 404),
        ("GET", f"{CONFIG_MAPS}/a/b/c/d", 404),
        ("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405),
        ("GET", "/api/v1/namespaces/default/bindings", 405),
        ("GET", "/api/v1/namespaces/default/bindings/x", 405),
    ],
)
@served
async def test_methods_and_paths(api: Api, method: str, path: str, code: int) -> None:
    answer = await api.call(method, path, {} if method in ("PUT", "POST", "PATCH") else None)
    assert answer.code == code, answer.body
    if answer.body == b"404 page not found\n":
        assert code == 404
    elif code != 200:
        answer.refused(code, {404: "NotFound", 405: "MethodNotAllowed"}[code])


BODIES: list[Any] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b"{}}",
    b'{"metadata":null}',
    b'{"metadata":[]}',
    b'{"metadata":{"name":5}}',
    b'{"metadata":{"name":"a"},"data":{"k":NaN}}',
    b'{"metadata":{"name":"a","generation":1e999}}',
    b'{"metadata":{"name":"a","generation":99999999999999999999999}}',
    b'{"metadata":{"name":"a","creationTimestamp":"yesterday"}}',
    b'{"metadata":{"name":"\xff\xfe"}}',
    b'{"metadata":{"name":"\\ud800"}}',
    b"\xff\xfe\x00",
    b'{"metadata":{"name":"a"}}trailing',
    b'{"kind":5,"apiVersion":{}}',
    b'{"a":' * DEEP,
    b'{"metadata":{"name":"a","managedFields":[{"fieldsV1":' + b'{"f:a":' * DEEP + b"}" * DEEP + b"}]}}",
    b"[" * DEEP + b"]" * DEEP,
]

# In YAML, NaN is a text, and what follows the first document does not count.
VALID_YAML = (
    b'{"metadata":{"name":"a"},"data":{"k":NaN}}',
    b'{"metadata":{"name":"a"}}trailing',
)


@pytest.mark.parametrize("media", ["application/json", YAML, PROTOBUF, ""])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@served
async def test_bodies_that_are_no_object(api: Api, body: bytes, media: str) -> None:
    for path in (CONFIG_MAPS, "/apis/apps/v1/namespaces/default/deployments"):
        answer = await api.post(path, body, media=media)
        if media == YAML and body in VALID_YAML:
            continue
        assert answer.code in (400, 415, 422), (answer.code, answer.body[:300])
        assert answer.json["kind"] == "Status"


@pytest.mark.parametrize("media", [JSON_PATCH, MERGE, STRATEGIC, APPLY])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@served
async def test_patches_that_are_none(api: Api, body: bytes, media: str) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = await api.patch(f"{CONFIG_MAPS}/a", body, media, fieldManager="x")
    assert answer.code in (200, 400, 422), (answer.code, answer.body[:300])
    (await api.get(f"{CONFIG_MAPS}/a")).ok()


@pytest.mark.parametrize("subresource", ["scale", "status"])
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@served
async def test_subresources(api: Api, body: bytes, subresource: str) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    (await api.post(path, deployment())).ok(201)
    answer = await api.put(f"{path}/web/{subresource}", body)
    assert answer.code in (200, 400, 409, 422), (answer.code, answer.body[:300])


@pytest.mark.parametrize(
    "path",
    [
        f"{PODS}/web/binding",
        f"{PODS}/web/eviction",
        "/api/v1/namespaces/default/bindings",
        "/api/v1/namespaces/default/serviceaccounts/default/token",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
    ],
)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@served
async def test_posts_of_what_is_never_stored(api: Api, path: str, body: bytes) -> None:
    await api.pod()
    answer = await api.post(path, body)
    assert answer.code in (201, 400, 404, 422), (answer.code, answer.body[:300])


@served
async def test_bodies_that_are_too_large(api: Api) -> None:
    large = b'{"metadata":{"name":"a"},"data":{"k":"' + b"x" * MAX_BODY_BYTES + b'"}}'
    (await api.post(CONFIG_MAPS, large)).refused(413, "RequestEntityTooLarge")
    (await api.post(CONFIG_MAPS, large, media=YAML)).refused(413, "RequestEntityTooLarge")
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    for media in (MERGE, APPLY):
        answer = await api.patch(f"{CONFIG_MAPS}/a", large, media, fieldManager="x")
        answer.refused(413, "RequestEntityTooLarge")


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/json-patch+json", "json"])
@served
async def test_media_types_of_bodies(api: Api, media: str) -> None:
    message = (await api.post(CONFIG_MAPS, config_map("a"), media=media)).refused(415, "UnsupportedMediaType")
    assert "application/json" in message


def _bomb(levels: int) -> bytes:
    """Aliases of aliases: a few lines that stand for 9 ** levels values."""
    lines = [b"l0: &l0 [x,x,x,x,x,x,x,x,x]"]
    for level in range(1, levels):
        inner = b",".join([b"*l%d" % (level - 1)] * 9)
        lines.append(b"l%d: &l%d [%b]" % (level, level, inner))
    return b"\n".join(lines)


YAML_BODIES = [
    b"a: &a [*a]",
    b"a: &a {<<: *a}",
    b"? [a, b]\n: c",
    b"!!python/object/apply:os.system ['true']",
    b"&a " * 50,
    b"a: !!binary x",
    b"a: !!timestamp nothing",
    b"{" * 5000,
    b"- " * 20000,
    b"a: .nan\nmetadata: {name: a}",
    b"1: 2",
    _bomb(9),
]


@pytest.mark.parametrize("body", YAML_BODIES, ids=range(len(YAML_BODIES)))
@served
async def test_yaml_of_all_kinds(api: Api, body: bytes) -> None:
    answer = await api.post(CONFIG_MAPS, body, media=YAML)
    assert answer.code in (400, 422), (answer.code, answer.body[:300])
