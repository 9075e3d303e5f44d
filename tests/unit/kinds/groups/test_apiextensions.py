# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest
import yaml

from sampan.kinds.groups.apiextensions.versions import schema_errors
from sampan.machinery.field import Path
from sampan.schema import codec
from tests.shared import ABSENT, SHARED

from .objects import cells, data, kind_of, made, update_errors

CRD = kind_of("CustomResourceDefinition")
PUBLISHED = sorted((SHARED / "corpus" / "crds").rglob("*.yaml"))
SCHEMA = {"openAPIV3Schema": {"type": "object"}}
VERSION = {"name": "v1", "served": True, "storage": True, "schema": SCHEMA}
NAMES = {"plural": "widgets", "kind": "Widget"}


def crd(**spec: Any) -> dict[str, Any]:
    whole = {"group": "example.com", "scope": "Namespaced", "names": NAMES, "versions": [VERSION], **spec}
    return {"metadata": {"name": "widgets.example.com"}, "spec": whole}


def crd_errors(value: dict[str, Any]) -> list[str]:
    stored = [version.get("name") for version in value["spec"].get("versions", ()) if version.get("storage")]
    whole = {"status": {"storedVersions": stored[:1]}, **value}
    return [str(error) for error in CRD.validate(made(CRD, whole))]


def test_names_follow_from_the_kind() -> None:
    spec = data(made(CRD, crd()))["spec"]
    assert spec["names"] == {**NAMES, "singular": "widget", "listKind": "WidgetList"}
    assert spec["conversion"] == {"strategy": "None"}
    assert crd_errors(crd()) == []


def test_stored_versions_are_kept_in_mind() -> None:
    old = made(CRD, crd())
    CRD.prepare_create(old)
    assert old.status.storedVersions == ["v1"]
    versions = [{**VERSION, "storage": False}, {**VERSION, "name": "v2"}]
    new = made(CRD, crd(versions=versions))
    new.status = old.status
    CRD.prepare_update(new, old)
    assert new.status.storedVersions == ["v1", "v2"]
    assert old.status.storedVersions == ["v1"]
    gone = made(CRD, {**crd(), "status": {"storedVersions": ["v0"]}})
    assert [str(e) for e in CRD.validate(gone)] == [
        'status.storedVersions: Invalid value: ["v0"]: must have the storage version v1',
        'status.storedVersions[0]: Invalid value: "v0": missing from spec.versions; v0 was previously a storage '
        "version, and must remain in spec.versions until a storage migration ensures no data remains "
        "persisted in v0 and removes v0 from status.storedVersions",
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"names": {**NAMES, "plural": "gadgets"}},
            ['metadata.name: Invalid value: "widgets.example.com": must be spec.names.plural+"."+spec.group'],
        ),
        (
            {"scope": "Galaxy"},
            ['spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'],
        ),
        (
            {"names": {**NAMES, "singular": "widget", "kind": "Wid_get", "listKind": "Wid_get"}},
            None,
        ),
        (
            {"versions": [{**VERSION, "schema": None}]},
            ["spec.versions[0].schema.openAPIV3Schema: Required value"],
        ),
        (
            {"preserveUnknownFields": True},
            [
                "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set "
                "x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
            ],
        ),
        (
            {"conversion": {"strategy": "Webhook"}},
            [
                "spec.conversion.webhook.clientConfig: Required value: required when strategy is set to Webhook"
            ],
        ),
    ],
)
def test_invalid_definitions(spec: dict[str, Any], expected: list[str] | None) -> None:
    found = crd_errors(crd(**spec))
    if expected is None:
        assert [e.split(":")[0] for e in found] == [
            "spec.names.kind",
            "spec.names.listKind",
            "spec.names.listKind",
        ]
        assert "may have mixed case, but should otherwise match: a DNS-1035 label" in found[0]
        assert found[2].endswith("kind and listKind may not be the same")
    else:
        assert found == expected


def test_there_is_one_version_of_storage() -> None:
    detail = "must have exactly one version marked as storage version"
    assert crd_errors(crd(versions=[{**VERSION, "storage": False}]))[0].endswith(detail)
    found = crd_errors(crd(versions=[VERSION, VERSION]))
    assert found[0].endswith("must contain unique version names")
    assert found[1].endswith(detail)


def test_protected_groups_need_an_approval() -> None:
    value = crd(group="x.k8s.io")
    value["metadata"]["name"] = "widgets.x.k8s.io"
    assert crd_errors(value) == [
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval "
        'annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
    ]
    value["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, testing"}
    assert crd_errors(value) == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, [".type: Required value: must not be empty at the root"]),
        ({"type": "string"}, ['.type: Invalid value: "string": must be object at the root']),
        (
            {
                "type": "object",
                "properties": {"a": {}, "b": {"type": "array"}, "c": {"x-kubernetes-int-or-string": True}},
            },
            [
                ".properties[a].type: Required value: must not be empty for specified object fields",
                ".properties[b].items: Required value: must be specified",
            ],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "map"}, "b": {"type": "array", "items": {}}}},
            [
                '.properties[a].type: Unsupported value: "map": supported values: "array", "boolean", '
                '"integer", "number", "object", "string"',
                ".properties[b].items.type: Required value: must not be empty for specified array items",
            ],
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "additionalProperties": {"type": "string"},
            },
            [
                ".additionalProperties: Forbidden: must not be used at the root",
                ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ],
        ),
    ],
)
def test_schemas_must_be_structural(schema: dict[str, Any], expected: list[str]) -> None:
    found = crd_errors(crd(versions=[{**VERSION, "schema": {"openAPIV3Schema": schema}}]))
    assert found == [f"spec.validation.openAPIV3Schema{error}" for error in expected]


def test_an_established_definition_keeps_its_scope() -> None:
    established = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
    assert update_errors(CRD, crd(scope="Cluster"), crd()) == []
    assert update_errors(CRD, crd(scope="Cluster"), {**crd(), **established}) == [
        'spec.scope: Invalid value: "Cluster": field is immutable'
    ]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_definitions_are_valid(path: Path) -> None:
    documents = [d for d in yaml.safe_load_all(path.read_text()) if d and d["kind"] == CRD.kind]
    for document in documents:
        document.pop("status", None)
        obj = codec.from_builtins(document, CRD.type)
        CRD.prepare_create(obj)
        CRD.default(obj)
        assert [str(error) for error in CRD.validate(obj)] == []
        once = codec.encode(obj)
        CRD.default(obj)
        assert codec.encode(obj) == once


def test_published_definitions_are_there() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} {ABSENT}")
    assert len(PUBLISHED) > 10


def test_cells() -> None:
    assert list(cells(CRD, crd()).values()) == [
        "widgets.example.com", "Namespaced", "v1(storage)", "2030-01-02T11:00:00Z", "example.com", "Widget", "", False
    ]  # fmt: skip


def _below(**member: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": member}}


OBJECT = {"type": "object", "properties": {"name": {"type": "string"}}}
KEYED = {"type": "array", "x-kubernetes-list-type": "map"}


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({"type": "string", "default": "x"}, []),
        ({"type": "object", "properties": {"b": {"type": "string", "default": "x"}}, "default": {}}, []),
        (
            {"type": "string", "default": 1},
            ['.default: Invalid value: "integer":  in body must be of type string: "integer"'],
        ),
        (
            {**OBJECT, "default": {"name": "x", "other": 1}},
            ['.default: Invalid value: {"name":"x","other":1}: must not have unknown fields: default.other'],
        ),
        ({"type": "string", "$ref": "#/x"}, [".$ref: Forbidden: $ref is not supported"]),
        (
            {"type": "object", "additionalProperties": False},
            [".additionalProperties: Forbidden: additionalProperties cannot be set to false"],
        ),
        (
            {"type": "string", "x-kubernetes-list-type": "set"},
            ['.type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'],
        ),
        (
            {"type": "array", "items": OBJECT, "x-kubernetes-list-type": "set"},
            [
                ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with "
                "x-kubernetes-list-type=set"
            ],
        ),
        (
            {**KEYED, "items": OBJECT},
            [
                ".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
            ],
        ),
        (
            {**KEYED, "items": OBJECT, "x-kubernetes-list-map-keys": ["name", "x"]},
            [
                ".items.properties[name].default: Required value: this property is in "
                "x-kubernetes-list-map-keys, so it must have a default or be a required property",
                '.x-kubernetes-list-map-keys[1]: Invalid value: "x": entries must all be names of item properties',
            ],
        ),
        (
            {**KEYED, "items": {**OBJECT, "required": ["name"]}, "x-kubernetes-list-map-keys": ["name"]},
            [],
        ),
        (
            {"type": "string", "anyOf": [{"type": "string", "minLength": 1}]},
            [".anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            {"type": "object", "oneOf": [{"required": ["b"], "properties": {"b": {"minLength": 1}}}]},
            [
                ".properties[b]: Required value: because it is defined in spec.properties[a].oneOf[0].properties[b]"
            ],
        ),
        (
            {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            [],
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            [
                ".properties: Required value: must not be empty if x-kubernetes-embedded-resource is true "
                "without x-kubernetes-preserve-unknown-fields"
            ],
        ),
        (
            {"type": "object", "x-kubernetes-map-type": "loose"},
            ['.x-kubernetes-map-type: Unsupported value: "loose": supported values: "atomic", "granular"'],
        ),
    ],
)
def test_schemas_that_are_not_structural(member: dict[str, Any], expected: list[str]) -> None:
    found = schema_errors(_below(**member), Path("spec"))
    assert [str(error).removeprefix("spec.properties[a]") for error in found] == expected


def test_patterns_are_regular_expressions() -> None:
    (found,) = schema_errors(_below(type="string", pattern="("), Path("spec"))
    start = 'spec.properties[a].pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: '
    assert str(found).startswith(start)


def test_metadata_says_what_names_may_be_and_no_more() -> None:
    names = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}
    assert schema_errors({"type": "object", "properties": {"metadata": names}}, Path("spec")) == []
    more = {**names, "properties": {"labels": {"type": "object"}}}
    (found,) = schema_errors({"type": "object", "properties": {"metadata": more}}, Path("spec"))
    assert str(found) == (
        "spec.properties[metadata]: Forbidden: must not specify anything other than name and generateName, "
        "but metadata is implicitly specified"
    )


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (".spec.color", ""),
        (".spec.nowhere", "is an invalid path: does not refer to a valid field"),
        (".spec.list[0]", "is an invalid path: does not refer to a valid field"),
        (".metadata.name", "must not point to fields in metadata"),
        (".spec", "must point to a field of type string, boolean or integer"),
    ],
)
def test_selectable_fields_are_scalars_of_the_schema(path: str, detail: str) -> None:
    spec = {"type": "object", "properties": {"color": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    found = crd_errors(
        crd(versions=[{**VERSION, "schema": schema, "selectableFields": [{"jsonPath": path}]}])
    )
    assert len(found) == bool(detail)
    assert all(detail in error for error in found)
