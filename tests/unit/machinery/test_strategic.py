from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.patch import strategic
from sampan.machinery.patch.errors import PatchError
from sampan.machinery.patch.values import copy
from sampan.schema import nodes
from sampan.schema.definitions import GroupVersionKind

POD = nodes.of_kind(GroupVersionKind("", "v1", "Pod"))
DEPLOYMENT = nodes.of_kind(GroupVersionKind("apps", "v1", "Deployment"))


def containers(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(items)}}


def volumes(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"volumes": list(items)}}


A, B, C = {"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a map merges and null deletes": (
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"b": None, "c": "3"}}},
        {"metadata": {"labels": {"a": "1", "c": "3"}}},
    ),
    "a null for what is not there is nothing": ({}, {"metadata": {"name": None}}, {"metadata": {}}),
    "items merge by key": (
        containers(A, B),
        containers({"name": "b", "image": "2"}),
        containers(A, {"name": "b", "image": "2"}),
    ),
    "a new item comes before what only the server knows": (
        containers(A, B),
        containers(C),
        containers(C, A, B),
    ),
    "an item is deleted by key": (
        containers(A, B),
        containers({"name": "a", "$patch": "delete"}),
        containers(B),
    ),
    "a list is replaced": (containers(A, B), containers(C, {"$patch": "replace"}), containers(C)),
    "the order is set": (
        containers(A, B, C),
        {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}},
        containers(B, C, A),
    ),
    "the order is set while items change": (
        containers(A, B),
        {
            "spec": {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
                "containers": [C, {"name": "a", "image": "2"}],
            }
        },
        containers(B, C, {"name": "a", "image": "2"}),
    ),
    "primitives join": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    "primitives are deleted": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    "an atomic list is replaced": (
        {"spec": {"tolerations": [{"key": "a"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
        {"spec": {"tolerations": [{"key": "b"}]}},
    ),
    "a map is replaced": (
        {"spec": {"securityContext": {"runAsUser": 1}}},
        {"spec": {"securityContext": {"$patch": "replace", "runAsGroup": 2}}},
        {"spec": {"securityContext": {"runAsGroup": 2}}},
    ),
    "a map is emptied": (
        {"spec": {"securityContext": {"runAsUser": 1}}},
        {"spec": {"securityContext": {"$patch": "delete"}}},
        {"spec": {"securityContext": {}}},
    ),
    "what is added carries no directives": (
        {},
        {
            "spec": {
                "volumes": [{"name": "v", "$retainKeys": ["name"]}],
                "$setElementOrder/volumes": [{"name": "v"}],
            }
        },
        {"spec": {"volumes": [{"name": "v"}]}},
    ),
    "only retained keys stay": (
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {
            "spec": {
                "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]
            }
        },
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_strategic_merge(name: str) -> None:
    document, patch, expected = CASES[name]
    before = copy(document), copy(patch)
    assert strategic.apply(document, patch, POD) == expected
    assert (document, patch) == before, "neither argument may change"


def test_a_retained_strategy() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(document, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("document", "patch", "message"),
    [
        (containers(A), containers({"image": "2"}), "does not contain declared merge key: name"),
        (containers(A), {"spec": {"$patch": "nonsense"}}, "unknown patch type: nonsense in map"),
        (containers(A), containers({"name": "a", "$patch": "merge"}), "cannot yet be specified in the patch"),
        (containers(A), containers("a"), "list element types are not identical"),  # type: ignore[arg-type]
        (
            {"spec": {"x": {"y": 1}}},
            {"spec": {"x": {"y": 2}}},
            'unable to find api field in struct PodSpec for the json field "x"',
        ),
        (
            containers(A, B),
            {"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}},
            "doesn't match $setElementOrder list",
        ),
        (
            {"spec": {"volumes": [{"name": "v"}]}},
            {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]}},
            "invalid patch format of retainKeys",
        ),
        (
            {"metadata": {}},
            {"metadata": {"$deleteFromPrimitiveList": ["a"]}},
            "invalid patch format of primitive list",
        ),
    ],
)
def test_refusals(document: dict[str, Any], patch: dict[str, Any], message: str) -> None:
    with pytest.raises(PatchError) as refused:
        strategic.apply(document, patch, POD)
    assert message in str(refused.value)
