from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.server import (
    APPLY,
    CONFIG_MAPS,
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    served,
    user,
)


async def _made(api: Api, **data: str) -> Any:
    return (await api.post(CONFIG_MAPS, config_map("a", **data))).ok(201)


@served
async def test_json_patch(api: Api) -> None:
    await _made(api, k="1", old="x")
    operations = [
        {"op": "test", "path": "/data/k", "value": "1"},
        {"op": "replace", "path": "/data/k", "value": "2"},
        {"op": "remove", "path": "/data/old"},
        {"op": "add", "path": "/metadata/labels", "value": {"app": "web"}},
    ]
    made = (await api.patch(f"{CONFIG_MAPS}/a", operations, JSON_PATCH)).ok()
    assert (made["data"], made["metadata"]["labels"]) == ({"k": "2"}, {"app": "web"})


@pytest.mark.parametrize(
    ("operations", "code", "reason"),
    [
        ([{"op": "test", "path": "/data/k", "value": "9"}], 422, "Invalid"),
        ([{"op": "remove", "path": "/data/none"}], 422, "Invalid"),
        ([{"op": "fly", "path": "/data/k"}], 422, "Invalid"),
        ({"op": "test"}, 400, "BadRequest"),
        (b"[", 400, "BadRequest"),
        ([{"op": "replace", "path": "/data/k", "value": 5}], 422, "Invalid"),
        ([{"op": "replace", "path": "/metadata/name", "value": "b"}], 400, "BadRequest"),
        ([{"op": "replace", "path": "", "value": "text"}], 422, "Invalid"),
    ],
)
@served
async def test_json_patches_that_do_not_fit(api: Api, operations: Any, code: int, reason: str) -> None:
    made = await _made(api, k="1")
    answer = await api.patch(f"{CONFIG_MAPS}/a", operations, JSON_PATCH)
    assert answer.code == code, answer.body
    assert answer.json["reason"] == reason
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok() == made


@served
async def test_merge_patch(api: Api) -> None:
    await _made(api, k="1", old="x")
    patch = {"data": {"k": "2", "old": None}, "metadata": {"annotations": {"a": "b"}}}
    made = (await api.patch(f"{CONFIG_MAPS}/a", patch, MERGE)).ok()
    assert (made["data"], made["metadata"]["annotations"]) == ({"k": "2"}, {"a": "b"})


@served
async def test_a_patch_that_names_a_revision_insists_on_it(api: Api) -> None:
    first = await _made(api)
    revision = first["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": revision}, "data": {"k": "1"}}
    (await api.patch(f"{CONFIG_MAPS}/a", patch, MERGE)).ok()
    patch["data"] = {"k": "2"}
    (await api.patch(f"{CONFIG_MAPS}/a", patch, MERGE)).refused(409, "Conflict")


@served
async def test_strategic_merge_patch(api: Api) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    containers = [{"name": "side", "image": "side:1"}, {"name": "main", "env": [{"name": "A", "value": "1"}]}]
    patch: dict[str, Any] = {"spec": {"template": {"spec": {"containers": containers}}}}
    made = (await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC)).ok()
    shown = {c["name"]: c for c in made["spec"]["template"]["spec"]["containers"]}
    assert shown["main"]["image"] == "web:1"
    assert shown["main"]["env"] == [{"name": "A", "value": "1"}]
    assert shown["side"]["image"] == "side:1"
    patch["spec"]["template"]["spec"]["containers"] = [{"name": "side", "$patch": "delete"}]
    made = (await api.patch(f"{DEPLOYMENTS}/web", patch, STRATEGIC)).ok()
    assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["main"]


@served
async def test_media_types_that_are_no_patch(api: Api) -> None:
    await _made(api)
    for media in ("application/json", "text/plain", ""):
        answer = await api.patch(f"{CONFIG_MAPS}/a", {}, media)
        assert answer.refused(415, "UnsupportedMediaType")
    (await api.patch(f"{CONFIG_MAPS}/none", {}, MERGE)).refused(404, "NotFound")


@served
async def test_parameters_of_media_types_do_not_matter(api: Api) -> None:
    await _made(api)
    (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "1"}}, f"{MERGE}; charset=utf-8")).ok()


@served
async def test_unknown_fields_in_a_patch(api: Api) -> None:
    await _made(api)
    patch = {"colour": "red"}
    message = (await api.patch(f"{CONFIG_MAPS}/a", patch, fieldValidation="Strict")).refused(422, "Invalid")
    assert 'unknown field "colour"' in message
    answer = await api.patch(f"{CONFIG_MAPS}/a", patch)
    assert answer.headers["Warning"] == '299 - "unknown field \\"colour\\""'


@served
async def test_a_dry_run_of_a_patch(api: Api) -> None:
    made = await _made(api, k="1")
    shown = (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "2"}}, dryRun="All")).ok()
    assert shown["data"] == {"k": "2"}
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok() == made


# -- server-side apply -------------------------------------------------------------------------------


def _config(name: str = "a", **data: str) -> dict[str, Any]:
    return config_map(name, **data)


@served
async def test_apply_creates_what_is_not_there(api: Api) -> None:
    made = (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "alice")).ok(201)
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("alice", "Apply", "v1")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}
    again = await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "alice")
    assert again.ok()["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@served
async def test_apply_takes_yaml(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: 'on'\n"
    made = (await api.apply(f"{CONFIG_MAPS}/a", body, "alice")).ok(201)
    assert (made["metadata"]["name"], made["data"]) == ("a", {"k": "on"})


@served
async def test_an_apply_in_the_same_second_is_no_update(api: Api) -> None:
    for number in ("1", "2", "2"):
        made = (await api.apply(f"{CONFIG_MAPS}/a", _config(k=number), "alice")).json
    assert [(e["manager"], e["operation"]) for e in made["metadata"]["managedFields"]] == [("alice", "Apply")]


@served
async def test_an_update_that_says_nothing_of_owners_keeps_them(api: Api) -> None:
    made = (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "alice")).ok(201)
    made["data"]["other"] = "2"
    del made["metadata"]["managedFields"]
    kept = (await api.call("PUT", f"{CONFIG_MAPS}/a", made)).ok()["metadata"]["managedFields"]
    assert {e["operation"]: e["fieldsV1"] for e in kept} == {
        "Apply": {"f:data": {"f:k": {}}},
        "Update": {"f:data": {"f:other": {}}},
    }


@served
async def test_what_an_applier_leaves_out_goes(api: Api) -> None:
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1", extra="x"), "alice")).ok(201)
    assert (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "alice")).ok()["data"] == {"k": "1"}


@served
async def test_conflicts_are_named_and_can_be_forced(api: Api) -> None:
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1", own="a"), "alice")).ok(201)
    answer = await api.apply(f"{CONFIG_MAPS}/a", _config(k="2"), "bob")
    message = answer.refused(409, "Conflict")
    assert 'conflict with "alice": .data.k' in message
    (cause,) = answer.json["details"]["causes"]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.k")
    made = (await api.apply(f"{CONFIG_MAPS}/a", _config(k="2"), "bob", force="true")).ok()
    assert made["data"] == {"k": "2", "own": "a"}
    owned = {e["manager"]: e["fieldsV1"]["f:data"] for e in made["metadata"]["managedFields"]}
    assert owned == {"alice": {"f:own": {}}, "bob": {"f:k": {}}}
    # Bob lets go: nobody holds the field any more.
    assert (await api.apply(f"{CONFIG_MAPS}/a", _config(), "bob")).ok()["data"] == {"own": "a"}


@served
async def test_the_same_value_is_shared(api: Api) -> None:
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "alice")).ok(201)
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "bob")).ok()
    assert (await api.apply(f"{CONFIG_MAPS}/a", _config(), "alice")).ok()["data"] == {"k": "1"}


@served
async def test_updates_take_ownership_of_what_they_change(api: Api) -> None:
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1", l="1"), "alice")).ok(201)
    (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": "2"}}, MERGE, fieldManager="editor")).ok()
    answer = await api.apply(f"{CONFIG_MAPS}/a", _config(k="1", l="1"), "alice")
    message = answer.refused(409, "Conflict")
    assert 'conflict with "editor" using v1: .data.k' in message


@served
async def test_replicas_of_a_deployment_belong_to_who_scales(api: Api) -> None:
    body = deployment("web", replicas=1)
    (await api.apply(f"{DEPLOYMENTS}/web", body, "alice")).ok(201)
    (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 4}}, MERGE, fieldManager="hpa")).ok()
    answer = await api.apply(f"{DEPLOYMENTS}/web", body, "alice")
    assert ".spec.replicas" in answer.refused(409, "Conflict")
    del body["spec"]["replicas"]
    assert (await api.apply(f"{DEPLOYMENTS}/web", body, "alice")).ok()["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("body", "query", "code", "message"),
    [
        (_config(), {}, 422, "fieldManager: Required value"),
        (_config("b"), {"fieldManager": "x"}, 400, "does not match the name on the URL"),
        ({"data": {}}, {"fieldManager": "x"}, 400, "invalid object type: /, Kind="),
        (b"[]", {"fieldManager": "x"}, 400, "cannot unmarshal array into Go value"),
        (b"a: [", {"fieldManager": "x"}, 400, "error decoding patch: error converting YAML to JSON: "),
        (
            _config() | {"data": {"k": {"x": 1}}},
            {"fieldManager": "x"},
            400,
            ".data.k: expected string, got map",
        ),
    ],
)
@served
async def test_configurations_that_cannot_be_applied(
    api: Api, body: Any, query: dict[str, str], code: int, message: str
) -> None:
    answer = await api.patch(f"{CONFIG_MAPS}/a", body, APPLY, **query)
    assert answer.code == code, answer.body
    assert message in answer.message


@served
async def test_apply_cannot_create_through_a_subresource_or_without_permission(api: Api) -> None:
    (await api.apply(f"{DEPLOYMENTS}/web/status", deployment(), "x")).refused(404, "NotFound")
    role = {
        "metadata": {"name": "patcher"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}],
    }
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    (await api.post(f"{rbac}/roles", role)).ok(201)
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"}
    subject = {"kind": "User", "name": "pat", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"metadata": {"name": "patcher"}, "roleRef": ref, "subjects": [subject]}
    (await api.post(f"{rbac}/rolebindings", binding)).ok(201)
    answer = await api.apply(f"{CONFIG_MAPS}/a", _config(), "x", user=user("pat"))
    assert "cannot create resource" in answer.refused(403, "Forbidden")
    await _made(api)
    (await api.apply(f"{CONFIG_MAPS}/a", _config(k="1"), "x", user=user("pat"))).ok()


# Small patches see only what they touch; each of them beside the same as a JSON patch, which sees it all.
_SMALL: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (
        {"metadata": {"annotations": {"a": "1"}}},
        [{"op": "add", "path": "/metadata/annotations", "value": {"a": "1"}}],
    ),
    ({"spec": {"replicas": 3}}, [{"op": "replace", "path": "/spec/replicas", "value": 3}]),
    (
        {"spec": {"paused": True}, "status": {"replicas": 9}},
        [{"op": "add", "path": "/spec/paused", "value": True}],
    ),
    ({"metadata": {"labels": {"app": None}}}, [{"op": "remove", "path": "/metadata/labels/app"}]),
    ({}, []),
]


@pytest.mark.parametrize("media", [MERGE, STRATEGIC])
@pytest.mark.parametrize(("patch", "operations"), _SMALL)
@served
async def test_small_patches(
    api: Api, patch: dict[str, Any], operations: list[dict[str, Any]], media: str
) -> None:
    for name in ("a", "b"):
        body = deployment(name) | {"metadata": {"name": name, "labels": {"app": "x"}}}
        body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m"}}
        (await api.post(DEPLOYMENTS, body)).ok(201)
    (await api.patch(f"{DEPLOYMENTS}/a", patch, media, fieldManager="second")).ok()
    (await api.patch(f"{DEPLOYMENTS}/b", operations, JSON_PATCH, fieldManager="second")).ok()
    one, other = [(await api.get(f"{DEPLOYMENTS}/{name}", owners=True)).json for name in "ab"]
    assert [entry["manager"] for entry in one["metadata"].get("managedFields", ())] == [
        entry["manager"] for entry in other["metadata"].get("managedFields", ())
    ]
    assert _nameless(one) == _nameless(other)


def _nameless(obj: dict[str, Any]) -> Any:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in ("name", "uid", "resourceVersion")}
    for entry in metadata.get("managedFields", ()):
        del entry["time"]
    text = json.dumps(obj | {"metadata": metadata}, sort_keys=True)
    return text.replace('"app": "b"', '"app": "a"').replace('"name": "b"', '"name": "a"')


@served
async def test_who_is_told_in_a_patch_owns(api: Api) -> None:
    await _made(api, k="1")
    entry = {"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"}
    told = [entry | {"fieldsV1": {"f:data": {".": {}, "f:k": {}}}}]
    (await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": told}}, MERGE)).ok()
    document = (await api.get(f"{CONFIG_MAPS}/a", owners=True)).ok()
    assert [each["manager"] for each in document["metadata"]["managedFields"]] == ["m"]
    (await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": [{}]}}, MERGE)).ok()
    document = (await api.get(f"{CONFIG_MAPS}/a", owners=True)).ok()
    assert "managedFields" not in document["metadata"]


@pytest.mark.parametrize("media", [MERGE, STRATEGIC])
@pytest.mark.parametrize("patch", [{}, {"metadata": {"annotations": {"a": "1"}}}])
@served
async def test_a_patch_of_the_status_that_names_none_leaves_it(
    api: Api, patch: dict[str, Any], media: str
) -> None:
    (await api.post(DEPLOYMENTS, deployment("a"))).ok(201)
    filled = {"status": {"replicas": 3, "readyReplicas": 2}}
    before = (await api.patch(f"{DEPLOYMENTS}/a/status", filled, MERGE)).ok()
    after = (await api.patch(f"{DEPLOYMENTS}/a/status", patch, media)).ok()
    assert after["status"] == before["status"] == filled["status"]
    assert after["spec"] == before["spec"]
