from __future__ import annotations

import pytest

from tests.api.server import Api, served

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BOTH = f"{AGGREGATED},application/json"


@served
async def test_the_core_group_has_one_version(api: Api) -> None:
    document = (await api.get("/api")).ok()
    assert document["kind"] == "APIVersions"
    assert document["versions"] == ["v1"]
    assert document["serverAddressByClientCIDRs"][0]["serverAddress"] == "127.0.0.1:6443"


@served
async def test_groups_name_their_preferred_version(api: Api) -> None:
    document = (await api.get("/apis")).ok()
    groups = {group["name"]: group for group in document["groups"]}
    assert document["kind"] == "APIGroupList"
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert [v["version"] for v in groups["autoscaling"]["versions"]] == ["v2", "v1"]


@served
async def test_one_group(api: Api) -> None:
    document = (await api.get("/apis/batch")).ok()
    assert (document["kind"], document["name"]) == ("APIGroup", "batch")


@served
async def test_resources_of_a_version_with_their_subresources(api: Api) -> None:
    document = (await api.get("/apis/apps/v1")).ok()
    rows = {row["name"]: row for row in document["resources"]}
    assert rows["deployments"]["shortNames"] == ["deploy"]
    assert "watch" in rows["deployments"]["verbs"]
    # Hashes as kube-apiserver gives them: of the group, version and kind that are stored.
    assert rows["deployments"]["storageVersionHash"] == "8aSe+NMegvE="
    scale = rows["deployments/scale"]
    assert (scale["kind"], scale["group"], scale["version"]) == ("Scale", "autoscaling", "v1")
    pods = {row["name"]: row for row in (await api.get("/api/v1")).ok()["resources"]}
    assert pods["pods/eviction"]["group"] == "policy"
    assert pods["pods/log"]["verbs"] == ["get"]
    assert pods["pods"]["storageVersionHash"] == "xPOwRZ+Yhw8="
    assert "storageVersionHash" not in pods["bindings"]
    both = [(await api.get(f"/apis/autoscaling/{version}")).ok()["resources"][0] for version in ("v1", "v2")]
    assert both[0]["storageVersionHash"] == both[1]["storageVersionHash"]


@pytest.mark.conformance("AggregatedDiscovery should support aggregated discovery interface")
@pytest.mark.parametrize(("root", "first"), [("/api", None), ("/apis", "apiregistration.k8s.io")])
@served
async def test_aggregated_discovery(api: Api, root: str, first: str | None) -> None:
    answer = await api.get(root, accept=BOTH)
    document = answer.ok()
    assert answer.response.content_type == AGGREGATED
    assert document["kind"] == "APIGroupDiscoveryList"
    assert document["items"][0]["metadata"].get("name") == first
    assert all(version["freshness"] == "Current" for version in document["items"][0]["versions"])


@served
async def test_a_known_etag_gets_304_with_the_type_of_what_the_client_has(api: Api) -> None:
    first = await api.get("/apis", accept=BOTH)
    again = await api.get("/apis", accept=BOTH, headers={"if-none-match": first.headers["ETag"]})
    assert (again.code, again.body) == (304, b"")
    assert again.response.content_type == AGGREGATED
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (await api.get("/apis", accept=BOTH, headers={"if-none-match": '"other"'})).code == 200


@served
async def test_clients_that_know_only_the_beta_form_get_the_old_documents(api: Api) -> None:
    beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    assert (await api.get("/apis", accept=beta)).ok()["kind"] == "APIGroupList"


@pytest.mark.parametrize("path", ["/apis/nothing.example.com", "/nothing", "/apis/none/v1/things"])
@served
async def test_what_is_not_there_is_404(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body) == (404, b"404 page not found\n")


@served
async def test_version_and_health(api: Api) -> None:
    version = (await api.get("/version")).ok()
    assert (version["major"], version["gitVersion"][:2]) == ("1", "v1")
    for path in ("/healthz", "/livez", "/readyz"):
        assert (await api.get(path, user=None)).body == b"ok"
    assert (await api.get("/readyz/ping")).body == b"ok"
    assert b"readyz check passed" in (await api.get("/readyz", verbose="")).body


@pytest.mark.conformance(
    "ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer"
)
@served
async def test_the_issuer_says_where_its_keys_are(api: Api) -> None:
    issuer = (await api.get("/.well-known/openid-configuration")).ok()
    assert issuer["jwks_uri"].endswith("/openid/v1/jwks")
    keys = (await api.get("/openid/v1/jwks")).ok()["keys"]
    assert keys[0]["kty"] == "EC"


@served
async def test_clients_that_take_nothing_but_the_beta_form_are_refused(api: Api) -> None:
    beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    for root in ("/api", "/apis"):
        message = (await api.get(root, accept=beta)).refused(406, "NotAcceptable")
        assert message.endswith("application/json, application/yaml, application/vnd.kubernetes.protobuf")


@served
async def test_documents_have_no_more_fields_than_kube_apiservers(api: Api) -> None:
    assert "apiVersion" not in (await api.get("/api/v1")).ok()
    assert (await api.get("/apis/apps/v1")).ok()["apiVersion"] == "v1"
    items = (await api.get("/apis", accept=AGGREGATED)).ok()["items"]
    assert {tuple(item["metadata"]) for item in items} == {("name",)}


@pytest.mark.parametrize(
    ("path", "code"), [("/apis", 200), ("/apis/apps", 200), ("/api", 405), ("/apis/apps/v1", 405)]
)
@served
async def test_the_lists_of_groups_answer_any_method(api: Api, path: str, code: int) -> None:
    assert (await api.call("HEAD", path)).code == code
    assert (await api.post(path, {})).code == code


@pytest.mark.parametrize("path", ["/openid/v1/jwks", "/.well-known/openid-configuration"])
@served
async def test_the_issuers_documents_can_only_be_got(api: Api, path: str) -> None:
    assert (await api.get(path)).code == 200
    (await api.call("HEAD", path)).refused(405, "MethodNotAllowed")
    (await api.post(path, {})).refused(405, "MethodNotAllowed")


@pytest.mark.parametrize("path", ["/api/v2", "/api/v2/pods", "/apis/apps/v3", "/apis/apps/v3/deployments"])
@served
async def test_versions_that_a_group_does_not_have_get_a_status(api: Api, path: str) -> None:
    (await api.get(path)).refused(404, "NotFound")
