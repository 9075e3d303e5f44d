"""What an update is compared by says as much of what it changes as the whole objects do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.core.ownership import differing
from sampan.machinery.patch.apply import typed
from sampan.schema import api, codec, nodes
from sampan.schema.definitions import GroupVersionKind

SCHEMA = nodes.of_kind(GroupVersionKind("apps", "v1", "Deployment"))
texts = st.sampled_from("ab")
containers = st.lists(
    st.fixed_dictionaries(
        {"name": texts},
        optional={
            "image": texts,
            "args": st.lists(texts, max_size=2),
            "ports": st.just([{"containerPort": 1}]),
        },
    ),
    unique_by=lambda each: each["name"],
    max_size=2,
)
documents = st.fixed_dictionaries(
    {"kind": st.just("Deployment"), "apiVersion": st.just("apps/v1")},
    optional={
        "metadata": st.fixed_dictionaries(
            {"name": texts, "uid": texts}, optional={"labels": st.dictionaries(texts, texts, max_size=2)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "replicas": st.integers(0, 2),
                "paused": st.booleans(),
                "template": st.fixed_dictionaries(
                    {"spec": st.fixed_dictionaries({"containers": containers})}
                ),
            },
        ),
        "status": st.fixed_dictionaries(
            {}, optional={"replicas": st.integers(0, 2), "conditions": st.just([{"type": "Available"}])}
        ),
    },
)


@given(documents, documents, st.sets(st.sampled_from(["metadata", "spec", "status"])))
def test_the_parts_that_differ_tell_all(
    before: dict[str, Any], after: dict[str, Any], kept: set[str]
) -> None:
    after = {**after, **{name: before[name] for name in kept if name in before}}
    old, new = (codec.from_builtins(each, api.Deployment) for each in (before, after))
    for name in kept:
        setattr(new, name, getattr(old, name))
    whole = codec.to_builtins(old), codec.to_builtins(new)
    parts = differing(old, new)
    assert typed.compare(*parts, SCHEMA) == typed.compare(*whole, SCHEMA)
    assert [part.get("metadata") for part in parts] == [each.get("metadata") for each in whole]
    assert (codec.to_builtins(old), codec.to_builtins(new)) == whole


def test_what_is_the_same_is_left_out() -> None:
    old = api.Deployment(metadata=api.ObjectMeta(name="a"), spec=api.DeploymentSpec(replicas=2))
    new = codec.copy(old)
    new.metadata.labels = {"a": "b"}
    was, now = differing(old, new)
    assert "replicas" not in was["spec"] and was["spec"] == now["spec"]
    assert (was["metadata"], now["metadata"]) == ({"name": "a"}, {"name": "a", "labels": {"a": "b"}})
