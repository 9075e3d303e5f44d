"""Values read with their schema: their field sets, differences, merging and pruning.

Follows sigs.k8s.io/structured-merge-diff/typed. Values are plain JSON; a schema says which lists are keyed,
which are sets, and what is replaced as a whole.
"""

from __future__ import annotations

from functools import lru_cache
from operator import is_
from typing import Any, Final

import msgspec

from sampan.machinery.patch.apply import fieldset
from sampan.machinery.patch.apply.fieldset import FieldSet, Tree
from sampan.machinery.patch.values import ABSENT, Json, JsonObject, equal
from sampan.machinery.schema_node import ATOMIC, KEYED, LIST, SET, UNKNOWN, SchemaNode

_MEMBER: Final[Tree] = {}
# Pairs of small values of which is remembered whether one changes the other, and how long both are as JSON.
_REMEMBERED_PAIRS: Final = 2_048
_REMEMBERED_BYTES: Final = 1_024
_encode: Final = msgspec.json.Encoder().encode


class Comparison(msgspec.Struct, frozen=True):
    """How a new value differs from an old one."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.modified or self.removed)


def to_field_set(value: Json, schema: SchemaNode) -> FieldSet:
    """The paths that a value sets: its leaves, its lists' items, its maps' keys."""
    node = node_of(value, schema)
    return FieldSet(dict(fieldset.children(node)))


def compare(old: JsonObject, new: JsonObject, schema: SchemaNode) -> Comparison:
    """Which paths `new` has added, modified and removed."""
    walker = _Comparer()
    walker.compare(old, new, schema, ())
    return Comparison(FieldSet(walker.added), FieldSet(walker.modified), FieldSet(walker.removed))


def merge(live: JsonObject, config: JsonObject, schema: SchemaNode) -> JsonObject:
    """`live` with everything that `config` sets; what did not change is shared with either."""
    merged: JsonObject = _merge(live, config, schema)
    return merged


def remove(value: JsonObject, wanted: FieldSet, keep: FieldSet, schema: SchemaNode) -> JsonObject:
    """`value` without the members of `wanted`, but with all that `keep` has, above and below.

    What is empty after a removal goes too, as Go writes no empty maps.
    """
    left = _remove(value, wanted.tree, keep.tree, schema)
    return left if isinstance(left, dict) else {}


def element_of(item: Json, schema: SchemaNode) -> str:
    """The path element of an item of a keyed list or set. Raises KeyError for a missing key."""
    if schema.list_type == SET:
        return fieldset.value(item)
    keys: dict[str, Any] = {}
    for name in schema.list_map_keys:
        found = item.get(name, ABSENT) if isinstance(item, dict) else ABSENT
        if found is ABSENT or found is None:
            found = schema.key_defaults.get(name, ABSENT)
        if found is not ABSENT:
            keys[name] = found
    if not keys:
        raise KeyError(", ".join(schema.list_map_keys))
    return fieldset.key(keys)


def is_atomic(value: Json, schema: SchemaNode) -> bool:
    """Whether a list or map is owned and replaced as one."""
    if isinstance(value, list):
        return schema.kind != LIST or schema.list_type == ATOMIC
    return schema.map_type == ATOMIC


def child_of(schema: SchemaNode, name: str) -> SchemaNode:
    """The node of a field; where the schema has none, the field is free-form."""
    return schema.child(name) or UNKNOWN


def indexed(items: list[Json], schema: SchemaNode) -> dict[str, Json] | None:
    """The items of a granular list by their path elements; None where they cannot be told apart."""
    found: dict[str, Json] = {}
    for item in items:
        try:
            element = element_of(item, schema)
        except KeyError:
            return None
        if element in found and schema.list_type == KEYED:
            return None
        found[element] = item
    return found


def node_of(value: Json, schema: SchemaNode) -> Tree:
    """The node of a value; an empty node is a leaf, and every leaf is a member."""
    if isinstance(value, dict):
        if not value or is_atomic(value, schema):
            return _MEMBER
        return _set_of_map(value, schema)
    if isinstance(value, list):
        if not value or is_atomic(value, schema):
            return _MEMBER
        by_element = indexed(value, schema)
        return _MEMBER if by_element is None else _set_of_items(by_element, schema.items())
    return _MEMBER


def _set_of_map(value: JsonObject, schema: SchemaNode) -> Tree:
    tree: Tree = {}
    for name, item in value.items():
        if not isinstance(item, (dict, list)):
            tree[f"f:{name}"] = _MEMBER
            continue
        node = node_of(item, child_of(schema, name))
        if node and not schema.is_field(name):
            node = {".": {}, **node}  # a key of a map is data, so it is owned itself
        tree[f"f:{name}"] = node
    return tree


def _set_of_items(by_element: dict[str, Json], schema: SchemaNode) -> Tree:
    tree: Tree = {}
    for element, item in by_element.items():
        node = node_of(item, schema)
        tree[element] = {".": {}, **node} if node else node
    return tree


class _Comparer:
    """Walks two values side by side and collects what differs."""

    def __init__(self) -> None:
        self.added: Tree = {}
        self.modified: Tree = {}
        self.removed: Tree = {}

    def compare(self, old: Json, new: Json, schema: SchemaNode, path: tuple[str, ...]) -> None:
        if old is ABSENT:
            self._whole(new, schema, path, self.added)
        elif new is ABSENT:
            self._whole(old, schema, path, self.removed)
        elif old is new or (old == new and same(old, new)):
            return
        elif isinstance(old, dict) and isinstance(new, dict) and not is_atomic(new, schema):
            self._maps(old, new, schema, path)
        elif isinstance(old, list) and isinstance(new, list) and not is_atomic(new, schema):
            self._lists(old, new, schema, path)
        elif _is_granular(old, schema) or _is_granular(new, schema):
            # A container turned into a scalar or another container.
            self._whole(old, schema, path, self.removed)
            self._whole(new, schema, path, self.added)
        else:
            fieldset.insert(self.modified, path)

    def _maps(self, old: JsonObject, new: JsonObject, schema: SchemaNode, path: tuple[str, ...]) -> None:
        for name, item in old.items():
            now = new.get(name, ABSENT)
            # A merge shares what it does not change; texts are quickly seen to be the same.
            if now is not item and not (type(now) is str and now == item):
                self.compare(item, now, child_of(schema, name), (*path, f"f:{name}"))
        for name, item in new.items():
            if name not in old:
                self.compare(ABSENT, item, child_of(schema, name), (*path, f"f:{name}"))

    def _lists(self, old: list[Json], new: list[Json], schema: SchemaNode, path: tuple[str, ...]) -> None:
        before, after = indexed(old, schema), indexed(new, schema)
        if before is None or after is None:
            fieldset.insert(self.modified, path)
            return
        items = schema.items()
        for element, item in before.items():
            now = after.get(element, ABSENT)
            if now is not item:
                self.compare(item, now, items, (*path, element))
        for element, item in after.items():
            if element not in before:
                self.compare(ABSENT, item, items, (*path, element))

    def _whole(self, value: Json, schema: SchemaNode, path: tuple[str, ...], into: Tree) -> None:
        """A value that came or went, with every path in it, containers too."""
        node = into
        for element in path[:-1]:
            node = node.setdefault(element, {})
        node[path[-1]] = _whole_node(value, schema)


def _whole_node(value: Json, schema: SchemaNode) -> Tree:
    """The node of a value with every path in it, containers too."""
    tree: Tree = {}
    if isinstance(value, dict):
        if value and not is_atomic(value, schema):
            tree = {".": _MEMBER}
            for name, item in value.items():
                granular = isinstance(item, (dict, list)) and item
                tree[f"f:{name}"] = _whole_node(item, child_of(schema, name)) if granular else {}
    elif isinstance(value, list) and value and not is_atomic(value, schema):
        by_element = indexed(value, schema)
        if by_element:
            items = schema.items()
            tree = {".": _MEMBER}
            for element, item in by_element.items():
                tree[element] = _whole_node(item, items)
    return tree


def same(old: Json, new: Json) -> bool:
    """Whether values that Python takes for equal are the same JSON."""
    if isinstance(old, str):
        return True
    if isinstance(old, (dict, list)):
        # In the same order they are written alike; that is found out sooner than by looking at each.
        return _encode(old) == _encode(new) or equal(old, new)
    return equal(old, new)


def _is_granular(value: Json, schema: SchemaNode) -> bool:
    return isinstance(value, (dict, list)) and not is_atomic(value, schema)


def _merge(live: Json, config: Json, schema: SchemaNode) -> Json:
    """`live` itself where nothing changes, so that comparing the two ends there."""
    if isinstance(live, dict) and isinstance(config, dict) and not is_atomic(config, schema):
        return _merge_maps(live, config, schema)
    if isinstance(live, list) and isinstance(config, list) and not is_atomic(config, schema):
        return _merge_items(live, config, schema)
    return live if live == config and same(live, config) else config


def _merge_maps(live: JsonObject, config: JsonObject, schema: SchemaNode) -> JsonObject:
    merged = live
    for name, item in config.items():
        found = live.get(name, ABSENT)
        if found is not ABSENT:
            if isinstance(item, (dict, list)):
                child = child_of(schema, name)
                if child.is_shallow:
                    if _is_held(found, item, child):
                        continue
                elif found == item and same(found, item):
                    continue
                item = _merge(found, item, child)
            elif item is None or (found == item and (type(item) is str or same(found, item))):
                continue  # a null sets nothing
            if item is found:
                continue
        if merged is live:
            merged = dict(live)
        merged[name] = item
    return merged


def _is_held(live: Json, config: Json, schema: SchemaNode) -> bool:
    """Whether `config` is seen to change nothing of `live`: as in other objects that were alike there."""
    held, asked = _encode(live), _encode(config)
    if held == asked:
        return True
    return len(held) + len(asked) <= _REMEMBERED_BYTES and _holds(held, asked, schema)


@lru_cache(maxsize=_REMEMBERED_PAIRS)
def _holds(held: bytes, asked: bytes, schema: SchemaNode) -> bool:
    live = msgspec.json.decode(held)
    return _merge(live, msgspec.json.decode(asked), schema) is live


def _merge_items(live: list[Json], config: list[Json], schema: SchemaNode) -> list[Json]:
    """Items in the config's order; an item that only `live` has stays before what followed it there."""
    theirs, ours = indexed(live, schema), indexed(config, schema)
    if theirs is None or ours is None:
        return config
    items = schema.items()
    order = list(theirs)
    merged: list[Json] = []
    at = 0
    for element, item in ours.items():
        while at < len(order) and order[at] not in ours:
            merged.append(theirs[order[at]])
            at += 1
        found = theirs.get(element, ABSENT)
        merged.append(item if found is ABSENT else _merge(found, item, items))
        if at < len(order) and order[at] == element:
            at += 1
    merged.extend(theirs[element] for element in order[at:] if element not in ours)
    if len(merged) == len(live) and all(map(is_, merged, live)):
        return live
    return merged


def _remove(value: Json, wanted: Tree, keep: Tree, schema: SchemaNode) -> Json:
    """`value` without what is wanted away; ABSENT where nothing is left."""
    if isinstance(value, dict) and not is_atomic(value, schema):
        kept_map: JsonObject = {}
        for name, item in value.items():
            element = f"f:{name}"
            left = _remove_child(item, element, wanted, keep, child_of(schema, name))
            if left is not ABSENT:
                kept_map[name] = left
        return kept_map if kept_map or not value else ABSENT
    if isinstance(value, list) and not is_atomic(value, schema):
        items = schema.items()
        kept_list: list[Json] = []
        for item in value:
            try:
                element = element_of(item, schema)
            except KeyError:
                kept_list.append(item)
                continue
            left = _remove_child(item, element, wanted, keep, items)
            if left is not ABSENT:
                kept_list.append(left)
        return kept_list if kept_list or not value else ABSENT
    return value


def _remove_child(item: Json, element: str, wanted: Tree, keep: Tree, schema: SchemaNode) -> Json:
    node = wanted.get(element)
    if node is None:
        return item
    kept = keep.get(element)
    if fieldset.is_member(node) and kept is None:
        return ABSENT
    left = _remove(item, node, kept or {}, schema)
    # A container that somebody still applies stays, even empty.
    return type(item)() if left is ABSENT and kept is not None else left
