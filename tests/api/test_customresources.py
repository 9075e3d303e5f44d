"""Custom resources: served as soon as their definition is, with all that the schema says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.api.server import APPLY, JSON_PATCH, MERGE, STRATEGIC, TABLE, Api, served, user
from tests.shared import ABSENT, SHARED

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
CORPUS = SHARED / "corpus" / "crds"

SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "image": {"type": "string", "default": "busybox"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "max": {"type": "integer"},
        "nothing": {"type": "string", "nullable": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
        "items": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "value": {"type": "string", "default": "none"}},
            },
        },
    },
    "x-kubernetes-validations": [
        {
            "rule": "!has(self.max) || self.replicas <= self.max",
            "message": "replicas may not be more than max",
        },
        {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "fieldPath": ".color"},
    ],
}


def schema(**spec: Any) -> dict[str, Any]:
    status = {
        "type": "object",
        "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}},
    }
    return {"type": "object", "properties": {"spec": {**SPEC, **spec}, "status": status}}


def version(name: str = "v1", *, storage: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.labelSelector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Schedule", "type": "string", "jsonPath": ".spec.cronSpec"},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}],
        **more,
    }


def definition(*versions: dict[str, Any], plural: str = "crontabs", kind: str = "CronTab") -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.stable.example.com"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {
                "plural": plural,
                "singular": kind.lower(),
                "kind": kind,
                "shortNames": ["ct"] if kind == "CronTab" else [],
                "categories": ["all"],
            },
            "versions": list(versions) or [version()],
        },
    }


def tab(name: str = "a", api_version: str = "stable.example.com/v1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * */5", **spec},
    }


async def define(api: Api, made: dict[str, Any] | None = None) -> dict[str, Any]:
    """Create a definition; it as it is once it is established."""
    made = made or definition()
    (await api.post(CRDS, made)).ok(201)
    return await settled(api, made["metadata"]["name"])


async def settled(api: Api, name: str, condition: str = "Established") -> dict[str, Any]:
    watch = await api.watch(CRDS, fieldSelector=f"metadata.name={name}")
    while True:
        found: dict[str, Any] = (await watch.next())["object"]
        if any(c["type"] == condition for c in found["status"].get("conditions", ())):
            await watch.close()
            return found


def conditions(crd: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in crd["status"]["conditions"]}


@pytest.mark.conformance(
    "CustomResourceDefinition resources Simple CustomResourceDefinition creating/deleting custom "
    "resource definition objects works"
)
@served
async def test_a_definition_is_established_and_its_objects_are_served(api: Api) -> None:
    crd = await define(api)
    assert conditions(crd) == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert crd["status"]["storedVersions"] == ["v1"]
    assert crd["status"]["acceptedNames"]["listKind"] == "CronTabList"
    made = (await api.post(TABS, tab(items=[{"name": "x"}], nothing=None))).ok(201)
    assert made["metadata"]["generation"] == 1
    assert made["spec"] == {
        "cronSpec": "* * * * */5",
        "image": "busybox",
        "replicas": 1,
        "nothing": None,
        "items": [{"name": "x", "value": "none"}],
    }
    assert (await api.get(f"{TABS}/a")).ok() == made
    listed = (await api.get("/apis/stable.example.com/v1/crontabs")).ok()
    assert (listed["kind"], listed["apiVersion"], listed["items"]) == (
        "CronTabList",
        "stable.example.com/v1",
        [made],
    )
    (await api.delete(f"{TABS}/a")).ok()
    assert (await api.get(f"{TABS}/a")).code == 404


@served
async def test_discovery_and_openapi_know_the_kind_and_forget_it(api: Api) -> None:
    await define(api)
    (row,) = [
        r for r in (await api.get("/apis/stable.example.com/v1")).ok()["resources"] if r["name"] == "crontabs"
    ]
    assert (row["kind"], row["shortNames"], row["categories"]) == ("CronTab", ["ct"], ["all"])
    groups = (await api.get("/apis")).ok()["groups"]
    assert groups[-1]["name"] == "stable.example.com"
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = (await api.get("/apis", accept=accept)).ok()["items"][-1]
    assert found["versions"][0]["resources"][0]["subresources"][0]["subresource"] == "status"
    index = (await api.get("/openapi/v3")).ok()["paths"]
    assert "apis/stable.example.com/v1" in index
    document = (await api.get("/openapi/v3/apis/stable.example.com/v1")).ok()
    described = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert described["properties"]["spec"]["properties"]["image"]["default"] == "busybox"
    watch = await api.watch(CRDS)
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    while (await watch.next())["type"] != "DELETED":
        pass
    assert (await api.get("/apis/stable.example.com/v1")).code == 404
    assert "apis/stable.example.com/v1" not in (await api.get("/openapi/v3")).ok()["paths"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"cronSpec": "never"}, 'spec.cronSpec: Invalid value: "never": spec.cronSpec in body should match'),
        ({"replicas": 11}, "spec.replicas in body should be less than or equal to 10"),
        ({"replicas": "two"}, 'spec.replicas in body must be of type integer: "string"'),
        ({"color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        ({"items": [{"name": "x"}, {"name": "x"}]}, 'spec.items[1]: Duplicate value: {"name":"x"}'),
        ({"items": [{"value": "y"}]}, "spec.items[0].name: Required value"),
        ({"port": [1]}, 'spec.port in body must be of type integer,string: "array"'),
        ({"replicas": 3, "max": 2}, 'spec: Invalid value: "object": replicas may not be more than max'),
    ],
)
@served
async def test_what_the_schema_refuses(api: Api, spec: dict[str, Any], message: str) -> None:
    await define(api)
    refused = (await api.post(TABS, tab(**spec))).refused(422, "Invalid")
    assert refused.startswith('CronTab.stable.example.com "a" is invalid: ')
    assert message in refused
    assert (await api.get(TABS)).names == []


@served
async def test_unknown_fields_are_pruned_and_told(api: Api) -> None:
    await define(api)
    odd = tab(odd=1, free={"kept": {"deep": 1}})
    made = await api.post(TABS, odd, fieldValidation="Warn")
    assert "odd" not in made.ok(201)["spec"]
    assert made.json["spec"]["free"] == {"kept": {"deep": 1}}
    assert made.headers["Warning"] == '299 - "unknown field \\"spec.odd\\""'
    strict = await api.post(TABS, tab("b", odd=1), fieldValidation="Strict")
    assert strict.refused(400, "BadRequest").endswith('strict decoding error: unknown field "spec.odd"')


@served
async def test_transition_rules_and_ratcheting(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab(color="red"))).ok(201)
    refused = await api.patch(f"{TABS}/a", {"spec": {"color": "blue"}})
    assert refused.refused(422, "Invalid") == (
        'CronTab.stable.example.com "a" is invalid: spec.color: Invalid value: "object": '
        "failed rule: !has(oldSelf.color) || self.color == oldSelf.color"
    )
    crd = (await api.get(f"{CRDS}/crontabs.stable.example.com")).ok()
    tight = {**SPEC["properties"], "replicas": {"type": "integer", "minimum": 5, "default": 5}}
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema(properties=tight)
    (await api.put(f"{CRDS}/crontabs.stable.example.com", crd)).ok()
    # One replica was valid before: it may stay so while other fields change.
    (await api.patch(f"{TABS}/a", {"spec": {"image": "web"}})).ok()
    assert (await api.patch(f"{TABS}/a", {"spec": {"replicas": 2}})).code == 422
    # A default that was added shows in what is already stored.
    assert (await api.post(TABS, tab("b"))).ok(201)["spec"]["replicas"] == 5


@pytest.mark.conformance(
    "CustomResourceDefinition resources custom resource defaulting for requests and from storage works"
)
@served
async def test_a_default_that_comes_later_is_read(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab())).ok(201)
    crd = (await api.get(f"{CRDS}/crontabs.stable.example.com")).ok()
    more = {**SPEC["properties"], "mood": {"type": "string", "default": "calm"}}
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema(properties=more)
    (await api.put(f"{CRDS}/crontabs.stable.example.com", crd)).ok()
    assert (await api.get(f"{TABS}/a")).ok()["spec"]["mood"] == "calm"
    assert (await api.get(TABS)).ok()["items"][0]["spec"]["mood"] == "calm"


@served
async def test_status_and_generation_are_apart(api: Api) -> None:
    await define(api)
    (await api.post(TABS, {**tab(), "status": {"replicas": 7}})).ok(201)
    seen = (await api.get(f"{TABS}/a")).ok()
    assert "status" not in seen
    changed = (await api.put(f"{TABS}/a/status", {**seen, "spec": {}, "status": {"replicas": 3}})).ok()
    assert (changed["status"], changed["spec"]) == ({"replicas": 3}, seen["spec"])
    assert changed["metadata"]["generation"] == 1
    again = (await api.patch(f"{TABS}/a", {"spec": {"image": "x"}, "status": {"replicas": 9}})).ok()
    assert (again["metadata"]["generation"], again["status"]) == (2, {"replicas": 3})


@served
async def test_scale(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab())).ok(201)
    (await api.patch(f"{TABS}/a/status", {"status": {"replicas": 1, "labelSelector": "app=x"}})).ok()
    scale = (await api.get(f"{TABS}/a/scale")).ok()
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 1},
        {"replicas": 1, "selector": "app=x"},
    )
    (await api.patch(f"{TABS}/a/scale", {"spec": {"replicas": 4}})).ok()
    assert (await api.get(f"{TABS}/a")).ok()["spec"]["replicas"] == 4


@served
async def test_columns_and_field_selectors(api: Api) -> None:
    await define(api)
    for name, color in (("a", "red"), ("b", "blue")):
        (await api.post(TABS, tab(name, color=color))).ok(201)
    table = (await api.get(TABS, accept=TABLE)).ok()
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", 0),
        ("Schedule", 0),
        ("Replicas", 1),
        ("Age", 0),
    ]
    assert table["rows"][0]["cells"] == ["a", "* * * * */5", 1, "0s"]
    assert (await api.get(TABS, fieldSelector="spec.color=blue")).names == ["b"]
    answer = await api.get(TABS, fieldSelector="spec.image=x")
    assert answer.refused(400, "BadRequest") == "field label not supported: spec.image"


@served
async def test_patches(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab())).ok(201)
    operations = [{"op": "add", "path": "/spec/image", "value": "json"}]
    assert (await api.patch(f"{TABS}/a", operations, JSON_PATCH)).ok()["spec"]["image"] == "json"
    assert (await api.patch(f"{TABS}/a", {"spec": {"image": None}}, MERGE)).ok()["spec"]["image"] == "busybox"
    refused = await api.patch(f"{TABS}/a", {"spec": {}}, STRATEGIC)
    assert refused.refused(415, "UnsupportedMediaType") == "415: Unsupported Media Type"


@served
async def test_server_side_apply_merges_by_the_schema(api: Api) -> None:
    await define(api)
    one = tab(items=[{"name": "x", "value": "1"}])
    made = (await api.apply(f"{TABS}/a", one, "one")).ok(201)
    assert made["metadata"]["managedFields"][0]["manager"] == "one"
    two = {**tab(items=[{"name": "y", "value": "2"}]), "spec": {"items": [{"name": "y", "value": "2"}]}}
    both = (await api.apply(f"{TABS}/a", two, "two")).ok()
    assert both["spec"]["items"] == [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]
    wrong = {**two, "spec": {"items": [{"name": "x", "value": "3"}]}}
    message = (await api.apply(f"{TABS}/a", wrong, "two")).refused(409, "Conflict")
    assert '.spec.items[name="x"].value' in message
    gone = {**two, "spec": {}}
    after = (await api.patch(f"{TABS}/a", gone, APPLY, fieldManager="two")).ok()
    assert after["spec"]["items"] == [{"name": "x", "value": "1"}]


@pytest.mark.conformance(
    "CustomResourceDefinition Watch CustomResourceDefinition Watch watch on custom resource "
    "definition objects"
)
@served
async def test_watches_tell_of_changes_and_end_with_the_definition(api: Api) -> None:
    await define(api)
    watch = await api.watch(TABS)
    (await api.post(TABS, tab())).ok(201)
    assert await watch.take(1) == [("ADDED", "a")]
    (await api.patch(f"{TABS}/a", {"spec": {"image": "x"}})).ok()
    assert await watch.take(1) == [("MODIFIED", "a")]
    deleted = (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert deleted["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert await watch.take(1) == [("DELETED", "a")]
    assert await watch.next() == {}
    assert (await api.get(TABS)).code == 404
    assert (await api.get(f"{CRDS}/crontabs.stable.example.com")).code == 404


@served
async def test_objects_with_finalizers_hold_their_definition(api: Api) -> None:
    await define(api)
    held = tab()
    held["metadata"]["finalizers"] = ["example.com/wait"]
    (await api.post(TABS, held)).ok(201)
    watch = await api.watch(TABS)
    assert await watch.take(1) == [("ADDED", "a")]
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert await watch.take(1) == [("MODIFIED", "a")]
    crd = (await api.get(f"{CRDS}/crontabs.stable.example.com")).ok()
    assert conditions(crd)["Terminating"] == ("True", "InstanceDeletionInProgress")
    assert (await api.post(TABS, tab("b"))).code == 405
    (await api.patch(f"{TABS}/a", {"metadata": {"finalizers": None}})).ok()
    assert await watch.take(1) == [("DELETED", "a")]
    assert await watch.next() == {}
    assert (await api.get(f"{CRDS}/crontabs.stable.example.com")).code == 404


@served
async def test_nothing_is_created_while_the_definition_goes(api: Api) -> None:
    await define(api)
    held = tab("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    (await api.post(TABS, held)).ok(201)
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    refused = await api.post(TABS, tab("late"))
    assert refused.refused(405, "MethodNotAllowed") == (
        "create not allowed while custom resource definition is terminating"
    )


@served
async def test_versions_without_a_webhook_differ_in_their_name_alone(api: Api) -> None:
    await define(api, definition(version("v1beta1", storage=False), version("v1")))
    beta = TABS.replace("/v1/", "/v1beta1/")
    made = (await api.post(beta, tab(api_version="stable.example.com/v1beta1"))).ok(201)
    assert made["apiVersion"] == "stable.example.com/v1beta1"
    assert (await api.get(f"{TABS}/a")).ok()["apiVersion"] == "stable.example.com/v1"
    watch = await api.watch(beta)
    assert (await watch.next())["object"]["apiVersion"] == "stable.example.com/v1beta1"
    group = (await api.get("/apis/stable.example.com")).ok()
    assert group["preferredVersion"]["version"] == "v1"
    wrong = await api.post(TABS, tab("b", api_version="stable.example.com/v1beta1"))
    assert "does not match the expected API version" in wrong.refused(400, "BadRequest")


@served
async def test_the_first_of_two_definitions_gets_the_names(api: Api) -> None:
    await define(api)
    rival = definition(plural="others", kind="CronTab")
    (await api.post(CRDS, rival)).ok(201)
    crd = await settled(api, "others.stable.example.com", "NamesAccepted")
    assert conditions(crd) == {
        "NamesAccepted": ("False", "ListKindConflict"),
        "Established": ("False", "NotAccepted"),
    }
    assert (await api.get("/apis/stable.example.com/v1/others")).code == 404
    (await api.delete(f"{CRDS}/crontabs.stable.example.com")).ok()
    watch = await api.watch(CRDS, fieldSelector="metadata.name=others.stable.example.com")
    while conditions((await watch.next())["object"])["Established"][0] != "True":
        pass
    assert (await api.get("/apis/stable.example.com/v1/others")).names == []


@served
async def test_rules_that_are_no_rules(api: Api) -> None:
    broken = definition()
    spec = broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": "self.replicas <"}]
    message = (await api.post(CRDS, broken)).refused(422, "Invalid")
    at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    shown = (
        '{"Rule":"self.replicas <","Message":"","MessageExpression":"","Reason":null,'
        '"FieldPath":"","OptionalOldSelf":null}'
    )
    assert f"{at}: Invalid value: {shown}: compilation failed: ERROR: <input>:1:16" in message


@served
async def test_rules_that_may_cost_too_much(api: Api) -> None:
    dear = definition()
    spec = dear["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    listed = {"type": "array", "items": {"type": "string"}}
    rules = [{"rule": "self.all(a, self.all(b, a == b))"}]
    spec["properties"] = {**spec["properties"], "names": {**listed, "x-kubernetes-validations": rules}}
    message = (await api.post(CRDS, dear)).refused(422, "Invalid")
    at = "spec.validation.openAPIV3Schema"
    rule = f"{at}.properties[spec].properties[names].x-kubernetes-validations[0].rule"
    assert (
        f"{rule}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try" in message
    )
    assert f"{rule}: Forbidden: contributed to estimated rule cost total exceeding cost limit" in message
    assert f"{at}: Forbidden: x-kubernetes-validations estimated rule cost total for entire" in message
    # What is stored may be written again with its schema; a new schema is looked at.
    spec["properties"]["names"] = listed
    made = await define(api, dear)
    changed = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    changed["names"]["x-kubernetes-validations"] = rules
    assert "more than 100x" in (await api.put(f"{CRDS}/crontabs.stable.example.com", made)).message
    changed["names"]["maxItems"] = 10
    changed["names"]["items"]["maxLength"] = 10
    (await api.put(f"{CRDS}/crontabs.stable.example.com", made)).ok()


@served
async def test_who_may_do_what(api: Api) -> None:
    await define(api)
    (await api.post(TABS, tab())).ok(201)
    jane = user("jane")
    assert (await api.get(TABS, user=jane)).code == 403
    role = {
        "metadata": {"name": "tabs"},
        "rules": [{"apiGroups": ["stable.example.com"], "resources": ["crontabs"], "verbs": ["list"]}],
    }
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    (await api.post(f"{roles}/roles", role)).ok(201)
    binding = {
        "metadata": {"name": "tabs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tabs"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    (await api.post(f"{roles}/rolebindings", binding)).ok(201)
    assert (await api.get(TABS, user=jane)).names == ["a"]
    assert (await api.delete(f"{TABS}/a", user=jane)).code == 403


@pytest.mark.parametrize(
    "body",
    [
        b'{"apiVersion": 1, "kind": "CronTab"}',
        b'{"kind": "CronTab", "metadata": []}',
        b'{"kind": "CronTab", "metadata": {"name": 5}}',
        b"[1, 2]",
        b'{"spec": {"cronSpec": ' + b"[" * 3000 + b"]" * 3000 + b"}}",
    ],
)
@served
async def test_bodies_that_are_no_objects(api: Api, body: bytes) -> None:
    await define(api)
    assert (await api.post(TABS, body)).code in (400, 422)
    assert (await api.get(TABS)).names == []


def published() -> list[Path]:
    return sorted(CORPUS.glob("*/*.yaml"))


@pytest.mark.skipif(not CORPUS.exists(), reason=f"{CORPUS} {ABSENT}")
@served
async def test_published_definitions_install(api: Api) -> None:
    names = []
    for path in published():
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] == "CustomResourceDefinition":
                (await api.post(CRDS, msgspec.json.encode(document))).ok(201)
                names.append(document["metadata"]["name"])
    assert len(names) > 12
    for name in names:
        assert conditions(await settled(api, name))["Established"][0] == "True"
    groups = {g["name"] for g in (await api.get("/apis")).ok()["groups"]}
    assert {"cert-manager.io", "gateway.networking.k8s.io"} <= groups
    assert (await api.get("/openapi/v3/apis/gateway.networking.k8s.io/v1")).code == 200
    await _use_cert_manager(api)
    await _use_gateways(api)


async def _use_cert_manager(api: Api) -> None:
    path = "/apis/cert-manager.io/v1/namespaces/default/certificates"
    whole = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "web"},
        "spec": {"secretName": "web", "dnsNames": ["a.example.com"], "issuerRef": {"name": "ca"}},
    }
    (await api.post(path, whole)).ok(201)
    table = (await api.get(path, accept=TABLE)).ok()
    assert table["rows"][0]["cells"][:3] == ["web", None, "web"]
    half = {**whole, "metadata": {"name": "half"}, "spec": {"issuerRef": {"name": "ca"}}}
    assert "spec.secretName: Required value" in (await api.post(path, half)).refused(422, "Invalid")
    wrong = msgspec.json.decode(msgspec.json.encode({**whole, "metadata": {"name": "wrong"}}))
    wrong["spec"]["usages"] = ["flying"]
    message = (await api.post(path, wrong)).refused(422, "Invalid")
    assert 'spec.usages[0]: Unsupported value: "flying"' in message


async def _use_gateways(api: Api) -> None:
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
    backend = {"name": "web", "port": 80}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {"parentRefs": [{"name": "main"}], "rules": [{"backendRefs": [backend]}]},
    }
    made = (await api.post(path, route)).ok(201)
    assert made["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert made["spec"]["parentRefs"][0]["kind"] == "Gateway"
    without_port = {"rules": [{"backendRefs": [{"name": "web"}]}]}
    wrong = {**route, "metadata": {"name": "wrong"}, "spec": without_port}
    message = (await api.post(path, wrong)).refused(422, "Invalid")
    assert "Must have port for Service reference" in message
