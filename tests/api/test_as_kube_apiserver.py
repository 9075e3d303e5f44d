"""Answers as kube-apiserver 1.37.2 gives them: recorded from the original, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import (
    APPLY,
    CONFIG_MAPS,
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    PODS,
    STRATEGIC,
    TABLE,
    Api,
    config_map,
    deployment,
    served,
)

UNFIT = "the server rejected our request due to an error in our request"
DECODING = "error decoding patch: json: cannot unmarshal"
NO_MAP = "into Go value of type map[string]interface {}"
NAMELESS = "the name of the object (a based on URL) was undeterminable: name must be provided"
UNSUPPORTED = "415: Unsupported Media Type"
BROKEN = "the object provided is unrecognized (must be of type ConfigMap): "
CONTINUE = "invalid continue token: continue key is not valid: "
NO_TYPE = BROKEN + "couldn't get version/kind; json parse error: "
TYPE_META = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)


def _operation(op: Any = "add", path: Any = "/data/k", **more: Any) -> list[dict[str, Any]]:
    return [{"op": op, "path": path, **more}]


@pytest.mark.parametrize(
    ("body", "media", "code", "message"),
    [
        (_operation("test", value="9"), JSON_PATCH, 422, UNFIT),
        (_operation("remove", "/data/none"), JSON_PATCH, 422, UNFIT),
        (_operation("fly"), JSON_PATCH, 422, UNFIT),
        (b"[null]", JSON_PATCH, 422, UNFIT),
        (
            _operation(5),
            JSON_PATCH,
            400,
            f"{DECODING} number into Go struct field jsonPatchOp.op of type string",
        ),
        (b"[1]", JSON_PATCH, 400, f"{DECODING} number into Go value of type handlers.jsonPatchOp"),
        (b"{}", JSON_PATCH, 400, f"{DECODING} object into Go value of type []handlers.jsonPatchOp"),
        (b"[", JSON_PATCH, 400, "invalid JSON patch"),
        (
            _operation("replace", "/metadata/name", value="b"),
            JSON_PATCH,
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (_operation("remove", "/metadata/name"), JSON_PATCH, 400, NAMELESS),
        (b"[]", MERGE, 400, f"{DECODING} array {NO_MAP}"),
        (b"null", MERGE, 400, "Invalid JSON Patch"),
        (b"{", MERGE, 400, "invalid JSON patch"),
        ({"metadata": None}, MERGE, 400, NAMELESS),
        (
            {"metadata": {"namespace": "b"}},
            MERGE,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"metadata": {"uid": "x"}},
            MERGE,
            422,
            'ConfigMap "a" is invalid: metadata.uid: Invalid value: "x": field is immutable',
        ),
        (b"[]", STRATEGIC, 400, f"json: cannot unmarshal array {NO_MAP}"),
        (
            {"data": {"k": 5}},
            STRATEGIC,
            422,
            ' "" is invalid: patch: Invalid value: "map[data:map[k:5]]": cannot convert int64 to string',
        ),
        (
            {"data": "x"},
            STRATEGIC,
            422,
            ' "" is invalid: patch: Invalid value: "map[data:x]": cannot restore map from string',
        ),
        (
            {"metadata": "x"},
            STRATEGIC,
            422,
            ' "" is invalid: patch: Invalid value: "map[metadata:x]": cannot restore struct from: string',
        ),
        (b"{}", "text/plain", 415, UNSUPPORTED),
        (b"{}", "", 415, UNSUPPORTED),
    ],
)
@served
async def test_patches_that_are_refused(api: Api, body: Any, media: str, code: int, message: str) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"))).ok(201)
    answer = await api.patch(f"{CONFIG_MAPS}/a", body, media)
    assert (answer.code, answer.message) == (code, message)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"spec": {"replicas": "x"}}, "unrecognized type: int32"),
        ({"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"paused": 1}}, "unrecognized type: bool"),
        ({"spec": {"strategy": "x"}}, "cannot restore struct from: string"),
        ({"spec": {"template": {"spec": {"tolerations": [5]}}}}, "cannot restore struct from: int64"),
        ({"spec": {"template": {"spec": {"containers": "x"}}}}, "cannot restore slice from string"),
        ({"spec": {"selector": {"matchLabels": 5}}}, "cannot restore map from int64"),
    ],
)
@served
async def test_strategic_patches_of_wrong_types(api: Api, body: Any, why: str) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    message = (await api.patch(f"{DEPLOYMENTS}/web", body, STRATEGIC)).refused(422, "Invalid")
    assert message.endswith(f'": {why}')


@served
async def test_what_a_patch_made_is_quoted(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"))).ok(201)
    answer = await api.patch(f"{CONFIG_MAPS}/a", {"data": {"k": 5}}, MERGE)
    message = answer.refused(422, "Invalid")
    assert message.startswith(
        ' "" is invalid: patch: Invalid value: "{\\"apiVersion\\":\\"v1\\",\\"data\\":{\\"k\\":5},'
    )
    assert message.endswith(
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    )
    assert [cause["field"] for cause in answer.json["details"]["causes"]] == ["patch"]


@pytest.mark.parametrize(
    ("body", "media", "warning"),
    [
        (b'{"data":{"k":"1","k":"2"}}', MERGE, 'duplicate field "data.k"'),
        (b'{"data":{"k":"1","k":"2"}}', STRATEGIC, 'duplicate field "data.k"'),
        (_operation(value="2", zz=1), JSON_PATCH, 'json patch unknown field "[0].zz"'),
        (
            b'[{"op":"add","op":"add","path":"/data/k","value":"2"}]',
            JSON_PATCH,
            'json patch duplicate field "[0].op"',
        ),
        (_operation(path="/zz", value=1), JSON_PATCH, 'unknown field "zz"'),
    ],
)
@served
async def test_what_patches_are_warned_of(api: Api, body: Any, media: str, warning: str) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"))).ok(201)
    answer = await api.patch(f"{CONFIG_MAPS}/a", body, media)
    answer.ok()
    quoted = warning.replace('"', r"\"")
    assert answer.headers["Warning"] == f'299 - "{quoted}"'
    strict = (await api.patch(f"{CONFIG_MAPS}/a", body, media, fieldValidation="Strict")).refused(
        422, "Invalid"
    )
    assert strict.endswith(f"strict decoding error: {warning}")


@pytest.mark.parametrize(
    ("method", "query", "kind", "message"),
    [
        (
            "POST",
            {"dryRun": "x"},
            "CreateOptions",
            'dryRun: Unsupported value: ["x"]: supported values: "All"',
        ),
        ("PUT", {"dryRun": ""}, "UpdateOptions", 'dryRun: Unsupported value: [""]: supported values: "All"'),
        (
            "DELETE",
            {"dryRun": "x"},
            "DeleteOptions",
            'dryRun: Unsupported value: ["x"]: supported values: "All"',
        ),
        (
            "PATCH",
            {"force": "true"},
            "PatchOptions",
            "force: Forbidden: may not be specified for non-apply patch",
        ),
        (
            "POST",
            {"fieldManager": "x" * 129},
            "CreateOptions",
            "fieldManager: Too long: may not be more than 128 bytes",
        ),
        (
            "PATCH",
            {"fieldManager": "\0b"},
            "PatchOptions",
            r'fieldManager: Invalid value: "\x00b": invalid character U+0000 (at position 0)',
        ),
        (
            "PUT",
            {"fieldValidation": "q"},
            "UpdateOptions",
            'fieldValidation: Unsupported value: "q": supported values: "", "Ignore", "Strict", "Warn"',
        ),
        (
            "PATCH",
            {"dryRun": "No", "fieldManager": "x" * 129},
            "PatchOptions",
            "[fieldManager: Too long: may not be more than 128 bytes, "
            'dryRun: Unsupported value: ["No"]: supported values: "All"]',
        ),
    ],
)
@served
async def test_options_that_there_are_not(
    api: Api, method: str, query: dict[str, str], kind: str, message: str
) -> None:
    path = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/a"
    media = MERGE if method == "PATCH" else "application/json"
    answer = await api.call(method, path, config_map("a"), media=media, **query)
    assert answer.refused(422, "Invalid") == f'{kind}.meta.k8s.io "" is invalid: {message}'
    assert (answer.json["details"]["group"], answer.json["details"]["kind"]) == ("meta.k8s.io", kind)


@served
async def test_an_apply_needs_a_manager(api: Api) -> None:
    message = (await api.patch(f"{CONFIG_MAPS}/a", config_map("a"), APPLY)).refused(422, "Invalid")
    assert message == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", f"{NO_TYPE}unexpected end of JSON input (<empty>)"),
        (b"{", f"{NO_TYPE}unexpected end of JSON input ({{)"),
        (b"[]", f"{NO_TYPE}json: cannot unmarshal array into Go value of type {TYPE_META} (5b5d)"),
        (b'"x"', f"{NO_TYPE}json: cannot unmarshal string into Go value of type {TYPE_META} (227822)"),
        (b"5", f"{NO_TYPE}json: cannot unmarshal number into Go value of type {TYPE_META} (35)"),
        (b"{}{}", f"{NO_TYPE}invalid character '{{' after top-level value ({{}}{{}})"),
        (b'{"a" 1}', f"{NO_TYPE}invalid character '1' after object key ({{\"a\" 1}})"),
        (b'{"a":[1 2]}', f"{NO_TYPE}invalid character '2' after array element ({{\"a\":[1 2]}})"),
        (b'{"a":1 "b"}', f'{NO_TYPE}invalid character \'"\' after object key:value pair ({{"a":1 "b"}})'),
        (b"{x}", f"{NO_TYPE}invalid character 'x' looking for beginning of object key string ({{x}})"),
        (
            {"kind": "X"},
            'X in version "v1" cannot be handled as a ConfigMap: '
            'no kind "X" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"',
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment"},
            'Deployment in version "v1" cannot be handled as a ConfigMap: '
            "converting (v1.Deployment) to (core.ConfigMap): unknown conversion",
        ),
        (
            {"metadata": {"name": "a", "namespace": "b"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
@served
async def test_bodies_that_are_refused(api: Api, body: Any, message: str) -> None:
    assert (await api.post(CONFIG_MAPS, body)).refused(400, "BadRequest") == message


@served
async def test_null_is_an_object_without_a_name(api: Api) -> None:
    message = (await api.post(CONFIG_MAPS, b"null")).refused(422, "Invalid")
    assert (
        message == 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    )
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    assert (await api.put(f"{CONFIG_MAPS}/a", b"null")).refused(400, "BadRequest") == NAMELESS


@served
async def test_refusals_warn_too(api: Api) -> None:
    answer = await api.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}, "zz": 1})
    answer.refused(404, "NotFound")
    assert answer.headers["Warning"] == r'299 - "unknown field \"zz\""'


@served
async def test_a_create_that_is_tried_has_no_revision(api: Api) -> None:
    tried = (await api.post(CONFIG_MAPS, config_map("a"), dryRun="All")).ok(201)
    assert "resourceVersion" not in tried["metadata"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("PUT", CONFIG_MAPS, 405), ("POST", f"{CONFIG_MAPS}/a", 405), ("GET", f"{CONFIG_MAPS}/a/b", 404)],
)
@served
async def test_general_refusals_have_empty_details(api: Api, method: str, path: str, code: int) -> None:
    answer = await api.call(method, path, {})
    assert (answer.code, answer.json["details"]) == (code, {})


# -- reads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"fieldSelector": "data.x=1"},
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ({"limit": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"limit": str(2**64)}, f'strconv.ParseInt: parsing "{2**64}": value out of range'),
        (
            {"resourceVersion": "abc"},
            'invalid resource version: resourceVersion: Invalid value: "abc": '
            'strconv.ParseUint: parsing "abc": invalid syntax',
        ),
        ({"continues": "!!!"}, f"{CONTINUE}illegal base64 data at input byte 0"),
        ({"continues": "e30"}, f"{CONTINUE}server does not recognize this encoded version "),
        (
            {"continues": "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJjMSJ9"},
            f"{CONTINUE}incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
    ],
)
@served
async def test_lists_that_cannot_be_had(api: Api, query: dict[str, str], message: str) -> None:
    assert (await api.get(CONFIG_MAPS, **query)).refused(400, "BadRequest") == message


@served
async def test_negative_limits_are_none(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    assert (await api.get(CONFIG_MAPS, limit="-1")).names == ["a"]


@served
async def test_a_get_of_what_has_yet_to_happen_is_asked_again(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = await api.get(f"{CONFIG_MAPS}/a", resourceVersion="99999999")
    assert answer.refused(504, "Timeout").startswith(
        "Timeout: Too large resource version: 99999999, current: "
    )


@served
async def test_watch_on_the_url_of_one_object_means_nothing(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    assert (await api.get(f"{CONFIG_MAPS}/a", watch="1")).ok()["kind"] == "ConfigMap"


@served
async def test_rows_without_objects_say_so(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    row = (await api.get(f"{CONFIG_MAPS}/a", accept=TABLE, includeObject="None")).ok()["rows"][0]
    assert row["object"] is None
    message = (await api.get(f"{CONFIG_MAPS}/a", accept=TABLE, includeObject="x")).refused(400, "BadRequest")
    assert message.endswith(
        """includeObject: Invalid value: "x": must be 'Metadata', 'Object', 'None', or empty"""
    )


@pytest.mark.parametrize("path", ["/nope", "/apis/nope", "/apis/a.b.c/v1/x", "/healthz/nope", "/openapi/v4"])
@served
async def test_paths_of_nobody_are_a_page(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.code, answer.body) == (404, b"404 page not found\n")
    assert answer.response.content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/v1/nope", "/api/v1/pods/x", "/apis/apps/v1/deployments/x"])
@served
async def test_other_paths_are_a_status(api: Api, path: str) -> None:
    assert (await api.get(path)).refused(
        404, "NotFound"
    ) == "the server could not find the requested resource"


@served
async def test_the_root_tells_of_paths(api: Api) -> None:
    paths = (await api.get("/")).ok()["paths"]
    assert {"/api", "/apis/apps/v1", "/healthz/ping", "/readyz/shutdown", "/openapi/v3", "/version"} <= set(
        paths
    )
    assert paths == sorted(paths)


@pytest.mark.parametrize("path", ["/version", "/api", "/api/v1", "/apis/apps/v1"])
@served
async def test_documents_are_only_read(api: Api, path: str) -> None:
    (await api.put(path, {})).refused(405, "MethodNotAllowed")


# -- deletes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            {"propagationPolicy": "Bogus"},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Bogus": '
            'supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        (
            {"propagationPolicy": "Orphan", "orphanDependents": True},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": '
            "orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            {"dryRun": ["x"]},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: '
            'dryRun: Unsupported value: ["x"]: supported values: "All"',
        ),
        (
            {"kind": "Bogus", "apiVersion": "v1"},
            400,
            'no kind "Bogus" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"',
        ),
        (
            {"gracePeriodSeconds": "x"},
            400,
            "json: cannot unmarshal string into Go struct field "
            "DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (b"{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"),
    ],
)
@served
async def test_deletes_that_are_refused(api: Api, body: Any, code: int, message: str) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = await api.delete(f"{CONFIG_MAPS}/a", body)
    assert (answer.code, answer.message) == (code, message)


@served
async def test_a_delete_of_another_than_was_meant(api: Api) -> None:
    uid = (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)["metadata"]["uid"]
    answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": {"uid": "x"}})
    assert answer.refused(409, "Conflict") == (
        'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (x) does not match '
        f"the UID in record ({uid}). The object might have been deleted and then recreated"
    )
    assert answer.json["details"] == {"name": "a", "kind": "ConfigMap"}


@served
async def test_what_goes_at_once_is_told_of_as_it_was(api: Api) -> None:
    (await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "a"}})).ok(201)
    gone = (await api.delete("/api/v1/namespaces/default/serviceaccounts/a")).ok()
    assert gone["kind"] == "ServiceAccount"
    assert "deletionTimestamp" not in gone["metadata"]
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    (await api.post(classes, {"metadata": {"name": "a"}, "provisioner": "x/y"})).ok(201)
    assert (await api.delete(f"{classes}/a")).ok()["kind"] == "StorageClass"
    ranges = "/api/v1/namespaces/default/limitranges"
    (await api.post(ranges, {"metadata": {"name": "a"}, "spec": {"limits": []}})).ok(201)
    assert (await api.delete(f"{ranges}/a")).ok()["kind"] == "Status"


# -- subresources ------------------------------------------------------------------------------------


@served
async def test_evictions_and_bindings_name_their_pod(api: Api) -> None:
    await api.pod("web")
    for subresource, kind in (("eviction", "Eviction"), ("binding", "Binding")):
        body = {"metadata": {"name": "other"}, "target": {"name": "n1"}}
        message = (await api.post(f"{PODS}/web/{subresource}", body)).refused(400, "BadRequest")
        assert message == f"name in URL does not match name in {kind} object"
    bound = (
        await api.post(f"{PODS}/web/binding", {"metadata": {"name": "web"}, "target": {"name": "n1"}})
    ).ok(201)
    assert (bound["status"], bound["code"]) == ("Success", 201)
    again = await api.post(f"{PODS}/web/binding", {"metadata": {"name": "web"}, "target": {"name": "n2"}})
    assert again.refused(409, "Conflict") == (
        'Operation cannot be fulfilled on pods/binding "web": pod web is already assigned to node "n1"'
    )


@served
async def test_the_log_of_a_pod_without_a_node_is_empty(api: Api) -> None:
    await api.pod("web")
    answer = await api.get(f"{PODS}/web/log")
    assert (answer.code, answer.body) == (204, b"")


@served
async def test_token_requests(api: Api) -> None:
    await api.account()
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    made = (await api.post(path, {})).ok(201)
    assert made["spec"]["audiences"] == ["https://kubernetes.default.svc"]
    assert made["metadata"]["uid"]
    assert (await api.post(path, {"spec": {"expirationSeconds": 10}})).refused(422, "Invalid") == (
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: '
        "may not specify a duration less than 10 minutes"
    )
    assert (await api.post(path, {"metadata": {"name": "zz"}})).refused(422, "Invalid") == (
        'TokenRequest.authentication.k8s.io "default" is invalid: metadata.name: Invalid value: "zz": '
        "must match the service account name if specified"
    )


# -- server-side apply -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "invalid object type: /, Kind="),
        (
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}},
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            b"[]",
            "error decoding patch: error unmarshaling JSON: while decoding JSON: "
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
    ],
)
@served
async def test_configurations_that_are_refused(api: Api, body: Any, message: str) -> None:
    assert (await api.apply(f"{CONFIG_MAPS}/a", body, "x")).refused(400, "BadRequest") == message


@served
async def test_a_null_in_a_configuration_sets_nothing(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"))).ok(201)
    applied = await api.apply(f"{CONFIG_MAPS}/a", config_map("a") | {"data": None}, "x", force="true")
    assert applied.ok()["data"] == {"k": "1"}
