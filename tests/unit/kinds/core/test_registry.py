from __future__ import annotations

import pytest

from sampan.kinds import registry
from sampan.kinds.core import KINDS
from sampan.kinds.kind import Kind
from sampan.schema import api, codec
from sampan.schema.definitions import GroupVersionKind


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "subresource", "expected"),
    [
        ("Pod", "x", "y", "status", "/api/v1/namespaces/x/pods/y/status"),
        ("Pod", "", "", "", "/api/v1/pods"),
        ("Node", "", "n", "", "/api/v1/nodes/n"),
        ("Deployment", "x", "", "", "/apis/apps/v1/namespaces/x/deployments"),
    ],
)
def test_paths(kind: str, namespace: str, name: str, subresource: str, expected: str) -> None:
    found = registry.by_type(getattr(api, kind))
    assert registry.path(found, namespace, name, subresource) == expected


def test_keys() -> None:
    pod, node = registry.by_type(api.Pod), registry.by_type(api.Node)
    deployment = registry.by_type(api.Deployment)
    assert registry.storage_key(pod, "x", "y") == "/registry/core/pods/x/y"
    assert registry.storage_key(node, "", "n") == "/registry/core/nodes/n"
    assert registry.storage_key(deployment, "x", "y") == "/registry/apps/deployments/x/y"
    assert registry.storage_prefix(pod) == "/registry/core/pods/"
    assert registry.storage_prefix(pod, "x") == "/registry/core/pods/x/"


def test_a_prefix_covers_exactly_the_keys_of_its_kind() -> None:
    prefixes = [registry.storage_prefix(kind) for kind in KINDS]
    assert len(set(prefixes)) == len(prefixes)
    for kind in registry.ALL:
        assert registry.storage_key(kind, "x", "y").startswith(registry.storage_prefix(kind, "x"))


def test_lookups_agree() -> None:
    for kind in registry.ALL:
        for gvk in registry.served_as(kind):
            assert registry.by_gvk(gvk) is kind
            assert registry.by_resource(gvk.group, gvk.version, kind.plural) is kind
            assert kind in registry.kinds_of(gvk.group, gvk.version)
        if kind.gvk in codec.types().definitions.by_gvk:
            assert registry.by_type(kind.type) is kind


def test_what_is_not_served() -> None:
    assert registry.by_resource("", "v1", "gadgets") is None
    assert registry.by_gvk(GroupVersionKind("", "v1", "Gadget")) is None
    with pytest.raises(KeyError):
        registry.by_type(api.PodSpec)


def test_a_kind_may_be_served_in_several_versions_and_groups() -> None:
    kind = Kind(
        api_version="example.com/v2",
        kind="Gadget",
        plural="gadgets",
        also_served=("example.com/v1", "other.io/v1/Gizmo", "v1"),
    )
    assert [(g.group, g.version, g.kind) for g in registry.served_as(kind)] == [
        ("example.com", "v2", "Gadget"),
        ("example.com", "v1", "Gadget"),
        ("other.io", "v1", "Gizmo"),
        ("", "v1", "Gadget"),
    ]


def test_groups_stand_in_discovery_order_with_the_newest_stable_version_first() -> None:
    groups = registry.groups()
    names = [group.name for group in groups]
    assert names[0] == ""
    assert names.index("apps") < names.index("batch") < names.index("storage.k8s.io")
    assert {group.name: group.preferred for group in groups}["autoscaling"] == "v2"


@pytest.mark.parametrize(
    ("named", "expected"),
    [("Pod", ("", "v1", "Pod")), ("policy/v1/Eviction", ("policy", "v1", "Eviction"))],
)
def test_types_of_subresources(named: str, expected: tuple[str, str, str]) -> None:
    pod = registry.by_type(api.Pod)
    assert registry.subresource_gvk(pod, named) == GroupVersionKind(*expected)


def test_the_names_that_kubectl_knows() -> None:
    names = {kind.kind: (kind.plural, kind.short, kind.categories, kind.namespaced) for kind in KINDS}
    assert names == {
        "Binding": ("bindings", (), (), True),
        "ComponentStatus": ("componentstatuses", ("cs",), (), False),
        "ConfigMap": ("configmaps", ("cm",), (), True),
        "Endpoints": ("endpoints", ("ep",), (), True),
        "Event": ("events", ("ev",), (), True),
        "LimitRange": ("limitranges", ("limits",), (), True),
        "Namespace": ("namespaces", ("ns",), (), False),
        "Node": ("nodes", ("no",), (), False),
        "PersistentVolume": ("persistentvolumes", ("pv",), (), False),
        "PersistentVolumeClaim": ("persistentvolumeclaims", ("pvc",), (), True),
        "Pod": ("pods", ("po",), ("all",), True),
        "PodTemplate": ("podtemplates", (), (), True),
        "ReplicationController": ("replicationcontrollers", ("rc",), ("all",), True),
        "ResourceQuota": ("resourcequotas", ("quota",), (), True),
        "Secret": ("secrets", (), (), True),
        "Service": ("services", ("svc",), ("all",), True),
        "ServiceAccount": ("serviceaccounts", ("sa",), (), True),
    }


def test_short_names_are_unique() -> None:
    shorts = [short for kind in KINDS for short in kind.short]
    assert len(shorts) == len(set(shorts))
