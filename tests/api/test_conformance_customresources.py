"""Sentences of Kubernetes' conformance tests about custom resources and their definitions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.api.server import APPLY, JSON_PATCH, MERGE, Api, served
from tests.api.test_customresources import CRDS, TABS, conditions, define, definition, settled, tab, version

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
ONE = f"{CRDS}/crontabs.stable.example.com"


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition getting/updating/patching custom "
    "resource definition status sub-resource works"
)
@served
async def test_the_status_of_a_definition(api: Api) -> None:
    await define(api)
    read = (await api.get(f"{ONE}/status")).ok()
    assert conditions(read)["Established"][0] == "True"
    told = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    read["status"]["conditions"].append(told)
    read["spec"]["names"]["shortNames"] = ["no"]
    updated = (await api.put(f"{ONE}/status", read)).ok()
    assert updated["spec"]["names"]["shortNames"] == ["ct"]
    assert conditions(updated)["StatusUpdate"] == ("True", "E2E")
    patch = [{"op": "add", "path": "/status/conditions/-", "value": {**told, "type": "StatusPatched"}}]
    patched = (await api.patch(f"{ONE}/status", patch, JSON_PATCH)).ok()
    assert {"Established", "NamesAccepted", "StatusUpdate", "StatusPatched"} <= set(conditions(patched))
    assert conditions((await api.get(ONE)).ok()) == conditions(patched)


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition listing custom resource definition "
    "objects works"
)
@served
async def test_definitions_are_listed_and_deleted_together(api: Api) -> None:
    for plural, kind in (("ones", "One"), ("twos", "Two"), ("threes", "Three")):
        made = definition(plural=plural, kind=kind)
        made["metadata"]["labels"] = {"of": "odd" if kind != "Two" else "even"}
        await define(api, made)
    assert (await api.get(CRDS, labelSelector="of=odd")).names == [
        "ones.stable.example.com",
        "threes.stable.example.com",
    ]
    watch = await api.watch(CRDS, labelSelector="of=odd")
    assert {name for _, name in await watch.take(2)} == {
        "ones.stable.example.com",
        "threes.stable.example.com",
    }
    (await api.delete(CRDS, labelSelector="of=odd")).ok()
    gone = set()
    while len(gone) < 2:
        event = await watch.next()
        if event["type"] == "DELETED":
            gone.add(event["object"]["metadata"]["name"])
    await watch.close()
    assert (await api.get(CRDS)).names == ["twos.stable.example.com"]


@pytest.mark.conformance(
    "CustomResourceDefinition resources should include custom resource definition resources in discovery "
    "documents"
)
@served
async def test_discovery_has_the_definitions(api: Api) -> None:
    groups = {g["name"]: g for g in (await api.get("/apis")).ok()["groups"]}
    version = {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"}
    assert version in groups["apiextensions.k8s.io"]["versions"]
    assert version in (await api.get("/apis/apiextensions.k8s.io")).ok()["versions"]
    resources = (await api.get("/apis/apiextensions.k8s.io/v1")).ok()["resources"]
    assert {"customresourcedefinitions", "customresourcedefinitions/status"} == {r["name"] for r in resources}


@pytest.mark.conformance("AggregatedDiscovery should support aggregated discovery interface for CRDs")
@pytest.mark.conformance("AggregatedDiscovery should support raw aggregated discovery request for CRDs")
@served
async def test_aggregated_discovery_of_custom_resources(api: Api) -> None:
    before = (await api.get("/apis", accept=AGGREGATED)).ok()
    assert "stable.example.com" not in [item["metadata"]["name"] for item in before["items"]]
    await define(api, definition(version("v1"), version("v1beta1", storage=False)))
    found = (await api.get("/apis", accept=AGGREGATED)).ok()
    (group,) = [g for g in found["items"] if g["metadata"]["name"] == "stable.example.com"]
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    for each in group["versions"]:
        (resource,) = each["resources"]
        assert resource["resource"] == "crontabs"
        assert resource["responseKind"] == {
            "group": "stable.example.com",
            "version": each["version"],
            "kind": "CronTab",
        }
        assert (resource["scope"], resource["singularResource"]) == ("Namespaced", "crontab")
        assert resource["shortNames"] == ["ct"]
        assert [s["subresource"] for s in resource["subresources"]] == ["status", "scale"]
        assert {"create", "deletecollection", "watch"} <= set(resource["verbs"])


@pytest.mark.conformance(
    "CustomResourceFieldSelectors CustomResourceFieldSelectors MUST list and watch custom resources matching "
    "the field selector"
)
@served
async def test_field_selectors_choose_what_is_listed_watched_and_deleted(api: Api) -> None:
    await define(api, definition(version("v1"), version("v1beta1", storage=False)))
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        (await api.post(TABS, tab(name, color=color))).ok(201)
    beta = TABS.replace("/v1/", "/v1beta1/")
    assert (await api.get(TABS, fieldSelector="spec.color=red")).names == ["a", "c"]
    assert (await api.get(beta, fieldSelector="spec.color!=red")).names == ["b"]
    watch = await api.watch(beta, fieldSelector="spec.color=blue")
    assert await watch.take(1) == [("ADDED", "b")]
    (await api.post(TABS, tab("d", color="blue"))).ok(201)
    (await api.post(TABS, tab("e"))).ok(201)
    # A color may be given, but not changed: what leaves the selection is what goes.
    (await api.patch(f"{TABS}/e", {"spec": {"color": "blue"}})).ok()
    (await api.delete(TABS, fieldSelector="spec.color=blue")).ok()
    assert await watch.take(2) == [("ADDED", "d"), ("ADDED", "e")]
    assert sorted(await watch.take(3)) == [("DELETED", "b"), ("DELETED", "d"), ("DELETED", "e")]
    await watch.close()
    assert (await api.get(TABS)).names == ["a", "c"]


def loose(**root: Any) -> dict[str, Any]:
    """A definition without a schema of its own."""
    whole = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, **root}
    return definition(version(schema={"openAPIV3Schema": whole}, subresources={}, selectableFields=[]))


@pytest.mark.conformance(
    "FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema"
)
@served
async def test_without_a_schema_everything_is_known(api: Api) -> None:
    await define(api, loose())
    body = {**tab("a"), "foo": {"bar": 1}}
    created = await api.post(TABS, body, fieldValidation="Strict")
    assert created.ok(201)["foo"] == {"bar": 1}
    assert "Warning" not in created.headers
    other = {**tab("b"), "foo": {"bar": 1}}
    applied = await api.apply(f"{TABS}/b", other, "me", fieldValidation="Strict")
    assert applied.ok(201)["foo"] == {"bar": 1}


@pytest.mark.conformance(
    "FieldValidation should create/apply a valid CR for CRD with validation schema",
    "FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema",
)
@served
async def test_with_a_schema_the_rest_is_unknown(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab("a"), fieldValidation="Strict")).ok(201)
    (await api.apply(f"{TABS}/b", tab("b"), "me", fieldValidation="Strict")).ok(201)
    extra = tab("c", extra="no")
    said = (await api.post(TABS, extra, fieldValidation="Strict")).refused(400, "BadRequest")
    assert said.endswith('strict decoding error: unknown field "spec.extra"')
    applied = await api.apply(f"{TABS}/c", extra, "me", fieldValidation="Strict")
    assert applied.code in (400, 500)
    assert "field not declared in schema" in applied.message
    assert (await api.get(f"{TABS}/c")).code == 404


@pytest.mark.conformance("FieldValidation should detect duplicates in a CR when preserving unknown fields")
@pytest.mark.parametrize("media", ["application/json", APPLY])
@served
async def test_duplicates_are_told_though_everything_is_kept(api: Api, media: str) -> None:
    await define(api, loose())
    body = (
        b'{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a"},'
        b'"unknown":"one","unknown":"two","spec":{"deep":{"x":1,"x":2}}}'
    )
    if media == APPLY:
        said = await api.patch(f"{TABS}/a", body, APPLY, fieldManager="me", fieldValidation="Strict")
        assert 'key "unknown" already set in map' in said.refused(400, "BadRequest")
        return
    said = await api.post(TABS, body, fieldValidation="Strict")
    message = said.refused(400, "BadRequest")
    assert 'duplicate field "unknown"' in message
    assert 'duplicate field "spec.deep.x"' in message
    warned = await api.post(TABS, body, fieldValidation="Warn")
    assert warned.ok(201)["unknown"] == "two"
    assert 'duplicate field \\"unknown\\"' in warned.headers["Warning"]


@pytest.mark.conformance(
    "FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR"
)
@served
async def test_unknown_metadata_of_the_root_and_of_what_is_embedded(api: Api) -> None:
    embedded = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    spec = {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"template": embedded},
    }
    await define(api, loose(properties={"spec": spec}))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "unknownSub": 1}}
    body = tab("a", template=inner)
    body["metadata"]["unknownMeta"] = "foo"
    said = (await api.post(TABS, body, fieldValidation="Strict")).refused(400, "BadRequest")
    assert 'unknown field "metadata.unknownMeta"' in said
    assert 'unknown field "spec.template.metadata.unknownSub"' in said
    made = (await api.post(TABS, body, fieldValidation="Ignore")).ok(201)
    assert "unknownMeta" not in made["metadata"]
    assert "unknownSub" not in made["spec"]["template"]["metadata"]
    patch = {"metadata": {"unknownMeta": "foo"}}
    patched = await api.patch(f"{TABS}/a", patch, MERGE, fieldValidation="Strict")
    assert 'unknown field "metadata.unknownMeta"' in patched.message


# -- what is published of them in OpenAPI ----------------------------------------------------------------

V3 = "/openapi/v3/apis/stable.example.com"


async def v2(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("/openapi/v2")).ok()["definitions"]
    return found


async def v3(api: Api, name: str = "v1") -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"{V3}/{name}")).ok()["components"]["schemas"]
    return found


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for CRD with validation schema")
@served
async def test_a_schema_is_published(api: Api) -> None:
    await define(api)
    for described in (
        (await v2(api))["com.example.stable.v1.CronTab"],
        (await v3(api))["com.example.stable.v1.CronTab"],
    ):
        assert {"apiVersion", "kind", "metadata", "spec", "status"} == set(described["properties"])
        assert described["x-kubernetes-group-version-kind"] == [
            {"group": "stable.example.com", "kind": "CronTab", "version": "v1"}
        ]
        assert described["properties"]["metadata"]["description"].startswith("Standard object's metadata. ")
        spec = described["properties"]["spec"]
        assert spec["required"] == ["cronSpec"]
        assert spec["properties"]["color"] == {"type": "string", "enum": ["red", "blue"]}


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI works for CRD without validation schema",
    "CustomResourcePublishOpenAPI works for CRD preserving unknown fields at the schema root",
)
@served
async def test_a_schema_that_keeps_everything_is_published(api: Api) -> None:
    await define(api, loose(description="anything goes"))
    old = (await v2(api))["com.example.stable.v1.CronTab"]
    new = (await v3(api))["com.example.stable.v1.CronTab"]
    assert new["description"] == "anything goes"
    assert new["x-kubernetes-preserve-unknown-fields"] is True
    # Clients validate by version 2, and must let unknown fields pass: kube-apiserver says no more than this.
    named = [{"group": "stable.example.com", "kind": "CronTab", "version": "v1"}]
    assert old == {"type": "object", "x-kubernetes-group-version-kind": named}


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI works for CRD preserving unknown fields in an embedded object"
)
@served
async def test_an_object_that_keeps_everything_is_published(api: Api) -> None:
    await define(api)
    for described, type_ in (
        ((await v2(api))["com.example.stable.v1.CronTab"], None),  # kubectl's reader wants it without one
        ((await v3(api))["com.example.stable.v1.CronTab"], "object"),
    ):
        free = described["properties"]["spec"]["properties"]["free"]
        assert (free.get("type"), free["x-kubernetes-preserve-unknown-fields"]) == (type_, True)
        assert "properties" not in free


@served
async def test_what_every_embedded_object_has_is_published(api: Api) -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True}
    template = {**embedded, "properties": {"spec": {"type": "object"}}, "required": ["kind"]}
    free = {**embedded, "x-kubernetes-preserve-unknown-fields": True}
    whole = {"type": "object", "properties": {"template": template, "free": free}}
    shown_as = {"schema": {"openAPIV3Schema": whole}, "subresources": {}, "selectableFields": []}
    await define(api, definition(version(**shown_as)))
    old = (await v2(api))["com.example.stable.v1.CronTab"]["properties"]
    new = (await v3(api))["com.example.stable.v1.CronTab"]["properties"]
    for shown in (old["template"], new["template"], new["free"]):
        assert {"apiVersion", "kind", "metadata"} <= set(shown["properties"])
        assert sorted(shown["required"]) == ["apiVersion", "kind"]
    # kubectl validates by version 2, and takes what has properties for closed.
    assert "properties" not in old["free"]


@pytest.mark.conformance("CustomResourcePublishOpenAPI works for multiple CRDs of different groups")
@served
async def test_definitions_of_different_groups_are_published(api: Api) -> None:
    await define(api)
    other = msgspec.json.decode(msgspec.json.encode(definition()).replace(b"stable.", b"other."))
    await define(api, other)
    named = await v2(api)
    assert {"com.example.stable.v1.CronTab", "com.example.other.v1.CronTab"} <= set(named)
    paths = (await api.get("/openapi/v3")).ok()["paths"]
    assert {"apis/stable.example.com/v1", "apis/other.example.com/v1"} <= set(paths)


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI works for multiple CRDs of same group but different versions"
)
@served
async def test_definitions_of_different_versions_are_published(api: Api) -> None:
    await define(api, definition(version("v2"), plural="tabs", kind="Tab"))
    await define(api, definition(version("v3"), plural="crons", kind="Cron"))
    named = await v2(api)
    assert {"com.example.stable.v2.Tab", "com.example.stable.v3.Cron"} <= set(named)
    assert "com.example.stable.v3.Cron" not in await v3(api, "v2")
    assert "com.example.stable.v3.Cron" in await v3(api, "v3")


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI works for multiple CRDs of same group and version but different kinds"
)
@served
async def test_definitions_of_one_version_are_published(api: Api) -> None:
    await define(api)
    await define(api, definition(plural="ships", kind="Ship"))
    for named in (await v2(api), await v3(api)):
        assert {"com.example.stable.v1.CronTab", "com.example.stable.v1.Ship"} <= set(named)


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI updates the published spec when one version gets renamed"
)
@served
async def test_a_version_that_is_renamed_is_published_so(api: Api) -> None:
    await define(api, definition(version("v2"), version("v3", storage=False)))
    before = (await v3(api, "v2"))["com.example.stable.v2.CronTab"]
    renamed = [{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]
    (await api.patch(ONE, renamed, JSON_PATCH)).ok()
    named = await v2(api)
    assert {"com.example.stable.v2.CronTab", "com.example.stable.v4.CronTab"} <= set(named)
    assert "com.example.stable.v3.CronTab" not in named
    assert (await api.get(f"{V3}/v3")).code == 404
    assert "com.example.stable.v4.CronTab" in await v3(api, "v4")
    assert (await v3(api, "v2"))["com.example.stable.v2.CronTab"] == before


@pytest.mark.conformance(
    "CustomResourcePublishOpenAPI removes definition from spec when one version gets changed to not be served"
)
@served
async def test_a_version_that_is_not_served_any_more_is_not_published(api: Api) -> None:
    await define(api, definition(version("v5"), version("v6alpha1", storage=False)))
    assert {"com.example.stable.v5.CronTab", "com.example.stable.v6alpha1.CronTab"} <= set(await v2(api))
    hidden = [{"op": "replace", "path": "/spec/versions/1/served", "value": False}]
    (await api.patch(ONE, hidden, JSON_PATCH)).ok()
    named = await v2(api)
    assert "com.example.stable.v6alpha1.CronTab" not in named
    assert "com.example.stable.v5.CronTab" in named
    assert (await api.get(f"{V3}/v6alpha1")).code == 404
    await settled(api, "crontabs.stable.example.com")
