"""Who manages which field: kept in short with every object, and spelled out where it has to be.

What is stored with an object is who has created and updated it (`machinery.patch.apply.writers`), in the
place of the stored bytes where the revision comes, so that it costs lists and watches nothing. Field sets are
made of it when somebody asks for the object by itself, when an apply needs to know, or when two managers have
written the same part: from then on they are in `metadata.managedFields`, as in kube-apiserver.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from sampan.apiserver.core import serverset
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.resource import Resource
from sampan.machinery.patch.apply import engine, fieldset, managers, writers
from sampan.machinery.patch.apply.managers import Managed, ManagedEntry
from sampan.schema import api, codec
from sampan.schema.custom import CustomObject
from sampan.store.items import Item

_STATUS_ONLY: Final = fieldset.of((fieldset.field("status"),))
# Objects whose owners are remembered as they were told last, by key.
TOLD_MOST: Final = 1_024


def ignored(context: Context) -> fieldset.FieldSet:
    """What the request cannot change, and so cannot own."""
    if context.resource.kind.status and not context.target.subresource:
        return _STATUS_ONLY
    return fieldset.EMPTY


def lacking(new: Any, context: Context) -> str:
    """What the author of a new object, which has no defaults yet, leaves to the server."""
    kind = context.resource.kind
    return serverset.lacking(kind.kind, new) if kind.own_type is None else ""


def begin(new: Any, context: Context, lacks: str) -> None:
    """Note who creates an object, when it has its defaults and before admission."""
    metadata, resource = new.metadata, context.resource
    if context.applies and metadata.managedFields:
        return
    given = managers.for_update((), metadata.managedFields) if metadata.managedFields else ()
    if not given:
        metadata.managedFields = []
        context.owners = writers.created(context.manager, resource.api_version, lacks)
        return
    metadata.managedFields = []
    managed = engine.track_update(
        empty(context.resource.struct),
        codec.to_builtins(new),
        context.manager,
        api_version=context.resource.api_version,
        schema=context.resource.node,
        managed=given,
        now=context.now,
        ignored=ignored(context),
    )
    metadata.managedFields = entries_of(managed)


def track(new: Any, old: Any, context: Context, subresource: str, now: datetime) -> None:
    """Move ownership to the manager of an update that was not an apply. Objects without any keep none."""
    if context.applies:
        if new.metadata.managedFields:
            context.owners = ""
        return
    if old.metadata.managedFields:
        if subresource != writers.BINDING:  # nobody owns what a binding sets
            _track_fields(new, old, context, subresource, now, old.metadata.managedFields)
        else:
            new.metadata.managedFields = old.metadata.managedFields
        return
    if subresource == writers.BINDING or not context.owners:
        context.owners = writers.bound(context.owners)
        return
    given: Sequence[Any] = new.metadata.managedFields
    if given and (subresource or given == entries_of(managed_of(old, context.owners, context.resource))):
        new.metadata.managedFields = given = []
    if not given and not (subresource == writers.STATUS and _moves_metadata(new, old)):
        text = writers.updated(
            context.owners, context.manager, context.resource.api_version, subresource, managers.stamp(now)
        )
        if text is not None:
            context.owners = text
            return
    entries = entries_of(managed_of(old, context.owners, context.resource))
    context.owners = ""
    _track_fields(new, old, context, subresource, now, entries)


def managed_of(obj: Any, owners: str, resource: Resource) -> Managed:
    """Who owns what of an object: what is spelled out in it, or else what `owners` says in short."""
    if obj.metadata.managedFields or not owners:
        return managers.decode(obj.metadata.managedFields)

    kind = resource.kind

    def first_status() -> dict[str, Any]:
        return _first_status(obj, resource)

    def authored(live: dict[str, Any], letters: str) -> dict[str, Any]:
        return serverset.without(kind.kind, live, letters) if kind.own_type is None else live

    return writers.spelled_out(
        # In the words of this version, whichever it was written in.
        tuple(
            msgspec.structs.replace(each, api_version=resource.api_version) for each in writers.parse(owners)
        ),
        codec.to_builtins(obj),
        schema=resource.node,
        empty=empty(resource.struct),
        has_status=kind.status,
        first_status=first_status,
        authored=authored,
    )


def entries_of(managed: Managed) -> list[api.ManagedFieldsEntry]:
    """Entries as objects hold them. Their sets of fields are shared with others, and not to be changed."""
    return [_as_held(entry) for entry in managers.in_order(managed)]


def _as_held(entry: ManagedEntry) -> api.ManagedFieldsEntry:
    return api.ManagedFieldsEntry(
        manager=entry.manager,
        operation=entry.operation,
        apiVersion=entry.api_version,
        time=_moment(entry.time) if entry.time else None,
        fieldsType="FieldsV1",
        fieldsV1=fieldset.ordered(entry.fields),
        subresource=entry.subresource or None,
    )


@lru_cache(maxsize=1_024)
def _moment(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)


def unowned(obj: Any) -> dict[str, Any]:
    """The document of an object but for its managedFields."""
    metadata = obj.metadata
    owners, metadata.managedFields = metadata.managedFields, []
    try:
        document: dict[str, Any] = codec.to_builtins(obj)
    finally:
        metadata.managedFields = owners
    return document


@lru_cache(maxsize=512)
def empty(struct: Any) -> dict[str, Any]:
    """The document of a type's empty object. Not to be changed."""
    document: dict[str, Any] = codec.to_builtins(struct())
    return document


class Telling:
    """Shows the owners of objects that are asked for by themselves."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str], tuple[int, bytes]] = OrderedDict()

    def shown(self, item: Item, resource: Resource, data: bytes) -> bytes:
        """`data`, the item in the resource's version, with managedFields."""
        key = (item.key, resource.api_version)
        told = self._told.get(key)
        if told is not None and told[0] == item.revision:
            return told[1]
        managed = managed_of(codec.decode(data, resource.struct), item.owners, resource)
        made = _with_entries(data, msgspec.json.encode(managers.encode(managed)))
        if told is None and len(self._told) >= TOLD_MOST:
            self._told.popitem(last=False)
        self._told[key] = (item.revision, made)
        return made


def _with_entries(data: bytes, entries: bytes) -> bytes:
    """An object's bytes with managedFields after its revision, which comes first in them."""
    at = data.index(b'"', data.index(_REVISION) + len(_REVISION)) + 1
    return b'%b,"managedFields":%b%b' % (data[:at], entries, data[at:])


_REVISION: Final = b'"resourceVersion":"'


def _track_fields(
    new: Any, old: Any, context: Context, subresource: str, now: datetime, entries: Sequence[Any]
) -> None:
    given = new.metadata.managedFields
    new.metadata.managedFields, old_entries = [], old.metadata.managedFields
    old.metadata.managedFields = []
    try:
        managed = engine.track_update(
            *differing(old, new),
            context.manager,
            api_version=context.resource.kind.api_version,
            schema=context.resource.node,
            managed=managers.for_update(entries, given, subresource),
            now=now,
            subresource=subresource,
            ignored=ignored(context),
        )
    finally:
        old.metadata.managedFields = old_entries
    new.metadata.managedFields = entries_of(managed)


def differing(old: Any, new: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The documents of two objects, without the parts that are the same in both; metadata is always there.

    Most updates change one part only: a spec is not walked through to see that it is as it was.
    """
    if isinstance(new, CustomObject):
        return codec.to_builtins(old), codec.to_builtins(new)
    struct: Any = type(new)
    blank = _blank(struct)
    same = {
        name: getattr(blank, name)
        for name in new.__struct_fields__
        if name != "metadata" and _written_alike(getattr(old, name), getattr(new, name))
    }
    replace = msgspec.structs.replace
    return codec.to_builtins(replace(old, **same)), codec.to_builtins(replace(new, **same))


def _written_alike(one: Any, other: Any) -> bool:
    return one is other or bool(codec.encode(one) == codec.encode(other))


@lru_cache(maxsize=512)
def _blank(struct: Any) -> Any:
    return struct()


def _moves_metadata(new: Any, old: Any) -> bool:
    """Whether an update of the status changes what else its manager would own then."""
    a, b = new.metadata, old.metadata
    moved: bool = (
        a.annotations != b.annotations
        or a.labels != b.labels
        or a.finalizers != b.finalizers
        or a.ownerReferences != b.ownerReferences
    )
    return moved


def _first_status(obj: Any, resource: Resource) -> dict[str, Any]:
    """The object with the status that it was created with."""
    kind = resource.kind
    if kind.own_type is not None:
        return {}
    first = codec.copy(obj)
    first.status = type(first.status)()
    kind.default(first)
    kind.prepare_create(first)
    document: dict[str, Any] = codec.to_builtins(first)
    return document
