from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import ISSUER, PODS, Api, served

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def _token(api: Api, **spec: Any) -> Any:
    return (await api.post(f"{ACCOUNTS}/default/token", {"spec": spec})).ok(201)["status"]


async def _review(api: Api, token: str, *audiences: str) -> Any:
    body = {"spec": {"token": token, "audiences": list(audiences)}}
    return (await api.post(REVIEWS, body)).ok(201)["status"]


async def _who(api: Api, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return (await api.post(SELF, {}, user=None, headers=headers)).code


@pytest.mark.conformance(
    "ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview"
)
@served
async def test_a_token_says_who_its_bearer_is(api: Api) -> None:
    await api.account()
    status = await _token(api)
    assert status["expirationTimestamp"] == "2026-01-01T01:00:00Z"
    headers = {"authorization": f"Bearer {status['token']}"}
    shown = (await api.post(SELF, {}, user=None, headers=headers)).ok(201)["status"]["userInfo"]
    assert shown["username"] == "system:serviceaccount:default:default"
    assert "system:serviceaccounts:default" in shown["groups"]
    review = await _review(api, status["token"])
    assert review["authenticated"] is True
    assert review["user"]["username"] == shown["username"]
    assert review["audiences"] == [ISSUER]


@served
async def test_a_token_expires(api: Api) -> None:
    await api.account()
    token = (await _token(api, expirationSeconds=600))["token"]
    await api.clock.advance(590)
    assert await _who(api, token) == 201
    await api.clock.advance(11)
    assert await _who(api, token) == 401
    review = await _review(api, token)
    assert "authenticated" not in review or not review["authenticated"]
    assert review["error"]


@served
async def test_a_token_is_for_its_audience(api: Api) -> None:
    await api.account()
    token = (await _token(api, audiences=["vault"]))["token"]
    assert await _who(api, token) == 401
    assert (await _review(api, token, "vault"))["authenticated"] is True
    assert (await _review(api, token, "vault", "other"))["audiences"] == ["vault"]
    assert not (await _review(api, token, "other")).get("authenticated")


@served
async def test_a_bound_token_dies_with_its_pod(api: Api) -> None:
    pod = await api.pod()
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    token = (await _token(api, boundObjectRef=ref))["token"]
    review = await _review(api, token)
    assert review["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["web"]
    assert review["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]
    assert await _who(api, token) == 201
    (await api.delete(f"{PODS}/web")).ok()
    assert await _who(api, token) == 401
    await api.pod()  # another one of the same name
    assert await _who(api, token) == 401


@served
async def test_a_token_says_its_own_id_and_where_its_pod_runs(api: Api) -> None:
    node = (await api.post("/api/v1/nodes", {"metadata": {"name": "node-1"}})).ok(201)
    await api.pod(nodeName="node-1")
    token = (await _token(api, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "web"}))["token"]
    extra = (await _review(api, token))["user"]["extra"]
    assert extra["authentication.kubernetes.io/node-name"] == ["node-1"]
    assert extra["authentication.kubernetes.io/node-uid"] == [node["metadata"]["uid"]]
    (own,) = extra["authentication.kubernetes.io/credential-id"]
    assert own.startswith("JTI=")
    other = (await _review(api, (await _token(api))["token"]))["user"]["extra"]
    assert other["authentication.kubernetes.io/credential-id"] != [own]
    # Whoever still holds it may use it while the pod is there, though its node has gone.
    (await api.delete("/api/v1/nodes/node-1")).ok()
    assert (await _review(api, token))["authenticated"] is True


@served
async def test_a_token_dies_with_its_account(api: Api) -> None:
    await api.account()
    token = (await _token(api))["token"]
    assert await _who(api, token) == 201
    (await api.delete(f"{ACCOUNTS}/default")).ok()
    assert await _who(api, token) == 401
    await api.account()
    assert await _who(api, token) == 401


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 60}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**33}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Deployment", "name": "x"}}, 400, "cannot bind token"),
        ({"boundObjectRef": {"kind": "Pod", "name": "none"}}, 404, 'pods "none" not found'),
    ],
)
@served
async def test_tokens_that_are_not_issued(api: Api, spec: Any, code: int, message: str) -> None:
    await api.account()
    answer = await api.post(f"{ACCOUNTS}/default/token", {"spec": spec})
    assert answer.code == code
    assert message in answer.message


@served
async def test_a_bound_token_names_the_uid_that_it_means(api: Api) -> None:
    await api.pod()
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "another"}
    answer = await api.post(f"{ACCOUNTS}/default/token", {"spec": {"boundObjectRef": ref}})
    answer.refused(409, "Conflict")
    (await api.post(f"{ACCOUNTS}/none/token", {"spec": {}})).refused(404, "NotFound")


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
@served
async def test_what_is_no_token(api: Api, token: str) -> None:
    assert await _who(api, token) == 401
    if token:
        assert (await _review(api, token))["error"] == "invalid bearer token"
    else:
        answer = await api.post(REVIEWS, {"spec": {"token": token}})
        assert answer.refused(400, "BadRequest") == "token is required for TokenReview in authentication"


@served
async def test_other_schemes_are_refused_and_no_credentials_are_nobody(api: Api) -> None:
    headers = {"authorization": "Basic eDp5"}
    (await api.get("/api/v1/nodes", user=None, headers=headers)).refused(401, "Unauthorized")
    message = (await api.get("/api/v1/nodes", user=None)).refused(403, "Forbidden")
    assert 'User "system:anonymous" cannot list resource "nodes"' in message


@served
async def test_nulls_count_as_absent(api: Api) -> None:
    await api.pod()
    status = await _token(api, audiences=None, expirationSeconds=None, boundObjectRef=None)
    assert await _who(api, status["token"]) == 201
    options = {"gracePeriodSeconds": None, "preconditions": None, "dryRun": None}
    eviction = {"metadata": {"name": "web", "labels": None}, "deleteOptions": options}
    (await api.post(f"{PODS}/web/eviction", eviction, dryRun="All")).ok(201)
    (await api.delete(f"{PODS}/web", options)).ok()
