from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sampan.kinds import registry
from sampan.schema import openapi_protobuf, openapi_v2, openapi_v3
from sampan.schema.definitions import SERVED, GroupVersionKind, load
from sampan.schema.openapi_resources import ServedResource, of_kinds

TAB = ServedResource(
    GroupVersionKind("stable.example.com", "v1", "CronTab"),
    "crontabs",
    True,
    ("create", "delete", "get", "list", "patch", "update", "watch"),
    custom={
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"n": {"anyOf": [{"type": "integer"}]}}}},
    },
)
RESOURCES = (*of_kinds(registry.ALL), TAB)
DEFINITIONS = load()


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from refs(item)


def types(value: Any) -> Iterator[Any]:
    """Every `type` keyword, but not the fields that are named so."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "properties":
                for field in item.values():
                    yield from types(field)
            elif key == "type":
                yield item
            else:
                yield from types(item)
    elif isinstance(value, list):
        for item in value:
            yield from types(item)


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    return {root: openapi_v3.document(root, RESOURCES, DEFINITIONS) for root in openapi_v3.roots(RESOURCES)}


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    return openapi_v2.document(RESOURCES, DEFINITIONS)


def test_references_lead_somewhere(documents: dict[str, dict[str, Any]], swagger: dict[str, Any]) -> None:
    for document in documents.values():
        names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert set(refs(document)) <= names
    known = {f"#/{part}/{name}" for part in ("definitions", "parameters") for name in swagger[part]}
    assert set(refs(swagger)) <= known


def test_types_are_single(documents: dict[str, dict[str, Any]], swagger: dict[str, Any]) -> None:
    for schemas in (*(d["components"]["schemas"] for d in documents.values()), swagger["definitions"]):
        assert set(types(list(schemas.values()))) <= {
            "string",
            "integer",
            "number",
            "boolean",
            "array",
            "object",
        }


def test_the_index_names_documents_by_what_is_in_them() -> None:
    index = openapi_v3.index(RESOURCES, DEFINITIONS)["paths"]
    assert set(index) == set(openapi_v3.roots(RESOURCES))
    url = index["apis/apps/v1"]["serverRelativeURL"]
    assert url.startswith("/openapi/v3/apis/apps/v1?hash=")
    others = openapi_v3.index([r for r in RESOURCES if r.gvk.kind != "Deployment"], DEFINITIONS)["paths"]
    assert others["apis/apps/v1"] != index["apis/apps/v1"]
    assert others["api/v1"] == index["api/v1"]


def test_what_kubectl_looks_for_in_v3(documents: dict[str, dict[str, Any]]) -> None:
    patch = documents["apis/apps/v1"]["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"][
        "patch"
    ]
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
    }
    assert patch["x-kubernetes-action"] == "patch"
    assert {"dryRun", "fieldValidation", "force"} <= {p["name"] for p in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    core = documents["api/v1"]
    assert core["paths"]["/api/v1/namespaces"]["get"]["x-kubernetes-action"] == "list"
    pod = core["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    assert "enum" not in pod["properties"]["kind"]
    spec = pod["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert spec["description"]
    either = core["components"]["schemas"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert either["oneOf"] == [{"type": "integer"}, {"type": "string"}]


def test_subresources_carry_their_own_type(documents: dict[str, dict[str, Any]]) -> None:
    path = "/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    eviction = documents["api/v1"]["paths"][path]["post"]
    assert eviction["x-kubernetes-group-version-kind"] == {
        "group": "policy",
        "version": "v1",
        "kind": "Eviction",
    }


def test_custom_resources(documents: dict[str, dict[str, Any]], swagger: dict[str, Any]) -> None:
    document = documents["apis/stable.example.com/v1"]
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert set(schema["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    path = "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"
    takes = document["paths"][path]["patch"]["requestBody"]["content"]
    assert "application/strategic-merge-patch+json" not in takes
    assert "com.example.stable.v1.CronTabList" in document["components"]["schemas"]
    old = swagger["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["n"]
    assert "anyOf" not in old, "OpenAPI v2 has no words for it"


def test_operations_have_names_of_their_own(swagger: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for item in swagger["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))
    assert "createAppsV1NamespacedDeployment" in ids
    assert "listCoreV1PodForAllNamespaces" in ids


def test_every_served_version_has_documents() -> None:
    for version in SERVED:
        definitions = load(version)
        for root in openapi_v3.roots(RESOURCES):
            assert openapi_v3.document(root, RESOURCES, definitions)["info"]["version"] in (version, "v0.1.0")


def test_an_unknown_document() -> None:
    with pytest.raises(KeyError):
        openapi_v3.document("apis/nonsense/v1", RESOURCES, DEFINITIONS)


def test_the_protobuf_form_holds_the_same(swagger: dict[str, Any]) -> None:
    document = fields_of(openapi_protobuf.encode(swagger))
    assert document[1] == [b"2.0"]
    paths = dict(map(pair, fields_of(document[8][0])[2]))
    assert set(paths) == set(swagger["paths"])
    definitions = dict(map(pair, fields_of(document[9][0])[1]))
    assert set(definitions) == set(swagger["definitions"])
    for name, encoded in definitions.items():
        schema, fields = swagger["definitions"][name], fields_of(encoded)
        assert [text.decode() for text in fields.get(19, [])] == schema.get("required", [])
        properties = dict(map(pair, fields_of(fields[25][0])[1])) if 25 in fields else {}
        assert set(properties) == set(schema.get("properties", {}))
        extensions = dict(map(pair, fields.get(31, [])))
        assert {n: json.loads(fields_of(v)[2][0]) for n, v in extensions.items()} == {
            n: v for n, v in schema.items() if n.startswith("x-")
        }
    put = fields_of(fields_of(paths["/api/v1/nodes/{name}"])[3][0])
    assert put[5] == [b"replaceCoreV1Node"]
    body = fields_of(fields_of(fields_of(put[8][0])[1][0])[1][0])
    assert (body[2], body[3], body[4]) == ([b"body"], [b"body"], [1])
    query = fields_of(fields_of(fields_of(fields_of(put[8][1])[1][0])[2][0])[3][0])
    assert (query[4], query[6], query[20]) == ([b"dryRun"], [b"string"], [1])


def pair(encoded: bytes) -> tuple[str, bytes]:
    fields = fields_of(encoded)
    return fields[1][0].decode(), fields.get(2, [b""])[0]


def fields_of(data: bytes) -> dict[int, list[Any]]:
    """A protobuf message read without its type: numbers and bytes by field."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(data):
        key = varint()
        value: Any = varint()
        if key & 7 == 2:
            length = value
            value = data[at : at + length]
            assert len(value) == length
            at += length
        found.setdefault(key >> 3, []).append(value)
    return found
