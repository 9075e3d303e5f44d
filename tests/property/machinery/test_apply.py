"""Laws of server-side apply over free-form objects and keyed lists."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.patch.apply import again, checks, engine, fieldset, typed
from sampan.machinery.patch.errors import PatchError
from sampan.machinery.patch.values import equal
from sampan.schema import nodes

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ITEM = {
    "type": "object",
    "properties": {
        "k": {"type": "string"},
        "v": {"type": "integer"},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
}
SCHEMA = nodes.of_custom(
    {
        "type": "object",
        "properties": {
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "list": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
                "items": ITEM,
            },
            "atomic": {"type": "array", "items": {"type": "integer"}},
            "n": {"type": "integer"},
        },
    }
)

numbers = st.integers(0, 2)
maps = st.dictionaries(st.sampled_from("xyz"), numbers, max_size=3)
items = st.fixed_dictionaries({"k": st.sampled_from("pqr")}, optional={"v": numbers, "m": maps})
configs = st.fixed_dictionaries(
    {"apiVersion": st.just("e.com/v1"), "kind": st.just("C"), "metadata": st.just({"name": "c"})},
    optional={
        "map": maps,
        "set": st.lists(st.sampled_from("stu"), unique=True, max_size=3),
        "list": st.lists(items, unique_by=lambda item: item["k"], max_size=3),
        "atomic": st.lists(numbers, max_size=2),
        "n": numbers,
    },
)


# What may stand anywhere, right or wrong.
anything = st.recursive(
    st.sampled_from([None, True, 1, 1.5, "s", "p"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["k", "v", "m", "list", "set", "n", "x"]), below, max_size=3)
    ),
    max_leaves=6,
)
loose_items = st.dictionaries(st.sampled_from("kvmx"), anything, max_size=3) | items
loose = st.fixed_dictionaries(
    {},
    optional={
        "map": maps | anything,
        "set": st.lists(st.sampled_from("st") | anything, max_size=3),
        "list": st.lists(loose_items, max_size=3) | anything,
        "atomic": st.lists(numbers | anything, max_size=2),
        "n": anything,
        "other": anything,
    },
)


@given(loose)
def test_a_configuration_that_fits_its_type_is_known_by_one_walk(config: dict[str, Any]) -> None:
    found = checks.field_set_of(config, SCHEMA)
    assert (found is None) == bool(checks.errors_of(config, SCHEMA))
    assert found is None or found == typed.to_field_set(config, SCHEMA)


@given(st.dictionaries(st.sampled_from("ab"), st.sampled_from([1, True, 1.0, "1", None]), min_size=1))
def test_what_names_an_item_is_written_as_it_is(keys: dict[str, Any]) -> None:
    assert json.loads(fieldset.key(keys)[2:]) == keys
    assert fieldset.key(keys) == "k:" + json.dumps(keys, sort_keys=True, separators=(",", ":"))


@given(configs, configs)
def test_what_does_not_change_is_not_made_anew(live: dict[str, Any], config: dict[str, Any]) -> None:
    merged = typed.merge(live, config, SCHEMA)
    assert (merged is live) == equal(merged, live)
    assert typed.merge(merged, config, SCHEMA) is merged


def apply(live: dict[str, Any], config: dict[str, Any], manager: str, managed: Any) -> engine.Applied:
    return engine.apply(live, config, manager, schema=SCHEMA, managed=managed, now=NOW, force=True)


@given(configs, configs)
def test_an_apply_gets_what_it_asks_for(first: dict[str, Any], second: dict[str, Any]) -> None:
    one = apply({}, first, "one", ())
    two = apply(one.object, second, "two", one.managed)
    wanted = typed.to_field_set(second, SCHEMA)
    assert not typed.compare(two.object, typed.merge(two.object, second, SCHEMA), SCHEMA).modified
    assert not wanted - typed.to_field_set(two.object, SCHEMA) - _containers(second)


@given(configs, configs)
def test_applying_again_changes_nothing(first: dict[str, Any], second: dict[str, Any]) -> None:
    one = apply({}, first, "one", ())
    two = apply(one.object, second, "two", one.managed)
    again = apply(two.object, second, "two", two.managed)
    assert not again.changed
    assert equal(again.object, two.object)


@given(configs, configs)
def test_no_two_appliers_own_a_field_with_another_value(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    one = apply({}, first, "one", ())
    two = apply(one.object, second, "two", one.managed)
    theirs = next((entry.fields for entry in two.managed if entry.manager == "one"), None)
    if theirs is not None:
        changed = typed.compare(first, two.object, SCHEMA).modified
        assert not theirs & changed


@given(configs)
def test_applying_nothing_takes_everything_back(config: dict[str, Any]) -> None:
    one = apply({}, config, "one", ())
    bare = {key: config[key] for key in ("apiVersion", "kind", "metadata")}
    assert equal(apply(one.object, bare, "one", one.managed).object, bare)


@given(configs, configs)
def test_a_comparison_adds_up(old: dict[str, Any], new: dict[str, Any]) -> None:
    there, back = typed.compare(old, new, SCHEMA), typed.compare(new, old, SCHEMA)
    assert there.added == back.removed
    assert there.modified == back.modified
    assert typed.compare(old, old, SCHEMA).same


def _containers(config: dict[str, Any]) -> Any:
    """The empty containers of a config: what others put into them makes them no leaves any more."""
    empty = {name: value for name, value in config.items() if value in ({}, [])}
    for item in config.get("list", ()):
        if item.get("m") == {}:
            empty.setdefault("list", []).append({"k": item["k"], "m": {}})
    return typed.to_field_set(empty, SCHEMA)


class AtLength:
    """A schema none of whose values is remembered: the long way that every short one must agree with."""

    is_shallow = False

    def __init__(self, node: Any) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def child(self, field: str) -> Any:
        found = self._node.child(field)
        return None if found is None else AtLength(found)

    def items(self) -> Any:
        return AtLength(self._node.items())


def test_small_values_are_remembered_here() -> None:
    below = [SCHEMA.child(name) for name in ("list", "set", "atomic")]
    assert all(node is not None and node.is_shallow for node in below)


@given(loose, loose)
def test_what_is_remembered_gives_what_is_found_at_length(
    live: dict[str, Any], config: dict[str, Any]
) -> None:
    long: Any = AtLength(SCHEMA)
    assert checks.field_set_of(config, SCHEMA) == checks.field_set_of(config, long)
    merged = typed.merge(live, config, SCHEMA)
    assert json.dumps(merged) == json.dumps(typed.merge(live, config, long))
    assert typed.compare(live, merged, SCHEMA) == typed.compare(live, merged, long)


@given(configs, configs, configs)
def test_applies_give_the_same_at_length(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    outcomes = []
    for schema in (SCHEMA, AtLength(SCHEMA)):
        live: dict[str, Any] = {}
        managed: Any = ()
        for manager, config in (("one", first), ("two", second), ("one", third)):
            applied = engine.apply(live, config, manager, schema=schema, managed=managed, now=NOW, force=True)
            live, managed = applied.object, applied.managed
        outcomes.append((json.dumps(live), managed))
    assert outcomes[0] == outcomes[1]


def varied(value: Any, chosen: st.DataObject) -> Any:
    """The same with some of its values changed, mostly to what fits."""
    if isinstance(value, dict):
        return {name: varied(item, chosen) for name, item in value.items()}
    if isinstance(value, list):
        return [varied(item, chosen) for item in value]
    return chosen.draw(st.sampled_from([value] * 4 + ([0, 1, 2, True, None] if value in (0, 1, 2) else [])))


def outcome(live: dict[str, Any], config: dict[str, Any], managed: Any, before: Any, *, force: bool) -> Any:
    try:
        return engine.apply(
            live, config, "m", schema=SCHEMA, managed=managed, now=NOW, force=force, before=before
        )
    except PatchError as refused:
        return refused


@given(configs, configs, st.data(), st.booleans())
def test_what_the_last_apply_left_changes_nothing_of_the_next(
    theirs: dict[str, Any], ours: dict[str, Any], data: st.DataObject, force: bool
) -> None:
    one = apply({}, theirs, "one", ())
    last = apply(one.object, ours, "m", one.managed)
    live, managed = last.object, last.managed
    for _ in range(3):
        if data.draw(st.integers(0, 3)) == 0:  # somebody else writes in between
            other = apply(live, data.draw(configs), "one", managed)
            live, managed = other.object, other.managed
        config = data.draw(st.sampled_from([varied(ours, data), data.draw(configs)]))
        plain = outcome(live, config, managed, None, force=force)
        made = outcome(live, config, managed, last.last, force=force)
        assert type(made) is type(plain)
        if isinstance(plain, PatchError):
            assert str(made) == str(plain)
            continue
        assert json.dumps(made.object) == json.dumps(plain.object)
        assert (made.managed, made.changed, made.last) == (plain.managed, plain.changed, plain.last)
        live, managed, last, ours = made.object, made.managed, made, config


@pytest.mark.parametrize(
    ("changes", "is_replaced"),
    [
        ({}, True),
        ({"n": 2}, True),
        ({"n": True}, False),
        ({"n": None}, False),
        ({"map": {"x": 2}}, True),
        ({"map": {"y": 1}}, False),
        ({"map": {"x": True}}, False),
        ({"list": [{"k": "p", "v": 1, "m": {"x": 2}}, {"k": "q"}]}, True),
        ({"list": [{"k": "p", "v": 2, "m": {"x": 1}}, {"k": "r"}]}, False),
        ({"list": [{"k": "q"}, {"k": "p", "v": 1, "m": {"x": 1}}]}, False),
        ({"list": [{"v": 2, "m": {"x": 1}}, {"k": "q"}]}, False),
        ({"atomic": [2]}, False),
        ({"set": ["t"]}, False),
    ],
)
def test_only_plain_values_are_replaced(changes: dict[str, Any], is_replaced: bool) -> None:
    first = {
        "apiVersion": "e.com/v1", "kind": "C", "metadata": {"name": "c"}, "n": 1, "map": {"x": 1},
        "list": [{"k": "p", "v": 1, "m": {"x": 1}}, {"k": "q"}], "atomic": [1], "set": ["s"],
    }  # fmt: skip
    one = apply({}, {**first, "list": [{"k": "o", "v": 1}]}, "one", ())
    last = apply(one.object, first, "m", one.managed)
    config = {**first, **changes}
    found = again.replaced(last.last, last.object, config, SCHEMA)
    assert (found is not None) == is_replaced
    if found is not None:
        merged = typed.merge(last.object, config, SCHEMA)
        assert json.dumps(found.object) == json.dumps(merged)
        assert found.modified == typed.compare(last.object, merged, SCHEMA).modified
    moved = {**last.object, "n": 0}
    assert again.replaced(last.last, moved, config, SCHEMA) is None
