"""OpenAPI documents as kube-apiserver 1.37.2 answers them: what was recorded of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sampan.kinds import registry
from sampan.schema import openapi_singles, openapi_structural, openapi_v2, openapi_v3
from sampan.schema.definitions import load
from sampan.schema.openapi_resources import of_kinds

DEFINITIONS = load()
RESOURCES = of_kinds(registry.ALL)
SINGLES = openapi_singles.singles({"apps", "rbac.authorization.k8s.io"})
SELECTOR = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.fixture(scope="module")
def swagger() -> dict[str, Any]:
    return openapi_v2.document(RESOURCES, DEFINITIONS, SINGLES)


@pytest.fixture(scope="module")
def core() -> dict[str, Any]:
    return openapi_v3.document("api/v1", RESOURCES, DEFINITIONS)


def test_shared_parameters_have_the_names_that_their_hashes_give(swagger: dict[str, Any]) -> None:
    shared = swagger["parameters"]
    # Of bodies, which have no words, the names are the original's.
    assert {"body-2Y1dVQaQ", "body-78PwaGsr"} <= set(shared)
    assert len({parameter["name"] for parameter in shared.values()}) > 30
    for name, parameter in shared.items():
        own, hashed = name[:-9], name[-8:]
        assert (own, name[-9]) == (parameter["name"], "-")
        assert re.fullmatch(r"[A-Za-z0-9_-]{8}", hashed)
    post = swagger["paths"]["/api/v1/namespaces/{namespace}/configmaps"]["post"]
    names = [parameter.get("name") or parameter["$ref"] for parameter in post["parameters"]]
    assert [names[0], names[1], names[3]] == ["body", "dryRun", "fieldValidation"]
    assert shared[names[2].removeprefix("#/parameters/")]["name"] == "fieldManager"


@pytest.mark.parametrize(
    ("path", "method", "id_", "description", "action"),
    [
        (
            "/api/v1/watch/namespaces/{namespace}/pods/{name}",
            "get",
            "watchCoreV1NamespacedPod",
            "watch changes to an object of kind Pod. deprecated: use the 'watch' parameter with a list "
            "operation instead, filtered to a single item with the 'fieldSelector' parameter.",
            "watch",
        ),
        (
            "/api/v1/watch/pods",
            "get",
            "watchCoreV1PodListForAllNamespaces",
            "watch individual changes to a list of Pod. deprecated: use the 'watch' parameter with a list "
            "operation instead.",
            "watchlist",
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}",
            "options",
            "connectCoreV1OptionsNamespacedPodProxyWithPath",
            "connect OPTIONS requests to proxy of Pod",
            "connect",
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/eviction",
            "post",
            "createCoreV1NamespacedPodEviction",
            "create eviction of a Pod",
            "post",
        ),
        (
            "/api/v1/namespaces/{namespace}/endpoints",
            "post",
            "createCoreV1NamespacedEndpoints",
            "create Endpoints",
            "post",
        ),
        (
            "/api/v1/namespaces/{namespace}/events",
            "post",
            "createCoreV1NamespacedEvent",
            "create an Event",
            "post",
        ),
        (
            "/api/v1/componentstatuses",
            "get",
            "listCoreV1ComponentStatus",
            "list objects of kind ComponentStatus",
            "list",
        ),
        (
            "/api/v1/nodes/{name}/status",
            "patch",
            "patchCoreV1NodeStatus",
            "partially update status of the specified Node",
            "patch",
        ),
    ],
)
def test_operations(
    core: dict[str, Any],
    swagger: dict[str, Any],
    path: str,
    method: str,
    id_: str,
    description: str,
    action: str,
) -> None:
    for document in (core, swagger):
        shown = document["paths"][path][method]
        assert (shown["operationId"], shown["description"]) == (id_, description)
        assert shown["x-kubernetes-action"] == action


def test_what_all_operations_of_a_path_take_stands_at_the_path(core: dict[str, Any]) -> None:
    item = core["paths"]["/api/v1/namespaces/{namespace}/bindings"]
    assert [each["name"] for each in item["parameters"]] == [
        "dryRun",
        "fieldManager",
        "fieldValidation",
        "namespace",
        "pretty",
    ]
    assert "parameters" not in item["post"]


def test_the_name_of_a_subresource_is_that_of_what_is_sent(core: dict[str, Any]) -> None:
    item = core["paths"]["/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"]
    (name,) = [each for each in item["parameters"] if each["name"] == "name"]
    assert name["description"] == "name of the TokenRequest"


def test_deletions_answer_a_status_or_the_object(core: dict[str, Any]) -> None:
    for plural, kind in (
        ("pods", "io.k8s.api.core.v1.Pod"),
        ("secrets", "io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
    ):
        shown = core["paths"][f"/api/v1/namespaces/{{namespace}}/{plural}/{{name}}"]["delete"]["responses"][
            "200"
        ]
        assert shown["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{kind}"}


def test_paths_that_are_no_resources(swagger: dict[str, Any]) -> None:
    for path in (
        "/api/",
        "/apis/",
        "/apis/apps/",
        "/version/",
        "/openid/v1/jwks/",
        "/api/v1/",
        "/apis/apps/v1/",
    ):
        assert set(swagger["paths"][path]) == {"get"}
    group = swagger["paths"]["/apis/rbac.authorization.k8s.io/"]["get"]
    assert (group["operationId"], group["tags"]) == ("getRbacAuthorizationAPIGroup", ["rbacAuthorization"])


def test_descriptions_tell_the_values(swagger: dict[str, Any], core: dict[str, Any]) -> None:
    name = "io.k8s.api.core.v1.NamespaceStatus"
    for schemas in (swagger["definitions"], core["components"]["schemas"]):
        assert schemas[name]["properties"]["phase"]["description"].endswith(
            '\n\nPossible enum values:\n - `"Active"`\n - `"Terminating"`'
        )


@pytest.mark.parametrize(
    ("kind", "field", "default"),
    [
        ("Container", "name", ""),
        ("Container", "resources", {}),
        ("ContainerPort", "containerPort", 0),
        ("ContainerPort", "protocol", "TCP"),
        ("Pod", "spec", {}),
        ("ConfigMapKeySelector", "name", ""),
        ("AzureDiskVolumeSource", "readOnly", False),
        ("PodSpec", "affinity", None),
        ("ReplicationControllerSpec", "template", None),
        ("PodSpec", "nodeName", None),
    ],
)
def test_version_3_has_defaults_and_version_2_none(
    core: dict[str, Any], swagger: dict[str, Any], kind: str, field: str, default: Any
) -> None:
    shown = core["components"]["schemas"][f"io.k8s.api.core.v1.{kind}"]["properties"][field]
    assert shown.get("default") == default
    assert "default" not in swagger["definitions"][f"io.k8s.api.core.v1.{kind}"]["properties"][field]
    assert not ("$ref" in shown and len(shown) > 1)


def test_types_of_every_group_are_told_of_the_documents_own() -> None:
    shown = openapi_v3.document("apis/apps/v1", RESOURCES, DEFINITIONS)["components"]["schemas"]
    gvks = shown["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"]
    assert [(gvk["group"], gvk["version"]) for gvk in gvks] == [("", "v1"), ("apps", "v1")]


@pytest.mark.parametrize(
    ("given", "v2", "v3"),
    [
        ({"type": "string", "default": "a"}, {"type": "string"}, {"type": "string", "default": "a"}),
        ({**SELECTOR, "nullable": True}, {}, {**SELECTOR, "nullable": True}),
        (
            {**SELECTOR, "x-kubernetes-preserve-unknown-fields": True},
            {"x-kubernetes-preserve-unknown-fields": True},
            {**SELECTOR, "x-kubernetes-preserve-unknown-fields": True},
        ),
        (
            {"x-kubernetes-int-or-string": True},
            {"x-kubernetes-int-or-string": True},
            {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        ),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "nullable": True}}},
            {"type": "object", "properties": {"a": {}}},
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "nullable": True}}},
        ),
    ],
)
def test_schemas_of_definitions(given: dict[str, Any], v2: dict[str, Any], v3: dict[str, Any]) -> None:
    assert openapi_structural.shown(given, v2=True) == v2
    assert openapi_structural.shown(given, v2=False) == v3
