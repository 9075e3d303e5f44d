"""Laws of custom resources: pruning and defaulting settle in one go, and no schema or object is too much."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan.kinds.custom import pruning, validation
from sampan.kinds.custom.defaulting import default, drop_nulls
from sampan.kinds.custom.structural import Node
from tests.api.server import APPLY, MERGE, Api, run
from tests.api.test_customresources import CRDS, settled

THINGS = "/apis/fuzz.example.com/v1/namespaces/default/things"
NAMES = st.sampled_from(["a", "b", "metadata", "kind", "x-y", "spec", "status", ""])
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=12
)


def _scalar_schema() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "number", "boolean"])},
        optional={
            "nullable": st.booleans(),
            "default": SCALARS,
            "enum": st.lists(SCALARS, max_size=2),
            "pattern": st.sampled_from(["^a$", "[[:alpha:]]+", "(", "a{2,1}", r"\p{L}", r"\z"]),
            "format": st.sampled_from(["date-time", "ipv4", "cidr", "int32", "byte", "uri", "nonsense"]),
            "maxLength": st.integers(0, 3),
            "minimum": st.integers(-3, 3),
            "multipleOf": st.sampled_from([0.1, 2]),
        },
    )


def _structured(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.fixed_dictionaries(
        {"type": st.just("array"), "items": inner},
        optional={
            "x-kubernetes-list-type": st.sampled_from(["atomic", "set", "map"]),
            "x-kubernetes-list-map-keys": st.just(["a"]),
            "default": st.lists(SCALARS, max_size=2),
            "maxItems": st.integers(0, 2),
        },
    )
    maps = st.fixed_dictionaries(
        {"type": st.just("object"), "additionalProperties": inner}, optional={"nullable": st.booleans()}
    )
    objects = st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
        optional={
            "x-kubernetes-preserve-unknown-fields": st.just(True),
            "x-kubernetes-embedded-resource": st.just(True),
            "required": st.lists(NAMES, max_size=2),
            "default": st.dictionaries(NAMES, SCALARS, max_size=2),
            "nullable": st.booleans(),
        },
    )
    return st.one_of(lists, maps, objects)


SCHEMAS = st.recursive(_scalar_schema(), _structured, max_leaves=8)


def root(spec: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}


def plain(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what a definition may be refused for."""
    kept = {k: v for k, v in schema.items() if k not in ("default", "pattern") and k[:2] != "x-"}
    for name in ("items", "additionalProperties"):
        if name in kept:
            kept[name] = plain(kept[name])
    if "properties" in kept:
        kept["properties"] = {name: plain(below) for name, below in kept["properties"].items()}
    return kept


@given(SCHEMAS, VALUES)
def test_pruning_settles_at_once(spec: dict[str, Any], value: Any) -> None:
    node, content = Node(root(spec)), {"spec": value, "other": 1}
    pruned = deepcopy(content)
    pruning.prune(pruned, node)
    assert "other" not in pruned
    again = deepcopy(pruned)
    assert pruning.prune(again, node) == []
    assert again == pruned


@given(SCHEMAS, VALUES)
def test_nothing_is_left_to_default(spec: dict[str, Any], value: Any) -> None:
    node = Node(root(spec))
    once = {"spec": deepcopy(value)}
    default(once, node)
    twice = deepcopy(once)
    default(twice, node)
    assert twice == once
    drop_nulls(once, node)
    left = deepcopy(once)
    drop_nulls(left, node)
    assert left == once


@given(SCHEMAS, VALUES)
def test_what_did_not_change_is_not_refused(spec: dict[str, Any], value: Any) -> None:
    content = {"spec": value}
    assert validation.errors(content, root(spec), deepcopy(content)) == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=4))
def test_no_schema_and_no_object_is_too_much_for_the_server(spec: dict[str, Any], values: list[Any]) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root(spec)}}
    version["subresources"] = {
        "status": {},
        "scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.b"},
    }
    version["selectableFields"] = [{"jsonPath": ".spec.a"}]
    version["additionalPrinterColumns"] = [{"name": "A", "type": "date", "jsonPath": ".spec.a"}]
    crd = {
        "metadata": {"name": "things.fuzz.example.com"},
        "spec": {
            "group": "fuzz.example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    }

    async def work(api: Api) -> None:
        made = await api.post(CRDS, crd)
        assert made.code in (201, 422), made.body
        if made.code != 201:  # so that objects are tried as well
            version["schema"] = {"openAPIV3Schema": root(plain(spec))}
            del version["selectableFields"]
            made = await api.post(CRDS, crd)
            assert made.code == 201, made.body
        await settled(api, "things.fuzz.example.com")
        head = {"apiVersion": "fuzz.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}}
        for value in values:
            answers = [
                await api.post(THINGS, {**head, "spec": value}),
                await api.patch(f"{THINGS}/t", {**head, "spec": value}, MERGE),
                await api.patch(f"{THINGS}/t", {**head, "spec": value}, APPLY, fieldManager="m"),
                await api.patch(f"{THINGS}/t/status", {"status": value}, MERGE),
                await api.patch(f"{THINGS}/t/scale", {"spec": value}, MERGE),
                await api.put(f"{THINGS}/t", {**head, "spec": value}),
                await api.get(THINGS, fieldSelector="spec.a=1"),
                await api.get(THINGS, accept="application/json;as=Table;v=v1;g=meta.k8s.io"),
            ]
            for answer in answers:
                assert answer.code < 500, answer.body

    asyncio.run(run(work))
