from __future__ import annotations

import asyncio
import base64

import pytest

from tests.api.server import Api, run, served

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
