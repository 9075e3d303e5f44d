"""Sentences of Kubernetes' conformance tests about the API itself; each test is named for its sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import (
    APPLY,
    CONFIG_MAPS,
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    TABLE,
    Api,
    config_map,
    deployment,
    served,
)

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
CORE_EVENTS = "/api/v1/namespaces/default/events"


@pytest.mark.conformance(
    "Servers with support for Table transformation should return a 406 for a backend which does not "
    "implement metadata"
)
@served
async def test_servers_return_a_406_for_tables_of_what_has_no_metadata(api: Api) -> None:
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    only = "application/json;as=Table;v=v1;g=meta.k8s.io"
    (await api.post(path, body, accept=only)).refused(406, "NotAcceptable")
    (await api.post(path, body, accept=TABLE)).ok(201)


@pytest.mark.conformance("Watchers should receive events on concurrent watches in same order")
@served
async def test_watchers_receive_events_on_concurrent_watches_in_same_order(api: Api) -> None:
    start = (await api.get(CONFIG_MAPS)).ok()["metadata"]["resourceVersion"]
    watches = [await api.watch(CONFIG_MAPS, resourceVersion=start)]
    for number in range(8):
        await api.post(CONFIG_MAPS, config_map(f"c{number}"))
        await api.patch(f"{CONFIG_MAPS}/c{number // 2}", {"data": {"n": str(number)}}, MERGE)
        if number % 3 == 0:
            await api.delete(f"{CONFIG_MAPS}/c{number}")
        watches.append(await api.watch(CONFIG_MAPS, resourceVersion=start))
    count = 8 + 5 + 3  # three patches are of what is gone by then
    seen = []
    for watch in watches:
        events = [await watch.next() for _ in range(count)]
        seen.append([(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in events])
        await watch.close()
    assert all(each == seen[0] for each in seen)
    revisions = [int(revision) for _, revision in seen[0]]
    assert revisions == sorted(revisions)


@pytest.mark.conformance("Discovery should validate PreferredVersion for each APIGroup")
@served
async def test_discovery_validates_preferred_version_for_each_api_group(api: Api) -> None:
    for group in (await api.get("/apis")).ok()["groups"]:
        versions = [v["groupVersion"] for v in group["versions"]]
        assert group["preferredVersion"]["groupVersion"] in versions
        one = (await api.get(f"/apis/{group['name']}")).ok()
        assert one["preferredVersion"] == group["preferredVersion"]


@pytest.mark.conformance("Discovery should locate the groupVersion and a resource within each APIGroup")
@served
async def test_discovery_locates_the_group_version_and_a_resource_within_each_group(api: Api) -> None:
    for group in (await api.get("/apis")).ok()["groups"]:
        for version in group["versions"]:
            found = (await api.get(f"/apis/{version['groupVersion']}")).ok()
            assert found["groupVersion"] == version["groupVersion"]
            assert found["resources"]


@pytest.mark.conformance(
    "AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers"
)
@served
async def test_aggregated_discovery_supports_raw_accept_headers(api: Api) -> None:
    for root in ("/api", "/apis"):
        found = await api.get(root, accept=DISCOVERY)
        assert found.ok()["kind"] == "APIGroupDiscoveryList"
        assert found.response.content_type == DISCOVERY
    groups = {item["metadata"]["name"] for item in found.ok()["items"]}
    assert {"apps", "batch", "apiextensions.k8s.io"} <= groups


@pytest.mark.conformance("server version should find the server version")
@served
async def test_server_version_is_found(api: Api) -> None:
    version = (await api.get("/version")).ok()
    assert version["major"] == "1"
    assert version["minor"].isdigit()


@pytest.mark.parametrize("media", [MERGE, STRATEGIC, JSON_PATCH])
@served
async def test_field_validation_detects_unknown_fields_in_patches(api: Api, media: str) -> None:
    await api.post(DEPLOYMENTS, deployment())
    patch: Any = {"spec": {"colour": "red"}}
    if media == JSON_PATCH:
        patch = [{"op": "add", "path": "/spec/colour", "value": "red"}]
    said = (await api.patch(f"{DEPLOYMENTS}/web", patch, media, fieldValidation="Strict")).refused(
        422, "Invalid"
    )
    assert said.startswith(' "" is invalid: patch: Invalid value: ')
    assert said.endswith(': strict decoding error: unknown field "spec.colour"')
    warned = await api.patch(f"{DEPLOYMENTS}/web", patch, media, fieldValidation="Warn")
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.colour\\""'
    ignored = await api.patch(f"{DEPLOYMENTS}/web", patch, media, fieldValidation="Ignore")
    assert "Warning" not in ignored.headers
    assert "colour" not in ignored.ok()["spec"]


@pytest.mark.conformance("FieldValidation should detect unknown and duplicate fields of a typed object")
@pytest.mark.conformance("FieldValidation should detect unknown metadata fields of a typed object")
@served
async def test_field_validation_detects_unknown_and_duplicate_fields_of_a_typed_object(api: Api) -> None:
    body = (
        b'{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","colour":1},"spec":{"size":1,'
        b'"replicas":1,"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":'
        b'{"app":"web"}},"spec":{"containers":[{"name":"main","image":"web:1"}]}}}}'
    )
    said = (await api.post(DEPLOYMENTS, body, fieldValidation="Strict")).refused(400, "BadRequest")
    assert said.startswith(
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    )
    for problem in (
        'unknown field "metadata.colour"',
        'unknown field "spec.size"',
        'duplicate field "spec.replicas"',
    ):
        assert problem in said
    warned = await api.post(DEPLOYMENTS, body, fieldValidation="Warn")
    assert warned.ok(201)["spec"]["replicas"] == 2
    assert warned.headers["Warning"].count("299 - ") == 3
    put = await api.put(f"{DEPLOYMENTS}/web", body, fieldValidation="Strict")
    assert "strict decoding error" in put.refused(400, "BadRequest")


@served
async def test_field_validation_detects_duplicates_in_an_apply(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: one, x: two}\n"
    path = f"{CONFIG_MAPS}/a"
    said = await api.patch(path, body, APPLY, fieldManager="me", fieldValidation="Strict")
    assert 'key "x" already set in map' in said.refused(400, "BadRequest")


@pytest.mark.conformance("Namespaces should apply changes to a namespace status")
@served
async def test_namespaces_apply_changes_to_a_namespace_status(api: Api) -> None:
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})).ok(201)
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "patched"}
    patched = await api.patch(
        "/api/v1/namespaces/shop/status", {"status": {"conditions": [condition]}}, STRATEGIC
    )
    assert patched.ok()["status"]["conditions"][0]["reason"] == "E2E"
    found = (await api.get("/api/v1/namespaces/shop/status")).ok()
    found["status"]["conditions"][0]["message"] = "updated"
    (await api.put("/api/v1/namespaces/shop/status", found)).ok()
    shown = (await api.get("/api/v1/namespaces/shop")).ok()
    assert shown["status"]["conditions"][0]["message"] == "updated"
    assert shown["status"]["phase"] == "Active"


@pytest.mark.conformance("Namespaces should apply a finalizer to a Namespace")
@served
async def test_namespaces_apply_a_finalizer_to_a_namespace(api: Api) -> None:
    made = (await api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})).ok(201)
    made["spec"]["finalizers"] = ["example.com/mine", "kubernetes"]
    assert (await api.put("/api/v1/namespaces/shop/finalize", made)).ok()["spec"]["finalizers"] == [
        "example.com/mine",
        "kubernetes",
    ]
    (await api.delete("/api/v1/namespaces/shop")).ok()
    held = (await api.get("/api/v1/namespaces/shop")).ok()
    assert held["status"]["phase"] == "Terminating"
    (await api.put("/api/v1/namespaces/shop/finalize", held | {"spec": {"finalizers": []}})).ok()
    (await api.get("/api/v1/namespaces/shop")).refused(404, "NotFound")


def _event(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/tester",
        "reportingInstance": "tester-1",
        "action": "Testing",
        "reason": "Tested",
        "type": "Normal",
        "note": "all is well",
        "regarding": {"kind": "Pod", "namespace": "default", "name": name},
    }


@pytest.mark.conformance("Events API should delete a collection of events")
@pytest.mark.conformance("Events should delete a collection of events")
@pytest.mark.parametrize("path", [EVENTS, CORE_EVENTS])
@served
async def test_events_delete_a_collection_of_events(api: Api, path: str) -> None:
    for name in ("a", "b", "c"):
        (await api.post(EVENTS, _event(name, old="no" if name == "c" else "yes"))).ok(201)
    gone = (await api.delete(path, labelSelector="old=yes")).ok()
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "b"]
    assert (await api.get(path)).names == ["c"]


@pytest.mark.conformance(
    "Events API should ensure that an event can be fetched, patched, deleted, and listed "
)
@pytest.mark.conformance("Events should manage the lifecycle of an event")
@served
async def test_events_ensure_that_an_event_can_be_fetched_patched_deleted_and_listed(api: Api) -> None:
    (await api.post(EVENTS, _event("a", mine="yes"))).ok(201)
    assert (await api.get("/apis/events.k8s.io/v1/events", labelSelector="mine=yes")).names == ["a"]
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.123456Z"}}
    patched = (await api.patch(f"{EVENTS}/a", series, STRATEGIC)).ok()
    assert patched["series"]["count"] == 2
    patched["series"]["count"] = 3
    assert (await api.put(f"{EVENTS}/a", patched)).ok()["series"]["count"] == 3
    core = (await api.get(f"{CORE_EVENTS}/a")).ok()
    assert core["series"] == {"count": 3, "lastObservedTime": "2026-01-01T00:00:01.123456Z"}
    core["message"] = "changed"
    assert (await api.put(f"{CORE_EVENTS}/a", core)).ok()["message"] == "changed"
    (await api.delete(f"{EVENTS}/a")).ok()
    assert (await api.get(EVENTS)).names == []
