"""Whether a configuration fits its type, in the words of sigs.k8s.io/structured-merge-diff."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

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

# Field sets of small values that are remembered, and how long such a value is at most as JSON.
_REMEMBERED_SETS: Final = 2_048
_REMEMBERED_BYTES: Final = 512
_encode: Final = msgspec.json.Encoder().encode

# What most values of these kinds are, and right to be.
_PLAIN: Final = {STRING: str, NUMBER: int, BOOLEAN: bool}


def errors_of(config: JsonObject, schema: SchemaNode) -> list[str]:
    """Everything in `config` that its type does not declare, or declares otherwise."""
    return list(_check(config, schema, ""))


def field_set_of(config: JsonObject, schema: SchemaNode) -> FieldSet | None:
    """`typed.to_field_set` of a configuration that fits its type; None where `errors_of` finds something.

    Both in one walk, without a path to anything: nearly every configuration is right.
    """
    tree = _set_of(config, schema)
    return None if tree is None else FieldSet(tree)


def joined(errors: list[str]) -> str:
    """Several errors as one text."""
    return errors[0] if len(errors) == 1 else "\n  ".join(["errors:", *errors])


def _set_of(value: Json, schema: SchemaNode) -> Tree | None:
    """The node of a value in its field set; None where `_check` has something to say."""
    if value is None or schema.kind == ANY:
        return typed.node_of(value, schema)
    if isinstance(value, dict):
        return _set_of_map(value, schema) if schema.kind in (OBJECT, MAP) else None
    if isinstance(value, list):
        return _set_of_list(value, schema) if schema.kind == LIST else None
    return {} if _fits(value, schema.kind) else None


def _set_of_alike(value: Json, schema: SchemaNode) -> Tree | None:
    """`_set_of` of a value like many others: ports, probes, amounts of one object after the other."""
    data = _encode(value)
    return _set_of_small(data, schema) if len(data) <= _REMEMBERED_BYTES else _set_of(value, schema)


@lru_cache(maxsize=_REMEMBERED_SETS)
def _set_of_small(data: bytes, schema: SchemaNode) -> Tree | None:
    return _set_of(msgspec.json.decode(data), schema)


def _set_of_map(value: JsonObject, schema: SchemaNode) -> Tree | None:
    tree: Tree = {}
    for name, item in value.items():
        child = schema.child(name)
        if child is None:
            return None
        if type(item) is _PLAIN.get(child.kind):
            tree[f"f:{name}"] = {}
            continue
        node = _set_of_alike(item, child) if child.is_shallow else _set_of(item, child)
        if node is None:
            return None
        tree[f"f:{name}"] = node if not node or schema.is_field(name) else {".": {}, **node}
    return {} if typed.is_atomic(value, schema) else tree


def _set_of_list(value: list[Json], schema: SchemaNode) -> Tree | None:
    items = schema.items()
    if typed.is_atomic(value, schema):
        return None if any(_set_of(item, items) is None for item in value) else {}
    tree: Tree = {}
    for item in value:
        if _unnamed(item, schema):
            return None
        node = _set_of(item, items)
        element = typed.element_of(item, schema)
        if node is None or element in tree:
            return None
        tree[element] = {".": {}, **node} if node else node
    return tree


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
