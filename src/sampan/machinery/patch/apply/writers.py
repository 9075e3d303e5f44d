"""Who has written an object, in a few words: enough to say later who owns which of its fields.

Most objects are written by one manager, and their status by one other. Then every field is the one's or the
other's, and writing each down with every object would cost more than the write. So what is kept of such
writes is who it was; the field sets are made of the object when somebody asks. As soon as two managers have
written the same part of an object that no longer tells who owns what, and the sets are spelled out for good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from sampan.machinery.patch.apply import fieldset, typed
from sampan.machinery.patch.apply.fieldset import FieldSet
from sampan.machinery.patch.apply.managers import STRIPPED, UPDATE, Managed, ManagedEntry
from sampan.machinery.patch.values import JsonObject
from sampan.machinery.schema_node import SchemaNode

STATUS: Final = "status"
# Not an owner: says that a pod has its node from a binding, which owns nothing.
BINDING: Final = "binding"
_PARTS: Final = frozenset({"", STATUS, BINDING})
# Texts that are remembered: those of most objects are the same but for the time of the last write.
_REMEMBERED: Final = 4_096
# What may stand in a text of writers as it is.
_PLAIN: Final = " -_.:@/()+=!*[]{}#$&'<>?^`|~"
_STATUS_FIELD: Final = "f:status"
_NOT_WRITTEN: Final = fieldset.of(
    ("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:deletionGracePeriodSeconds")
)
_STATUS_ONLY: Final = fieldset.of((_STATUS_FIELD,))
# Structs that Go writes even where they are empty: nobody adds them.
_ALWAYS_THERE: Final = fieldset.of(
    ("f:spec", "f:strategy"),
    ("f:spec", "f:updateStrategy"),
    ("f:spec", "f:scaleTargetRef"),
    ("f:spec", "f:priorityLevelConfiguration"),
    ("f:spec", "f:resources"),
    ("f:source",),
)
_NODE: Final = fieldset.of(("f:spec", "f:nodeName"))
_CONDITIONS: Final = fieldset.of(("f:status", "f:conditions"))
_SCHEDULED: Final = ("f:status", "f:conditions", fieldset.key({"type": "PodScheduled"}))


class Writer(msgspec.Struct, frozen=True):
    """Who owns a whole part of an object: all but the status, or (`subresource`) the status.

    `time` is RFC 3339; "" where it is the object's creation. `lacks` says what of the object its creator left
    to the server, in letters that mean nothing here.
    """

    manager: str
    api_version: str
    subresource: str = ""
    time: str = ""
    lacks: str = ""


@lru_cache(maxsize=_REMEMBERED)
def created(manager: str, api_version: str, lacks: str = "") -> str:
    """The text for an object that `manager` has created."""
    return _text((Writer(manager, api_version, lacks=lacks),))


@lru_cache(maxsize=_REMEMBERED)
def updated(text: str, manager: str, api_version: str, subresource: str, time: str) -> str | None:
    """The text after one more update; None where it can no longer be said in short."""
    if subresource not in _PARTS:
        return None
    made: list[Writer] = []
    found = False
    # In the order of their first writes, which tells who found what there.
    for writer in parse(text):
        if writer.subresource == subresource:
            if (writer.manager, writer.api_version) != (manager, api_version):
                return None
            found = True
            writer = msgspec.structs.replace(writer, time=time)
        made.append(writer)
    if not found:
        made.append(Writer(manager, api_version, subresource, time))
    return _text(tuple(made))


@lru_cache(maxsize=_REMEMBERED)
def bound(text: str) -> str:
    """The text after a binding, whoever made it; "" stays that."""
    return (updated(text, "", "", BINDING, "") or text) if text else ""


@lru_cache(maxsize=_REMEMBERED)
def parse(text: str) -> tuple[Writer, ...]:
    """The writers of a text that `created` or `updated` made."""
    made = [[unquote(part) for part in each.split(",")] for each in text.split(";") if each]
    return tuple(Writer(*parts) for parts in made)


def spelled_out(
    writers: tuple[Writer, ...],
    live: JsonObject,
    *,
    schema: SchemaNode,
    empty: JsonObject,
    has_status: bool,
    first_status: Callable[[], JsonObject],
    authored: Callable[[JsonObject, str], JsonObject],
) -> Managed:
    """The fields that each of the writers owns of `live`, which comes without managedFields.

    `empty` is the type's empty object; with `has_status`, its status belongs to a subresource, and begins as
    in the object that `first_status` gives. `authored` takes from it what the letters of `lacks` say.
    """
    metadata = live.get("metadata") or {}
    bound = False
    entries: list[ManagedEntry] = []
    for writer in writers:
        if writer.subresource == BINDING:
            bound = True
            entries[0] = msgspec.structs.replace(entries[0], fields=entries[0].fields - _NODE)
            continue
        if writer.subresource == STATUS:
            fields = _status_fields(first_status(), live, schema)
            if bound:
                fields = _without_binding(fields, live)
        else:
            fields = _main_fields(empty, authored(live, writer.lacks), schema, has_status=has_status)
        time = writer.time or metadata.get("creationTimestamp") or None
        entries.append(
            ManagedEntry(writer.manager, UPDATE, writer.api_version, fields, time, writer.subresource)
        )
    return tuple(entry for entry in entries if entry.fields)


def _main_fields(empty: JsonObject, live: JsonObject, schema: SchemaNode, *, has_status: bool) -> FieldSet:
    difference = typed.compare(empty, live, schema)
    fields = (difference.added | difference.modified) - STRIPPED - _ALWAYS_THERE
    if has_status:
        fields = fields.without(_STATUS_ONLY)
    return fields.without(_NOT_WRITTEN)


def _status_fields(first: JsonObject, live: JsonObject, schema: SchemaNode) -> FieldSet:
    before = {STATUS: first[STATUS]} if STATUS in first else {}
    after = {STATUS: live[STATUS]} if STATUS in live else {}
    difference = typed.compare(before, after, schema)
    return difference.added | difference.modified


def _without_binding(fields: FieldSet, live: JsonObject) -> FieldSet:
    """Without the condition that a binding has set, where it is still as that left it."""
    conditions = (live.get(STATUS) or {}).get("conditions") or ()
    bare = any(
        each.get("type") == "PodScheduled" and each.get("status") == "True" and not each.get("reason")
        for each in conditions
    )
    fields = fields - _CONDITIONS
    return fields.without(fieldset.of(_SCHEDULED)) if bare else fields


def _text(writers: tuple[Writer, ...]) -> str:
    parts = ((w.manager, w.api_version, w.subresource, w.time, w.lacks) for w in writers)
    return ";".join(",".join(quote(part, safe=_PLAIN) for part in each) for each in parts)
