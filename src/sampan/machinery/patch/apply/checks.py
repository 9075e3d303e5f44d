"""Whether a configuration fits its type, in the words of sigs.k8s.io/structured-merge-diff."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from sampan.machinery.patch.apply import fieldset, typed
from sampan.machinery.patch.apply.fieldset import FieldSet, Tree
from sampan.machinery.patch.values import Json, JsonObject
from sampan.machinery.schema_node import (
    ANY,
    ATOMIC,
    BOOLEAN,
    KEYED,
    LIST,
    MAP,
    NUMBER,
    OBJECT,
    SET,
    STRING,
    SchemaNode,
)

_WANTED: Final = {
    OBJECT: "map",
    MAP: "map",
    LIST: "list",
    STRING: "string",
    NUMBER: "numeric (int or float)",
    BOOLEAN: "boolean",
}

# What most values of these kinds are, and right to be.
_PLAIN: Final = {STRING: str, NUMBER: int, BOOLEAN: bool}
# Configurations that are remembered, and how large each may be.
REMEMBERED: Final = 512
REMEMBERED_MOST_BYTES: Final = 16 * 1024
_NOTHING: Final[tuple[dict[str, Any], Tree]] = ({}, {})
_encode: Final = msgspec.json.Encoder().encode


def errors_of(config: JsonObject, schema: SchemaNode) -> list[str]:
    """Everything in `config` that its type does not declare, or declares otherwise."""
    return list(_check(config, schema, ""))


def field_set_of(config: JsonObject, schema: SchemaNode) -> FieldSet | None:
    """`typed.to_field_set` of a configuration that fits its type; None where `errors_of` finds something.

    Both in one walk, without a path to anything: nearly every configuration is right. What is as it was in
    the last one of this name fits as it did then, and names the same. Nobody may change `config` from now on.
    """
    place = _place(config, schema)
    tree = _set_of(config, schema, _known.get(place))
    if tree is None:
        return None
    if len(_encode(config)) <= REMEMBERED_MOST_BYTES:
        if place not in _known and len(_known) >= REMEMBERED:
            del _known[next(iter(_known))]
        _known[place] = _Before(config, tree)
    return FieldSet(tree)


def joined(errors: list[str]) -> str:
    """Several errors as one text."""
    return errors[0] if len(errors) == 1 else "\n  ".join(["errors:", *errors])


class _Before(NamedTuple):
    """A value that was right, and its node."""

    value: Json
    node: Tree


# The last configurations that were right, by their types and names.
_known: Final[dict[tuple[SchemaNode, str], _Before]] = {}


def _place(config: JsonObject, schema: SchemaNode) -> tuple[SchemaNode, str]:
    metadata = config.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return schema, name if isinstance(name, str) else ""


def _set_of(value: Json, schema: SchemaNode, before: _Before | None = None) -> Tree | None:
    """The node of a value in its field set; None where `_check` has something to say."""
    if value is None or schema.kind == ANY:
        return typed.node_of(value, schema)
    if isinstance(value, dict):
        return _set_of_map(value, schema, before) if schema.kind in (OBJECT, MAP) else None
    if isinstance(value, list):
        return _set_of_list(value, schema, before) if schema.kind == LIST else None
    return {} if _fits(value, schema.kind) else None


def _set_of_map(value: JsonObject, schema: SchemaNode, before: _Before | None) -> Tree | None:
    tree: Tree = {}
    was, known = before if before is not None and isinstance(before.value, dict) else _NOTHING
    for name, item in value.items():
        element = f"f:{name}"
        past = None
        if element in known and isinstance(item, (dict, list)):
            past = _Before(was[name], known[element])
            if past.value == item and typed.same(past.value, item):
                tree[element] = past.node
                continue
        child = schema.child(name)
        if child is None:
            return None
        if type(item) is _PLAIN.get(child.kind):
            tree[element] = {}
            continue
        node = _set_of(item, child, past)
        if node is None:
            return None
        tree[element] = node if not node or schema.is_field(name) else {".": {}, **node}
    return {} if typed.is_atomic(value, schema) else tree


def _set_of_list(value: list[Json], schema: SchemaNode, before: _Before | None) -> Tree | None:
    items = schema.items()
    if typed.is_atomic(value, schema):
        return None if any(_set_of(item, items) is None for item in value) else {}
    tree: Tree = {}
    past = _items_of(before)
    for place, item in enumerate(value):
        element, was = past[place] if place < len(past) else ("", None)
        if was is not None and was.value == item and typed.same(was.value, item):
            node: Tree | None = was.node
        else:
            if _unnamed(item, schema):
                return None
            node = _set_of(item, items, was)
            element = typed.element_of(item, schema)
            node = {".": {}, **node} if node else node
        if node is None or element in tree:
            return None
        tree[element] = node
    return tree


def _items_of(before: _Before | None) -> list[tuple[str, _Before]]:
    """The items that a granular list had, in their order, by their path elements."""
    if before is None or not isinstance(before.value, list):
        return []
    nodes = list(fieldset.children(before.node))
    if len(nodes) != len(before.value):
        return []
    return [(element, _Before(was, node)) for was, (element, node) in zip(before.value, nodes, strict=True)]


def _check(value: Json, schema: SchemaNode, at: str) -> Iterator[str]:
    if value is None or schema.kind == ANY:
        return
    if not _fits(value, schema.kind):
        yield f"{at}: expected {_WANTED[schema.kind]}, got {_described(value)}"
    elif isinstance(value, dict):
        for name, item in value.items():
            child = schema.child(name)
            if child is None:
                yield f"{at}.{name}: field not declared in schema"
            else:
                yield from _check(item, child, f"{at}.{name}")
    elif isinstance(value, list):
        yield from _check_list(value, schema, at)


def _check_list(value: list[Json], schema: SchemaNode, at: str) -> Iterator[str]:
    items = schema.items()
    seen: set[str] = set()
    for position, item in enumerate(value):
        place = f"{at}[{position}]"
        if schema.list_type != ATOMIC:
            problem = _unnamed(item, schema)
            if problem:
                yield f"{at}: element {position}: {problem}"
                continue
            element = typed.element_of(item, schema)
            place = at + fieldset.path_text((element,))
            if element in seen:
                yield f"{at}: duplicate entries for key {fieldset.path_text((element,))}"
            seen.add(element)
        yield from _check(item, items, place)


def _unnamed(item: Json, schema: SchemaNode) -> str:
    if schema.list_type == SET:
        return "set elements cannot be lists or maps" if isinstance(item, (dict, list)) else ""
    if schema.list_type != KEYED:
        return ""
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    missing = [name for name in schema.list_map_keys if item.get(name) is None]
    if len(missing) == len(schema.list_map_keys) and not any(n in schema.key_defaults for n in missing):
        return (
            "associative list with keys has an element that omits key field "
            f'"{missing[0]}" (and doesn\'t have default value)'
        )
    return ""


def _fits(value: Json, kind: str) -> bool:
    if kind in (OBJECT, MAP):
        return isinstance(value, dict)
    if kind == LIST:
        return isinstance(value, list)
    if kind == STRING:
        return isinstance(value, str)
    if kind == NUMBER:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, bool)


def _described(value: Json) -> str:
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "list"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    return "int" if isinstance(value, int) else "float"
