"""Laws of strategic merge patch, over pods with containers, ports, tolerations and finalizers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.patch import merge_patch, strategic
from sampan.machinery.patch.values import copy, equal
from sampan.schema import nodes
from sampan.schema.definitions import GroupVersionKind

POD = nodes.of_kind(GroupVersionKind("", "v1", "Pod"))
NAMES = ("a", "b", "c", "d")
texts = st.sampled_from(["1", "2", "3"])


def keyed(key: str, keys: Any, rest: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Any]]:
    """A list of maps, each key once."""
    chosen = st.lists(st.sampled_from(keys), unique=True, max_size=4)
    return chosen.flatmap(
        lambda ks: st.tuples(*(rest.map(lambda r, k=k: {key: k, **r}) for k in ks)).map(list)
    )


ports = keyed("containerPort", (80, 443, 8080), st.fixed_dictionaries({"protocol": st.just("TCP")}))
env = keyed("name", NAMES, st.fixed_dictionaries({"value": texts}))
containers = keyed(
    "name", NAMES, st.fixed_dictionaries({"image": texts}, optional={"env": env, "ports": ports})
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(NAMES), texts),
        "finalizers": st.lists(st.sampled_from(NAMES), unique=True, max_size=3),
    },
)
pods = st.fixed_dictionaries(
    {
        "metadata": metadata,
        "spec": st.fixed_dictionaries(
            {"containers": containers},
            optional={"nodeSelector": st.dictionaries(st.sampled_from(NAMES), texts)},
        ),
    }
)


def named(pod: dict[str, Any]) -> list[str]:
    return [container["name"] for container in pod["spec"]["containers"]]


@given(pods)
def test_an_empty_patch_changes_nothing(pod: dict[str, Any]) -> None:
    assert equal(strategic.apply(pod, {}, POD), pod)


@given(pods)
def test_a_pod_merged_into_itself_stays_as_it_is(pod: dict[str, Any]) -> None:
    assert equal(strategic.apply(pod, pod, POD), pod)


@given(pods, pods)
def test_merging_twice_is_merging_once(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    once = strategic.apply(pod, patch, POD)
    assert equal(strategic.apply(once, patch, POD), once)


@given(pods, pods)
def test_the_arguments_are_left_alone(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy(pod), copy(patch)
    strategic.apply(pod, patch, POD)
    assert equal(pod, before[0])
    assert equal(patch, before[1])


@given(pods, pods)
def test_lists_merge_by_key_and_lose_nobody(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    merged = strategic.apply(pod, patch, POD)
    assert set(named(merged)) == set(named(pod)) | set(named(patch))
    assert len(named(merged)) == len(set(named(merged)))
    mine = {c["name"]: c for c in pod["spec"]["containers"]}
    theirs = {c["name"]: c for c in patch["spec"]["containers"]}
    for container in merged["spec"]["containers"]:
        name = container["name"]
        assert container["image"] == theirs.get(name, mine.get(name))["image"]
        if name not in theirs:
            assert equal(container, mine[name])
    finalizers = merged["metadata"].get("finalizers", [])
    wanted = {*pod["metadata"].get("finalizers", []), *patch["metadata"].get("finalizers", [])}
    assert (set(finalizers), len(finalizers)) == (wanted, len(wanted))


@given(pods, st.sampled_from(NAMES))
def test_a_deleted_item_is_gone_and_all_others_stay(pod: dict[str, Any], name: str) -> None:
    gone = strategic.apply(pod, {"spec": {"containers": [{"$patch": "delete", "name": name}]}}, POD)
    assert equal(gone["spec"]["containers"], [c for c in pod["spec"]["containers"] if c["name"] != name])


@given(pods, containers)
def test_a_replaced_list_is_the_patchs(pod: dict[str, Any], wanted: list[Any]) -> None:
    patch = {"spec": {"containers": [*wanted, {"$patch": "replace"}]}}
    assert equal(strategic.apply(pod, patch, POD)["spec"]["containers"], wanted)


@given(pods, st.data())
def test_an_element_order_orders(pod: dict[str, Any], data: st.DataObject) -> None:
    order = data.draw(st.permutations(named(pod)))
    patch = {"spec": {"$setElementOrder/containers": [{"name": name} for name in order]}}
    assert named(strategic.apply(pod, patch, POD)) == order


@given(pods, st.lists(st.sampled_from(NAMES), unique=True))
def test_primitives_are_deleted_from_a_list(pod: dict[str, Any], gone: list[str]) -> None:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": gone}}
    left = strategic.apply(pod, patch, POD)["metadata"].get("finalizers", [])
    assert left == [name for name in pod["metadata"].get("finalizers", []) if name not in gone]


@given(pods, st.dictionaries(st.sampled_from(NAMES), st.none() | texts))
def test_maps_merge_as_in_a_merge_patch(pod: dict[str, Any], labels: dict[str, Any]) -> None:
    patch = {"metadata": {"labels": labels}}
    assert equal(strategic.apply(pod, patch, POD), merge_patch.apply(pod, patch))
