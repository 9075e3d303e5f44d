"""Sentences of Kubernetes' conformance tests about what clients do with built-in objects, verb by verb."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from tests.api.server import (
    CONFIG_MAPS,
    MERGE,
    PODS,
    STRATEGIC,
    Api,
    Watch,
    certificate_request,
    config_map,
    pod,
    served,
    user,
)

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
CERTIFICATES = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
NAMESPACES = "/api/v1/namespaces"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"
REVIEWS = "/apis/authorization.k8s.io/v1"
CSR = {
    "request": certificate_request(),
    "signerName": "example.com/e2e",
    "usages": ["client auth", "digital signature"],
    "expirationSeconds": 3600,
}
SCHEMA = {
    "matchingPrecedence": 10000,
    "priorityLevelConfiguration": {"name": "global-default"},
    "distinguisherMethod": {"type": "ByUser"},
    "rules": [
        {
            "subjects": [{"kind": "User", "user": {"name": "example-e2e"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        }
    ],
}
LEVEL = {
    "type": "Limited",
    "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
}


async def _seen(watch: Watch, kind: str, name: str) -> Any:
    """The object of the next such event; what the server itself writes of conditions may come between."""
    while True:
        event = await watch.next()
        assert event, f"the watch ended without {kind} of {name}"
        if (event["type"], event["object"]["metadata"]["name"]) == (kind, name):
            return event["object"]


def _condition(kind: str) -> dict[str, str]:
    time = "2026-01-01T00:00:00Z"
    return {"type": kind, "status": "True", "reason": "E2E", "message": "told", "lastTransitionTime": time}


@pytest.mark.parametrize(
    ("url", "spec"),
    [
        pytest.param(
            f"{FLOW}/flowschemas",
            SCHEMA,
            marks=pytest.mark.conformance(
                "API priority and fairness should support FlowSchema API operations"
            ),
        ),
        pytest.param(
            f"{FLOW}/prioritylevelconfigurations",
            LEVEL,
            marks=pytest.mark.conformance(
                "API priority and fairness should support PriorityLevelConfiguration API operations"
            ),
        ),
        pytest.param(
            CERTIFICATES,
            CSR,
            marks=pytest.mark.conformance("Certificates API should support CSR API operations"),
        ),
    ],
)
@served
async def test_operations(api: Api, url: str, spec: Any) -> None:
    """Discovery, create, get, list, watch, patch, update, status, delete, and the collection of them."""
    group, _, plural = url.rpartition("/")
    names = {r["name"] for r in (await api.get(group)).ok()["resources"]}
    assert {plural, f"{plural}/status"} <= names
    revisions = []
    for name in ("one", "two", "three"):
        body = {"metadata": {"name": name, "labels": {"of": "e2e"}}, "spec": spec}
        revisions.append((await api.post(url, body)).ok(201)["metadata"]["resourceVersion"])
    read = (await api.get(f"{url}/one")).ok()
    assert {key: read["spec"][key] for key in spec}.keys() == spec.keys()
    assert (await api.get(url, labelSelector="of=e2e")).names == ["one", "three", "two"]
    watch = await api.watch(url, labelSelector="of=e2e", resourceVersion=revisions[0])
    await _seen(watch, "ADDED", "two")
    await _seen(watch, "ADDED", "three")
    patched = (await api.patch(f"{url}/one", {"metadata": {"annotations": {"patched": "true"}}}, MERGE)).ok()
    patched["metadata"]["annotations"]["updated"] = "true"
    (await api.put(f"{url}/one", patched)).ok()
    while (await _seen(watch, "MODIFIED", "one"))["metadata"].get("annotations") != {
        "patched": "true",
        "updated": "true",
    }:
        pass
    status = {"status": {"conditions": [_condition("E2E")]}}
    (await api.patch(f"{url}/one/status", status, MERGE)).ok()
    told = (await api.get(f"{url}/one/status")).ok()
    (mine,) = [c for c in told["status"]["conditions"] if c["type"] == "E2E"]
    mine["message"] = "updated"
    del told["metadata"]["resourceVersion"]
    (await api.put(f"{url}/one/status", told)).ok()
    assert mine in (await api.get(f"{url}/one")).ok()["status"]["conditions"]
    (await api.delete(f"{url}/one")).ok()
    assert mine in (await _seen(watch, "DELETED", "one"))["status"]["conditions"]
    (await api.get(f"{url}/one")).refused(404, "NotFound")
    (await api.delete(url, labelSelector="of=e2e")).ok()
    assert (await api.get(url, labelSelector="of=e2e")).names == []
    await watch.close()


@pytest.mark.conformance("Certificates API should support CSR API operations")
@served
async def test_a_certificate_request_is_approved(api: Api) -> None:
    """Approval and status are apart, and whoever asks is written down."""
    body = {"metadata": {"name": "jane"}, "spec": CSR | {"username": "somebody-else"}}
    made = (await api.post(CERTIFICATES, body)).ok(201)
    assert made["spec"]["username"] == "kubernetes-admin"
    assert (await api.get(f"{CERTIFICATES}/jane/approval")).ok()["metadata"]["name"] == "jane"
    approved = {"status": {"conditions": [{**_condition("Approved"), "lastUpdateTime": None}]}}
    (await api.patch(f"{CERTIFICATES}/jane/approval", approved, MERGE)).ok()
    # The certificate is not the approver's to give, and the approval not the signer's.
    told = (await api.get(f"{CERTIFICATES}/jane")).ok()
    assert [c["type"] for c in told["status"]["conditions"]] == ["Approved"]
    changed = {"spec": {"usages": ["server auth"]}}
    kept = (await api.patch(f"{CERTIFICATES}/jane", changed, MERGE)).ok()
    assert kept["spec"]["usages"] == CSR["usages"]


@pytest.mark.conformance(
    "Namespaces should apply an update to a Namespace", "Namespaces should patch a Namespace"
)
@served
async def test_a_namespace_is_patched_and_updated(api: Api) -> None:
    made = (await api.post(NAMESPACES, {"metadata": {"name": "shop"}})).ok(201)
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    patched = (await api.patch(f"{NAMESPACES}/shop", {"metadata": {"labels": {"a": "b"}}}, STRATEGIC)).ok()
    assert patched["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop", "a": "b"}
    patched["metadata"]["labels"]["shop"] = "updated"
    (await api.put(f"{NAMESPACES}/shop", patched)).ok()
    assert (await api.get(f"{NAMESPACES}/shop")).ok()["metadata"]["labels"]["shop"] == "updated"
    # The label that names it cannot be taken from it.
    del patched["metadata"]["labels"]["kubernetes.io/metadata.name"]
    del patched["metadata"]["resourceVersion"]
    kept = (await api.put(f"{NAMESPACES}/shop", patched)).ok()
    assert kept["metadata"]["labels"]["kubernetes.io/metadata.name"] == "shop"


@pytest.mark.conformance("Watchers should observe add, update, and delete watch notifications on configmaps")
@served
async def test_watches_with_labels_see_their_own(api: Api) -> None:
    def labelled(name: str, of: str) -> dict[str, Any]:
        body = config_map(name)
        body["metadata"]["labels"] = {"watch": of}
        return body

    one = await api.watch(CONFIG_MAPS, labelSelector="watch=A")
    two = await api.watch(CONFIG_MAPS, labelSelector="watch=B")
    both = await api.watch(CONFIG_MAPS, labelSelector="watch in (A,B)")
    (await api.post(CONFIG_MAPS, labelled("a", "A"))).ok(201)
    for number in "12":
        (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"mutation": number}}, MERGE)).ok()
    (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    (await api.post(CONFIG_MAPS, labelled("b", "B"))).ok(201)
    (await api.delete(f"{CONFIG_MAPS}/b")).ok()
    of_a = [("ADDED", "a"), ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    of_b = [("ADDED", "b"), ("DELETED", "b")]
    assert await one.take(4) == of_a
    assert await two.take(2) == of_b
    assert await both.take(6) == of_a + of_b
    for watch in (one, two, both):
        await watch.close()


@pytest.mark.conformance(
    "Watchers should be able to restart watching from the last resource version observed by the previous "
    "watch"
)
@served
async def test_a_watch_goes_on_where_the_one_before_ended(api: Api) -> None:
    first = await api.watch(CONFIG_MAPS)
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"mutation": "1"}}, MERGE)).ok()
    assert await first.take(1) == [("ADDED", "a")]
    last = (await first.next())["object"]["metadata"]["resourceVersion"]
    await first.close()
    (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"mutation": "2"}}, MERGE)).ok()
    (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    second = await api.watch(CONFIG_MAPS, resourceVersion=last)
    event = await second.next()
    assert (event["type"], event["object"]["data"]) == ("MODIFIED", {"mutation": "2"})
    assert await second.take(1) == [("DELETED", "a")]
    await second.close()


@pytest.mark.conformance("ResourceQuota should apply changes to a resourcequota status")
@served
async def test_the_status_of_a_quota(api: Api) -> None:
    hard = {"cpu": "500m", "memory": "500Mi"}
    made = (await api.post(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard}})).ok(201)
    assert made["spec"]["hard"] == hard
    read = (await api.get(f"{QUOTAS}/q/status")).ok()
    read["status"] = {"hard": {"cpu": "1", "memory": "1Gi"}, "used": {"cpu": "0"}}
    read["spec"]["hard"] = {"cpu": "7"}
    updated = (await api.put(f"{QUOTAS}/q/status", read)).ok()
    assert (updated["spec"]["hard"], updated["status"]["hard"]["cpu"]) == (hard, "1")
    patched = await api.patch(f"{QUOTAS}/q/status", {"status": {"hard": {"cpu": "2"}}}, MERGE)
    assert patched.ok()["status"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    ignored = (await api.patch(f"{QUOTAS}/q", {"status": {"hard": {"cpu": "9"}}}, MERGE)).ok()
    assert ignored["status"]["hard"]["cpu"] == "2"


@pytest.mark.conformance(
    "ResourceQuota should be able to update and delete ResourceQuota.",
    "ResourceQuota should manage the lifecycle of a ResourceQuota",
)
@served
async def test_the_life_of_a_quota(api: Api) -> None:
    for name in ("a", "b"):
        body = {"metadata": {"name": name, "labels": {"of": "e2e"}}, "spec": {"hard": {"cpu": "1"}}}
        (await api.post(QUOTAS, body)).ok(201)
    assert (await api.get(f"{QUOTAS}/a")).ok()["spec"]["hard"] == {"cpu": "1"}
    assert (await api.get("/api/v1/resourcequotas", labelSelector="of=e2e")).names == ["a", "b"]
    change = {"metadata": {"labels": {"a": "patched"}}, "spec": {"hard": {"memory": "750Mi"}}}
    patched = (await api.patch(f"{QUOTAS}/a", change, STRATEGIC)).ok()
    assert patched["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
    patched["spec"]["hard"] = {"cpu": "2", "memory": "1Gi"}
    assert (await api.put(f"{QUOTAS}/a", patched)).ok()["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}
    (await api.delete(f"{QUOTAS}/a")).ok()
    (await api.get(f"{QUOTAS}/a")).refused(404, "NotFound")
    (await api.delete(QUOTAS, labelSelector="of=e2e")).ok()
    assert (await api.get(QUOTAS)).names == []


@pytest.mark.conformance("ServiceAccounts should run through the lifecycle of a ServiceAccount")
@served
async def test_the_life_of_a_service_account(api: Api) -> None:
    watch = await api.watch(ACCOUNTS, labelSelector="of=e2e")
    body = {"metadata": {"name": "robot", "labels": {"of": "e2e"}}}
    (await api.post(ACCOUNTS, body)).ok(201)
    patched = (await api.patch(f"{ACCOUNTS}/robot", {"automountServiceAccountToken": False}, STRATEGIC)).ok()
    assert patched["automountServiceAccountToken"] is False
    assert (await api.get("/api/v1/serviceaccounts", labelSelector="of=e2e")).names == ["robot"]
    (await api.delete(ACCOUNTS, labelSelector="of=e2e")).ok()
    assert await watch.take(3) == [("ADDED", "robot"), ("MODIFIED", "robot"), ("DELETED", "robot")]
    await watch.close()


@pytest.mark.conformance("ServiceAccounts should update a ServiceAccount")
@served
async def test_a_service_account_is_updated(api: Api) -> None:
    made = (await api.post(ACCOUNTS, {"metadata": {"name": "robot"}})).ok(201)
    assert "automountServiceAccountToken" not in made
    made["automountServiceAccountToken"] = True
    (await api.put(f"{ACCOUNTS}/robot", made)).ok()
    assert (await api.get(f"{ACCOUNTS}/robot")).ok()["automountServiceAccountToken"] is True


@pytest.mark.conformance("ServiceAccounts should allow opting out of API token automount")
@pytest.mark.parametrize(
    ("account", "of_pod", "mounted"),
    [
        (None, None, True),
        (True, None, True),
        (False, None, False),
        (None, True, True),
        (True, True, True),
        (False, True, True),
        (None, False, False),
        (True, False, False),
        (False, False, False),
    ],
)
@served
async def test_who_wants_no_token_gets_none(
    api: Api, account: bool | None, of_pod: bool | None, mounted: bool
) -> None:
    body: dict[str, Any] = {"metadata": {"name": "robot"}}
    if account is not None:
        body["automountServiceAccountToken"] = account
    (await api.post(ACCOUNTS, body)).ok(201)
    spec: dict[str, Any] = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
    made = (await api.post(PODS, pod(serviceAccountName="robot", **spec))).ok(201)
    places = [m["mountPath"] for m in made["spec"]["containers"][0].get("volumeMounts", ())]
    assert places == ["/var/run/secrets/kubernetes.io/serviceaccount"] * mounted


@pytest.mark.conformance(
    "ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer"
)
@served
async def test_a_token_is_verified_by_what_the_issuer_publishes(api: Api) -> None:
    await api.account()
    token = (await api.post(f"{ACCOUNTS}/default/token", {"spec": {"audiences": ["oidc-test"]}})).ok(201)
    found = (await api.get("/.well-known/openid-configuration")).ok()
    keys = {key["kid"]: jwt.PyJWK(key) for key in (await api.get("/openid/v1/jwks")).ok()["keys"]}
    head = jwt.get_unverified_header(token["status"]["token"])
    assert head["alg"] in found["id_token_signing_alg_values_supported"]
    claims = jwt.decode(
        token["status"]["token"],
        keys[head["kid"]],
        algorithms=[head["alg"]],
        audience="oidc-test",
        issuer=found["issuer"],
        options={
            "verify_exp": False,
            "verify_iat": False,
            "verify_nbf": False,
        },  # the server's clock is moved
    )
    assert claims["sub"] == "system:serviceaccount:default:default"


@pytest.mark.conformance("SubjectReview should support SubjectReview API operations")
@served
async def test_reviews_of_a_service_account(api: Api) -> None:
    (await api.post(ACCOUNTS, {"metadata": {"name": "robot"}})).ok(201)
    subject = "system:serviceaccount:default:robot"
    groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]
    asked = {"verb": "get", "resource": "configmaps", "namespace": "default"}
    review = {"spec": {"resourceAttributes": asked, "user": subject, "groups": groups}}
    local = {"metadata": {"namespace": "default"}, **review}
    paths = (
        (f"{REVIEWS}/subjectaccessreviews", review, None),
        (f"{REVIEWS}/namespaces/default/localsubjectaccessreviews", local, None),
        (f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": asked}}, subject),
    )
    names = {r["name"] for r in (await api.get(REVIEWS)).ok()["resources"]}
    assert {"subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews"} <= names
    for allowed in (False, True):
        for path, body, by in paths:
            who = {} if by is None else {"user": user(by, *groups)}
            assert (await api.post(path, body, **who)).ok(201)["status"]["allowed"] is allowed
        if not allowed:
            await _bind_view(api)


async def _bind_view(api: Api) -> None:
    binding = {
        "metadata": {"name": "robot"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    (await api.post(path, binding)).ok(201)


@pytest.mark.conformance("ResourceQuota should create a ResourceQuota and capture the life of a replica set.")
@served
async def test_a_quota_counts_replica_sets(api: Api) -> None:
    body = {"metadata": {"name": "q"}, "spec": {"hard": {"count/replicasets.apps": "1"}}}
    (await api.post(QUOTAS, body)).ok(201)
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    path = "/apis/apps/v1/namespaces/default/replicasets"
    (await api.post(path, {"metadata": {"name": "a"}, "spec": spec})).ok(201)
    assert (await api.get(f"{QUOTAS}/q")).ok()["status"]["used"] == {"count/replicasets.apps": "1"}
    (await api.post(path, {"metadata": {"name": "b"}, "spec": spec})).refused(403, "Forbidden")
    (await api.delete(f"{path}/a", propagationPolicy="Background")).ok()
    assert (await api.get(f"{QUOTAS}/q")).ok()["status"]["used"] == {"count/replicasets.apps": "0"}
