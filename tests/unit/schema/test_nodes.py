from __future__ import annotations

from sampan.machinery.schema_node import (
    ANY,
    ATOMIC,
    GRANULAR,
    KEYED,
    LIST,
    MAP,
    NUMBER,
    OBJECT,
    SET,
    STRING,
    SchemaNode,
)
from sampan.schema import nodes
from sampan.schema.definitions import SERVED, GroupVersionKind, load

POD = GroupVersionKind("", "v1", "Pod")


def at(node: SchemaNode, *path: str) -> SchemaNode:
    for step in path:
        found = node.items() if step == "[]" else node.child(step)
        assert found is not None, path
        node = found
    return node


def test_kinds_of_nodes() -> None:
    pod = nodes.of_kind(POD)
    assert pod.kind == OBJECT
    assert pod.name == "Pod"
    assert at(pod, "spec", "containers").kind == LIST
    assert at(pod, "spec", "containers", "[]", "image").kind == STRING
    assert at(pod, "spec", "priority").kind == NUMBER
    assert at(pod, "metadata", "labels").kind == MAP
    assert at(pod, "metadata", "labels", "anything").kind == STRING
    assert at(pod, "spec", "containers", "[]", "resources", "limits", "cpu").kind == ANY
    assert pod.child("nonsense") is None
    assert pod.is_field("spec")
    assert not at(pod, "metadata", "labels").is_field("x")


def test_lists() -> None:
    spec = at(nodes.of_kind(POD), "spec")
    containers = at(spec, "containers")
    assert (containers.list_type, containers.list_map_keys) == (KEYED, ("name",))
    assert (containers.patch_merge_key, containers.patch_strategies) == ("name", ("merge",))
    assert at(spec, "volumes").patch_strategies == ("merge", "retainKeys")
    assert at(spec, "tolerations").list_type == ATOMIC
    ports = at(containers, "[]", "ports")
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.key_defaults == {"protocol": "TCP"}
    assert at(nodes.of_kind(POD), "metadata", "finalizers").list_type == SET


def test_maps() -> None:
    assert at(nodes.of_kind(POD), "spec", "nodeSelector").map_type == ATOMIC
    assert at(nodes.of_kind(POD), "metadata", "labels").map_type == GRANULAR
    deployment = nodes.of_kind(GroupVersionKind("apps", "v1", "Deployment"))
    assert at(deployment, "spec", "selector").map_type == ATOMIC


def test_nodes_are_made_once_and_may_recurse() -> None:
    pod = nodes.of_kind(POD)
    assert pod.child("spec") is pod.child("spec")
    assert nodes.of_kind(POD) is pod
    crd = nodes.of_kind(GroupVersionKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))
    schema = at(crd, "spec", "versions", "[]", "schema", "openAPIV3Schema")
    assert at(schema, "properties", "x", "properties", "y").kind == OBJECT


def test_every_keyed_list_of_every_version_can_be_told_apart() -> None:
    for version in SERVED:
        definitions = load(version)
        for full, schema in definitions.schemas.items():
            if full.endswith(".StorageVersionMigrationList"):
                continue  # published in 1.30 with a key that its items lack
            for field in schema.get("properties", ()):
                node = nodes.of(full, version).child(field)
                if node is not None and node.kind == LIST and node.list_type == KEYED:
                    assert node.list_map_keys, (version, full, field)
                    for key in node.list_map_keys:
                        assert node.items().child(key) is not None, (version, full, field, key)


def test_custom_schemas() -> None:
    node = nodes.of_custom(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "port": {"x-kubernetes-int-or-string": True},
                        "pod": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
                    },
                }
            },
        }
    )
    assert at(node, "metadata", "labels").kind == MAP
    assert at(node, "spec", "free").kind == ANY
    assert at(node, "spec", "free", "a", "b").kind == ANY
    assert at(node, "spec", "port").kind == ANY
    assert at(node, "spec", "pod", "metadata", "finalizers").list_type == SET
    assert node.child("nonsense") is None
    assert at(node, "spec").child("nonsense") is None
    assert at(nodes.of_custom(None), "spec", "anything").kind == ANY
