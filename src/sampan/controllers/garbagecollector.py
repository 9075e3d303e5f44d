"""Objects go when their owners have gone: in the background, before the owner does, or not at all.

Follows kube-controller-manager's garbage collector. An owner counts by its uid; one that is in no cache is
looked up on the server before anything is deleted because of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.client import Client
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.effects import Effect, Emit, Patch, Plan, Ref, Remove
from sampan.client.errors import ApiError, is_not_found
from sampan.client.everything import Entry, Everything
from sampan.client.resources import Partial, Resource
from sampan.controllers.runtime.controller import Caches, Controller, everything
from sampan.schema import api, codec

ORPHAN: Final = "orphan"
FOREGROUND: Final = "foregroundDeletion"
# Owners' states.
SOLID: Final = "solid"  # it is there and stays
WAITING: Final = "waiting"  # it goes when its dependents have gone
ABSENT: Final = "absent"


class Item(msgspec.Struct, frozen=True):
    """An object and how to name it: from a cache, or just read."""

    ref: Ref
    meta: api.ObjectMeta
    resource: Resource[Any]


class Owner(msgspec.Struct, frozen=True):
    """An owner reference and what became of the owner; "" where only the server can tell."""

    reference: api.OwnerReference
    state: str
    resource: Resource[Any] | None = None
    # It exists, but in another namespace, where it can own nothing of this one.
    foreign: bool = False


class View(msgspec.Struct, frozen=True):
    """An object, its owners, and what names it as an owner."""

    item: Item
    owners: tuple[Owner, ...]
    dependents: tuple[Item, ...]


def gather(caches: Caches, uid: str) -> View | None:
    """The object, where anything about it may be ours to do."""
    graph = caches.everything
    entry = graph.by_uid(uid)
    if entry is None:
        return None
    item = _item(entry)
    if item.meta.deletionTimestamp is not None and not set(item.meta.finalizers) & {ORPHAN, FOREGROUND}:
        return None
    owners = tuple(
        Owner(
            one,
            _state(graph, entry, one),
            graph.resource(one.apiVersion, one.kind),
            _is_foreign(graph, entry, one),
        )
        for one in item.meta.ownerReferences
    )
    if item.meta.deletionTimestamp is None and all(owner.state == SOLID for owner in owners):
        return None
    return View(item, owners, tuple(_item(one) for one in graph.dependents(uid)))


async def survey(client: Client, view: View) -> View | None:
    """Read the object anew, and look for the owners that no cache holds."""
    ref = view.item.ref
    live = await _live(client, view.item.resource, ref)
    if live is None or live.metadata.uid != ref.uid:
        return None
    known = {owner.reference.uid: owner for owner in view.owners}
    references = live.metadata.ownerReferences
    owners = await asyncio.gather(
        *(_look_up(client, ref, known.get(one.uid, Owner(one, "")), one) for one in references)
    )
    current = msgspec.structs.replace(ref, resource_version=live.metadata.resourceVersion or "")
    item = Item(current, live.metadata, view.item.resource)
    return msgspec.structs.replace(view, item=item, owners=tuple(owners))


def plan(view: View, now: datetime) -> Plan:
    """Finish a deletion that waits for us, or delete what no owner keeps."""
    finalizers = view.item.meta.finalizers
    if view.item.meta.deletionTimestamp is not None:
        if ORPHAN in finalizers:
            return _orphan(view)
        return _foreground(view) if FOREGROUND in finalizers else Plan()
    found = _collect(view)
    foreign = [_tell_foreign(view.item, owner.reference) for owner in view.owners if owner.foreign]
    return msgspec.structs.replace(found, effects=(*foreign, *found.effects)) if foreign else found


def _collect(view: View) -> Plan:
    """Delete an object whose owners are all gone or going; else drop the references to those that are."""
    if not view.owners:
        return Plan()
    solid = [owner for owner in view.owners if owner.state == SOLID]
    waiting = [owner for owner in view.owners if owner.state == WAITING]
    if solid:
        if len(solid) == len(view.owners):
            return Plan()
        return Plan((_set_owners(view.item, [owner.reference for owner in solid]),))
    if waiting and view.dependents:
        references = [owner.reference for owner in view.owners]
        if any(_is_waiting(one.meta) for one in view.dependents) and any(
            one.blockOwnerDeletion for one in references
        ):
            # A circle: each would wait for the other. Let go of our owner, and go on ourselves.
            unblocked = [msgspec.structs.replace(one, blockOwnerDeletion=False) for one in references]
            return Plan((_set_owners(view.item, unblocked),))
        return Plan((_remove(view.item, "Foreground"),))
    finalizers = view.item.meta.finalizers
    policy = "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"
    return Plan((_remove(view.item, policy),))


def _orphan(view: View) -> Plan:
    """Every dependent forgets the owner; then it may go."""
    uid = view.item.ref.uid
    effects: list[Effect] = []
    for dependent in view.dependents:
        others = [one for one in dependent.meta.ownerReferences if one.uid != uid]
        effects.append(_set_owners(dependent, others))
    return Plan((*effects, _without_finalizer(view.item, ORPHAN)))


def _foreground(view: View) -> Plan:
    """The owner goes when none is left of those that block it."""
    uid = view.item.ref.uid
    blocking = [one for one in view.dependents if _blocks(one.meta, uid)]
    if not blocking:
        return Plan((_without_finalizer(view.item, FOREGROUND),))
    return Plan(waiting_for=f"{len(blocking)} dependents to be deleted")


def _blocks(meta: api.ObjectMeta, uid: str) -> bool:
    return any(owner.uid == uid and owner.blockOwnerDeletion for owner in meta.ownerReferences)


def _is_waiting(meta: api.ObjectMeta) -> bool:
    return meta.deletionTimestamp is not None and FOREGROUND in meta.finalizers


def _set_owners(item: Item, owners: list[api.OwnerReference]) -> Patch:
    return _patch(item, {"ownerReferences": codec.to_builtins(owners) or None})


def _without_finalizer(item: Item, finalizer: str) -> Patch:
    left = [one for one in item.meta.finalizers if one != finalizer]
    return _patch(item, {"finalizers": left or None})


def _patch(item: Item, change: dict[str, Any]) -> Patch:
    guard = {"uid": item.ref.uid, "resourceVersion": item.ref.resource_version}
    return Patch(item.ref, {"metadata": {**guard, **change}})


def _remove(item: Item, policy: str) -> Remove:
    # For this version only: an owner may be added, or a finalizer, while we decide.
    return Remove(item.ref, propagation=policy)


def _item(entry: Entry) -> Item:
    meta = entry.obj.metadata
    ref = Ref(
        entry.resource.api_version,
        entry.resource.kind,
        meta.namespace or "",
        meta.name or "",
        uid=meta.uid or "",
        resource_version=meta.resourceVersion or "",
    )
    return Item(ref, meta, entry.resource)


def _lost(owner: Entry, namespace: str | None) -> bool:
    """Whether an owner that exists is going away, or is in another namespace, and so no owner at all."""
    meta = owner.obj.metadata
    return meta.deletionTimestamp is not None or (owner.resource.namespaced and meta.namespace != namespace)


def _is_foreign(graph: Everything, entry: Entry, reference: api.OwnerReference) -> bool:
    owner = graph.by_uid(reference.uid)
    return (
        owner is not None
        and owner.resource.namespaced
        and owner.obj.metadata.namespace != entry.obj.metadata.namespace
    )


def _tell_foreign(item: Item, owner: api.OwnerReference) -> Emit:
    namespace = item.ref.namespace
    named = f"{owner.apiVersion}/{owner.kind}, namespace: {namespace}, name: {owner.name}, uid: {owner.uid}"
    message = f'ownerRef [{named}] does not exist in namespace "{namespace}"'
    return Emit(item.ref, "Warning", "OwnerRefInvalidNamespace", message)


def _state(graph: Everything, entry: Entry, reference: api.OwnerReference) -> str:
    owner = graph.by_uid(reference.uid)
    if owner is None:
        return ""
    if _is_foreign(graph, entry, reference):
        return ABSENT  # an owner in another namespace is none
    return WAITING if _is_waiting(owner.obj.metadata) else SOLID


async def _live(client: Client, resource: Resource[Any], ref: Ref) -> Partial | None:
    namespace = ref.namespace if resource.namespaced else ""
    if resource.namespaced and not namespace:
        return None
    try:
        found: Partial = await client.get(
            msgspec.structs.replace(resource, type=Partial), ref.name, namespace
        )
    except ApiError as error:
        if is_not_found(error):
            return None
        raise
    return found


async def _look_up(client: Client, ref: Ref, known: Owner, reference: api.OwnerReference) -> Owner:
    if known.state:
        return msgspec.structs.replace(known, reference=reference)
    where = Ref(reference.apiVersion, reference.kind, ref.namespace, reference.name)
    try:
        resource = known.resource or await Discovery(client).resource(where.api_version, where.kind)
    except UnknownKind:
        return Owner(reference, SOLID)  # its definition may come back; what is deleted does not
    owner = await _live(client, resource, where)
    if owner is None or owner.metadata.uid != reference.uid:
        return Owner(reference, ABSENT)
    return Owner(reference, WAITING if _is_waiting(owner.metadata) else SOLID)


def _concerned(caches: Caches, obj: Any) -> Iterable[str]:
    """Whom a change of `obj` concerns: itself, its dependents when it goes, its owners that wait for it."""
    graph = caches.everything
    meta = obj.metadata
    uid = meta.uid or ""
    going = meta.deletionTimestamp is not None
    owners = [graph.by_uid(reference.uid) for reference in meta.ownerReferences]
    if going or any(owner is None or _lost(owner, meta.namespace) for owner in owners):
        yield uid
    if going or graph.by_uid(uid) is None:
        for dependent in graph.dependents(uid):
            yield dependent.obj.metadata.uid
    for owner in owners:
        if owner is not None and owner.obj.metadata.deletionTimestamp is not None:
            yield owner.obj.metadata.uid


CONTROLLER: Final = Controller(
    name="garbage-collector",
    watches=(everything(_concerned),),
    gather=gather,
    survey=survey,
    plan=plan,
    workers=20,
)
