"""An apply that differs from the manager's last one of the same object in plain values alone.

Who applies an object applies it again and again: with another image, another number, or just as it was. Then
what the configuration names is what it named before, it fits its type as it did, nothing is left out that
would have to go, and nothing differs from the object but those values, provided that all the last one
asked for still stands there. So neither the fields are found again, nor is the configuration held against its
type, merged and compared, each of which is a walk through all of it. What differs is looked for between the
two configurations instead, most of which C compares, and put into the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from sampan.machinery.patch.apply import typed
from sampan.machinery.patch.apply.fieldset import FieldSet, Tree
from sampan.machinery.patch.values import Json, JsonObject
from sampan.machinery.schema_node import KEYED, LIST, SchemaNode

_encode: Final = msgspec.json.Encoder().encode
_METADATA: Final = "metadata"


class Last(msgspec.Struct, frozen=True):
    """The last apply of one object by one manager, in one version and through one subresource."""

    # The configuration as JSON. To read it again takes less time than to go through what was read long ago,
    # which is in no processor's cache any more, and it takes a tenth of the memory.
    config: bytes
    schema: SchemaNode
    # What its manager owned by it.
    fields: FieldSet
    # The parts of the object that the configuration names, as they came out of it: see `_parts`.
    left: bytes


class Replaced(NamedTuple):
    """The object with the values that the configuration has other than the last one."""

    object: JsonObject
    modified: FieldSet


def last(config: JsonObject, schema: SchemaNode, fields: FieldSet, made: JsonObject) -> Last:
    """What is remembered of an apply of `config` that has `made` an object and owns `fields` of it."""
    return Last(_encode(config), schema, fields, _parts(made, config))


def replaced(last: Last, live: JsonObject, config: JsonObject, schema: SchemaNode) -> Replaced | None:
    """What applying `config` makes of `live`; None where that takes more than replacing values."""
    if schema is not last.schema:
        return None
    was = msgspec.json.decode(last.config)
    if _parts(live, was) != last.left:
        return None
    modified: Tree = {}
    try:
        made, reverted = _in_map(was, config, live, schema, modified)
    except (_Reshaped, KeyError):  # KeyError: an item that has lost its keys
        return None
    # What is equal to Python need not be so in JSON (`true` and `1`): with its values put back the
    # configuration must be the last one to the letter.
    return Replaced(made, FieldSet(modified)) if _encode(reverted) == last.config else None


class _Reshaped(Exception):
    """The configurations differ in more than plain values."""


# The object with the new values, and the configuration with the old ones.
_Made: TypeAlias = tuple[Json, Json]


def _parts(obj: JsonObject, config: JsonObject) -> bytes:
    """What a configuration names of an object at its top and in metadata, with all that is below, as JSON."""
    metadata, named = obj.get(_METADATA) or {}, config.get(_METADATA) or ()
    return _encode(
        (
            {name: obj[name] for name in config if name in obj and name != _METADATA},
            {name: metadata[name] for name in named if name in metadata},
        )
    )


def _in(was: Json, now: Json, live: Json, schema: SchemaNode, modified: Tree) -> _Made:
    if isinstance(now, dict) and isinstance(live, dict) and not typed.is_atomic(now, schema):
        return _in_map(was, now, live, schema, modified)
    if isinstance(now, list) and isinstance(live, list) and schema.kind == LIST and schema.list_type == KEYED:
        return _in_list(was, now, live, schema, modified)
    raise _Reshaped


def _in_map(was: JsonObject, now: JsonObject, live: JsonObject, schema: SchemaNode, modified: Tree) -> _Made:
    if was.keys() != now.keys():
        raise _Reshaped
    made, reverted = live, now
    for name, item in now.items():
        before = was[name]
        if item == before:
            continue
        if type(item) is not type(before):
            raise _Reshaped  # it may not fit its type, and null sets nothing
        below: Tree = {}
        if isinstance(item, (dict, list)):
            child = typed.child_of(schema, name)
            item, before = _in(before, item, live.get(name), child, below)
        modified[f"f:{name}"] = below
        if made is live:
            made, reverted = dict(live), dict(now)
        made[name], reverted[name] = item, before
    return made, reverted


def _in_list(was: list[Json], now: list[Json], live: list[Json], schema: SchemaNode, modified: Tree) -> _Made:
    """The same of a list whose items are told apart by keys, all of which have to stay as they are."""
    if len(was) != len(now):
        raise _Reshaped
    items, keys = schema.items(), schema.list_map_keys
    made, reverted = list(live), list(now)
    for place, (before, item) in enumerate(zip(was, now, strict=True)):
        if item == before:
            continue
        if not _are_called_alike(before, item, keys):
            raise _Reshaped
        element = typed.element_of(item, schema)
        below = modified[element] = {}
        # An object mostly holds just the items that the configuration names, in its order.
        at = place
        if place >= len(live) or not _are_called_alike(item, live[place], keys):
            at = _place_of(element, live, schema)
        made[at], reverted[place] = _in(before, item, live[at], items, below)
    return made, reverted


def _are_called_alike(one: Json, other: Json, keys: Sequence[str]) -> bool:
    """Whether two items have the same keys, each as it is written."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    return [one.get(name) for name in keys] == [other.get(name) for name in keys]


def _place_of(element: str, live: list[Json], schema: SchemaNode) -> int:
    for place, item in enumerate(live):
        if typed.element_of(item, schema) == element:
            return place
    raise _Reshaped
