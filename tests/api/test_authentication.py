from __future__ import annotations

import asyncio
import base64

import pytest

from sampan.apiserver.core.request import Request
from sampan.apiserver.core.users import User
from tests.api.server import CONFIG_MAPS, Api, run, served

SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
SECRETS = "/api/v1/namespaces/kube-system/secrets"
TOKEN = "abcdef.0123456789abcdef"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


async def _bootstrap(api: Api, **changes: str) -> None:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
        **changes,
    }
    body = {
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
    (await api.post(SECRETS, body)).ok(201)


@served
async def test_a_bootstrap_token_names_a_bootstrapper(api: Api) -> None:
    await _bootstrap(api, expiration="2026-01-01T01:00:00Z")
    headers = {"authorization": f"Bearer {TOKEN}"}
    info = (await api.post(SELF, {}, user=None, headers=headers)).ok(201)["status"]["userInfo"]
    assert info["username"] == "system:bootstrap:abcdef"
    groups = ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]
    assert info["groups"] == groups
    await api.clock.advance(3601)
    assert (await api.post(SELF, {}, user=None, headers=headers)).code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"usage-bootstrap-authentication": "false"},
        {"token-secret": "0000000000000000"},
        {"token-id": "abcdeg"},
        {"auth-extra-groups": "system:masters"},
        {"expiration": "2020-01-01T00:00:00Z"},
        {"expiration": "soon"},
    ],
)
@served
async def test_bootstrap_tokens_that_do_not_hold(api: Api, changes: dict[str, str]) -> None:
    await _bootstrap(api, **changes)
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert (await api.post(SELF, {}, user=None, headers=headers)).code == 401


def test_nobody_is_anonymous_but_where_health_is_asked_for() -> None:
    async def work(api: Api) -> None:
        assert (await api.get("/readyz", user=None)).code == 200
        for path in ("/version", "/api", "/healthz/x", "/readyz/"):
            assert (await api.get(path, user=None)).code == 401

    asyncio.run(run(work, anonymous=False, anonymous_paths=("/healthz", "/livez", "/readyz")))


@served
async def test_a_token_dies_with_its_node(api: Api) -> None:
    await api.account()
    (await api.post("/api/v1/nodes", {"metadata": {"name": "n1"}})).ok(201)
    ref = {"kind": "Node", "apiVersion": "v1", "name": "n1"}
    made = await api.post(f"{ACCOUNTS}/default/token", {"spec": {"boundObjectRef": ref}})
    headers = {"authorization": f"Bearer {made.ok(201)['status']['token']}"}
    assert (await api.post(SELF, {}, user=None, headers=headers)).code == 201
    (await api.delete("/api/v1/nodes/n1")).ok()
    assert (await api.post(SELF, {}, user=None, headers=headers)).code == 401


STREAMS = tuple(
    f"/api/v1/namespaces/default/pods/web/{name}" for name in ("exec", "attach", "portforward", "log")
)
PROTECTED = (
    ("GET", "/"),
    ("GET", "/api"),
    ("GET", "/apis"),
    ("GET", "/apis/apps/v1"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/openapi/v2"),
    ("GET", "/openapi/v3"),
    ("GET", "/openid/v1/jwks"),
    ("GET", "/.well-known/openid-configuration"),
    ("GET", "/nothing"),
    ("GET", "/healthz/ping"),
    ("GET", "/api/v1/pods?watch=1"),
    ("GET", "/api/v1/watch/pods"),
    ("POST", SELF),
    ("PUT", "/api/v1/namespaces/default/pods/web"),
    ("PATCH", "/api/v1/namespaces/default/pods/web"),
    ("DELETE", "/api/v1/namespaces/default/pods"),
    ("GET", "/api/v1/nodes/n1/proxy/"),
    *(("GET", path) for path in STREAMS),
    *(("POST", path) for path in STREAMS),
)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}])
def test_what_is_protected_asks_for_credentials_that_hold(headers: dict[str, str]) -> None:
    async def work(api: Api) -> None:
        upgrade = {"upgrade": "websocket", "connection": "upgrade"}
        for method, whole in PROTECTED:
            path, _, query = whole.partition("?")
            more = dict([query.split("=")]) if query else {}
            sent = headers | (upgrade if path in STREAMS else {})
            answer = await api.call(method, path, {}, user=None, headers=sent, **more)
            assert answer.refused(401, "Unauthorized") == "Unauthorized", whole

    asyncio.run(run(work, anonymous=False, anonymous_paths=("/healthz", "/livez", "/readyz")))


@pytest.mark.parametrize(
    ("protocols", "code"),
    [
        ("base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io", 404),
        ("v5.channel.k8s.io,base64url.bearer.authorization.k8s.io.c2VjcmV0", 404),
        ("base64url.bearer.authorization.k8s.io.c2VjcmV0", 401),
        ("base64url.bearer.authorization.k8s.io.c2VjcmV0eA, v5.channel.k8s.io", 401),
        ("base64url.bearer.authorization.k8s.io.!, v5.channel.k8s.io", 401),
        ("base64url.bearer.authorization.k8s.io., v5.channel.k8s.io", 401),
        ("v5.channel.k8s.io", 401),
    ],
)
def test_websockets_bring_their_token_as_a_protocol(protocols: str, code: int) -> None:
    async def work(api: Api) -> None:
        headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-protocol": protocols}
        request = Request(method="GET", path=STREAMS[0], headers=headers)
        assert (await api.server.handle(request)).status == code
        assert code == 401 or request.headers["sec-websocket-protocol"] == "v5.channel.k8s.io"
        plain = await api.get(CONFIG_MAPS, user=None, headers={"sec-websocket-protocol": protocols})
        assert plain.code == 401

    asyncio.run(run(work, anonymous=False, static_tokens={"secret": User("root", ("system:masters",))}))
