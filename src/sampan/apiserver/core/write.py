"""CREATE, UPDATE and DELETE of any kind: metadata, defaulting, admission, validation, commit.

The fast path of a create is: decode once, default and check in place, encode once, commit once. Updates
read from the watch cache and commit against the revision read; where nobody asked for that revision, a lost
race is run again on the newer object.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

import msgspec

from sampan.apiserver.core import applying, status
from sampan.apiserver.core.context import Attributes, Context
from sampan.apiserver.core.resource import Resource
from sampan.base.errors import SampanError
from sampan.base.ids import Ids
from sampan.kinds.kind import Kind
from sampan.machinery import meta, names
from sampan.schema import codec
from sampan.store.backend import Committed, Conflict, Delete, Guard, Op, Put, Store
from sampan.store.watchcache import Item, WatchCache, splice

# Lost races against other writers before a write without a resourceVersion gives up with 409.
MAX_ATTEMPTS: Final = 50
GENERATED_NAME_ATTEMPTS: Final = 8
# Kinds whose dependents stay where a delete does not say otherwise, as in their first versions.
_ORPHANING: Final = frozenset({"replicationcontrollers", "jobs.batch"})
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


class Admission(Protocol):
    """The admission chain. `mutate` and `validate` raise StatusError to refuse."""

    async def mutate(self, attributes: Attributes) -> bool:
        """Change `attributes.obj` in place before it is validated; may add guards and ops to the context.

        True where the object may need its defaults again.
        """
        ...

    async def validate(self, attributes: Attributes) -> None:
        """Refuse, or let pass."""
        ...

    def erase(self, attributes: Attributes) -> None:
        """The object is about to leave the store: add to the context's ops what has to go with it."""
        ...

    def allocates(self, kind: str) -> bool:
        """Whether objects of this kind take something that another writer may take first."""
        ...


class Written(msgspec.Struct, frozen=True):
    """The outcome of a write: the object's bytes as clients get them."""

    data: bytes
    revision: int
    # Whether the object is gone from the store.
    deleted: bool = False


Change = Callable[[Any], Any]


class Writer:
    """Carries out writes for every resource."""

    def __init__(self, store: Store, cache: WatchCache, admission: Admission, ids: Ids) -> None:
        self._store = store
        self._cache = cache
        self._admission = admission
        self._ids = ids
        # The last in the queue of writers of each object.
        self._turns: dict[str, asyncio.Future[None]] = {}

    async def create(self, context: Context, obj: Any) -> Written:
        """Create `obj` in the target's namespace. Raises StatusError."""
        resource, metadata = context.resource, obj.metadata
        if metadata.resourceVersion:
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        self._place(context, obj)
        if self._admission.allocates(resource.kind.kind):
            return await self._create_allocating(context, obj)
        return await self._create(context, obj)

    async def _create(self, context: Context, obj: Any) -> Written:
        resource, metadata = context.resource, obj.metadata
        generated = not metadata.name and bool(metadata.generateName)
        for attempt in range(GENERATED_NAME_ATTEMPTS):
            if generated:
                metadata.name = names.generate_name_base(metadata.generateName) + self._ids.suffix()
            if attempt == 0:
                await self._prepare_create(context, obj)
            written = await self._insert(context, resource, obj)
            if written is not None:
                return written
            if not generated:
                break
        raise status.already_exists(resource.kind, metadata.name)

    async def _create_allocating(self, context: Context, obj: Any) -> Written:
        """Create again from the start where another writer took what was chosen for the object."""
        for _ in range(MAX_ATTEMPTS):
            context.guards.clear()
            context.ops.clear()
            try:
                return await self._create(context, codec.copy(obj))
            except _Taken:
                continue
        raise status.conflict(
            context.resource.kind, obj.metadata.name or "", "what it needs is taken faster than it is found"
        )

    def _place(self, context: Context, obj: Any) -> None:
        metadata, target = obj.metadata, context.target
        if context.resource.kind.namespaced:
            if metadata.namespace and metadata.namespace != target.namespace:
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            metadata.namespace = target.namespace
        elif metadata.namespace:
            metadata.namespace = None

    async def _prepare_create(self, context: Context, obj: Any) -> None:
        kind, metadata = context.resource.kind, obj.metadata
        metadata.uid = self._ids.uid()
        metadata.creationTimestamp = context.now
        metadata.deletionTimestamp = None
        metadata.deletionGracePeriodSeconds = None
        metadata.selfLink = None
        metadata.generation = 1 if kind.generation else None
        kind.prepare_create(obj)
        kind.default(obj)
        attributes = Attributes("create", "", metadata.namespace or "", context, obj, None)
        if await self._admission.mutate(attributes):
            kind.default(obj)
        errors = meta.validate_object_meta(metadata, kind.namespaced, kind.name_errors)
        errors += kind.validate(obj)
        errors += kind.validate_create(obj)
        if errors:
            raise status.invalid(kind, metadata.name or "", errors)
        await self._admission.validate(attributes)

    async def _insert(self, context: Context, resource: Resource, obj: Any) -> Written | None:
        """Commit a new object; None where its name is taken."""
        key = resource.key(obj.metadata.namespace or "", obj.metadata.name)
        value = resource.encode(obj)
        if context.dry_run:
            taken = resource.cache.get(obj.metadata.namespace or "", obj.metadata.name)
            return None if taken is not None else Written(value, self._cache.revision)
        outcome = await self._commit([Guard(key, 0), *context.guards], [Put(key, value), *context.ops])
        if isinstance(outcome, Conflict):
            if any(entry.key == key for entry in outcome.current):
                return None
            raise _Taken
        return Written(splice(value, outcome.revision), outcome.revision)

    async def update(
        self,
        context: Context,
        change: Change,
        *,
        subresource: str = "",
        uid: str = "",
        revision: str = "",
    ) -> Written:
        """Replace the target by what `change` makes of a copy of it.

        `change` gets a struct that it may keep and change; it is called again when a race was lost. What it
        returns carries the client's resourceVersion where it insists on one. Raises StatusError.
        """
        resource, target = context.resource, context.target
        key = resource.key(target.namespace, target.name)
        async with self._alone(key):
            for _ in range(MAX_ATTEMPTS):
                item = resource.cache.get(target.namespace, target.name)
                if item is None:
                    raise status.not_found(resource.kind, target.name)
                context.guards.clear()
                context.ops.clear()
                written = await self._replace(context, item, change, subresource, uid, revision)
                if written is not None:
                    return written
        raise status.modified(resource.kind, target.name)

    async def _replace(
        self,
        context: Context,
        item: Item,
        change: Change,
        subresource: str,
        uid: str,
        revision: str,
    ) -> Written | None:
        """One attempt; None where the object changed meanwhile. Whoever insists on a revision is refused
        at the next attempt, which sees the newer one."""
        resource, kind = context.resource, context.resource.kind
        old = resource.decode_stored(item.data)
        _check_preconditions(resource, old, uid, revision)
        new = change(resource.decode_stored(item.data))
        insisted = new.metadata.resourceVersion or ""
        if insisted not in ("", "0", old.metadata.resourceVersion):
            raise status.modified(kind, item.name)
        _check_preconditions(resource, old, new.metadata.uid or "", "")
        carry_metadata(new, old)
        await self._prepare_update(context, new, old, subresource)
        value = resource.encode(new)
        if splice(value, item.revision) == item.data:
            return Written(item.data, item.revision)
        if context.dry_run:
            return Written(splice(value, item.revision), item.revision)
        if is_finished(new):
            return await self._erase(context, item, old, value)
        guards = [Guard(item.key, item.revision), *context.guards]
        outcome = await self._commit(guards, [Put(item.key, value), *context.ops])
        if isinstance(outcome, Committed):
            return Written(splice(value, outcome.revision), outcome.revision)
        return None

    async def _prepare_update(self, context: Context, new: Any, old: Any, subresource: str) -> None:
        kind = context.resource.kind
        own = kind.subresource_updates.get(subresource)
        if subresource == "status":
            for field in new.__struct_fields__:
                if field not in ("status", "metadata"):
                    setattr(new, field, getattr(old, field))
        elif not subresource:
            if kind.status:
                new.status = old.status
            kind.prepare_update(new, old)
        if own is not None:
            own.prepare(new, old)
        kind.default(new)
        attributes = Attributes("update", subresource, new.metadata.namespace or "", context, new, old)
        if await self._admission.mutate(attributes):
            kind.default(new)
        if kind.generation and subresource not in ("status", "binding") and not same_intent(new, old):
            new.metadata.generation = (old.metadata.generation or 0) + 1
        applying.track(new, old, context, subresource, context.now)
        errors = meta.validate_object_meta_update(new.metadata, old.metadata)
        if subresource == "status":
            errors += kind.validate_status_update(new, old)
        else:
            errors += kind.validate(new)
            if not subresource:
                errors += kind.validate_update(new, old)
        if own is not None and own.validate is not None:
            errors += own.validate(new, old)
        if errors:
            raise status.invalid(kind, new.metadata.name, errors)
        await self._admission.validate(attributes)

    async def delete(
        self,
        context: Context,
        *,
        grace_s: int | None = None,
        propagation: str = "",
        uid: str = "",
        revision: str = "",
        name: str = "",
        namespace: str = "",
    ) -> Written:
        """Delete the object, or mark it deleted where grace or finalizers hold it. Raises StatusError."""
        resource = context.resource
        name, namespace = name or context.target.name, namespace or context.target.namespace
        key = resource.key(namespace, name)
        async with self._alone(key):
            for _ in range(MAX_ATTEMPTS):
                item = resource.cache.get(namespace, name)
                if item is None:
                    raise status.not_found(resource.kind, name)
                context.guards.clear()
                context.ops.clear()
                old = resource.decode_stored(item.data)
                _check_preconditions(resource, old, uid, revision)
                await self._admission.validate(Attributes("delete", "", namespace, context, None, old))
                new = mark_deleted(resource, old, context, grace_s, propagation)
                finished = is_finished(new)
                value = resource.encode(new)
                if context.dry_run:
                    return Written(splice(value, item.revision), item.revision, finished)
                if finished:
                    erased = await self._erase(context, item, old, value)
                    if erased is not None:
                        return erased
                elif splice(value, item.revision) == item.data:
                    return Written(item.data, item.revision)
                else:
                    outcome = await self._commit([Guard(key, item.revision)], [Put(key, value)])
                    if isinstance(outcome, Committed):
                        return Written(splice(value, outcome.revision), outcome.revision)
        raise status.modified(resource.kind, name)

    async def _erase(self, context: Context, item: Item, old: Any, value: bytes) -> Written | None:
        context.guards.clear()
        context.ops.clear()
        self._admission.erase(Attributes("erase", "", item.namespace, context, None, old))
        guards = [Guard(item.key, item.revision), *context.guards]
        outcome = await self._commit(guards, [Delete(item.key), *context.ops])
        if isinstance(outcome, Conflict):
            return None
        return Written(splice(value, outcome.revision), outcome.revision, deleted=True)

    async def _commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        try:
            outcome = await self._store.commit(guards, ops)
            # Whoever has the answer must find the write in every later answer.
            await self._cache.reached(outcome.revision)
        except SampanError as refused:
            raise status.unavailable(str(refused)) from refused
        return outcome

    @contextlib.asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Writers of one object take turns here: racing each other through the store only wastes work."""
        before = self._turns.get(key)
        mine = self._turns[key] = asyncio.get_running_loop().create_future()
        try:
            if before is not None:
                # Shielded: one that gives up waiting must not end the turn of the one before it.
                await asyncio.shield(before)
            yield
        finally:
            if before is None or before.done():
                self._pass_on(key, mine)
            else:  # a turn that never began ends when the one before it does
                before.add_done_callback(lambda _: self._pass_on(key, mine))

    def _pass_on(self, key: str, turn: asyncio.Future[None]) -> None:
        turn.set_result(None)
        if self._turns.get(key) is turn:
            del self._turns[key]


class _Taken(Exception):
    """Another writer took what was allocated for an object that is being created."""


def _check_preconditions(resource: Resource, old: Any, uid: str, revision: str) -> None:
    metadata = old.metadata
    if uid and uid != metadata.uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata.uid}"
        raise status.conflict(resource.kind, metadata.name, why)
    if revision and revision != metadata.resourceVersion:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {revision}, "
            f"ResourceVersion in object meta: {metadata.resourceVersion}"
        )
        raise status.conflict(resource.kind, metadata.name, why)


def carry_metadata(new: Any, old: Any) -> None:
    """What the system set stays, whatever the client sent."""
    fresh, kept = new.metadata, old.metadata
    fresh.namespace = fresh.namespace or kept.namespace
    fresh.name = fresh.name or kept.name
    fresh.uid = kept.uid
    fresh.resourceVersion = kept.resourceVersion
    fresh.creationTimestamp = kept.creationTimestamp
    fresh.deletionTimestamp = kept.deletionTimestamp or fresh.deletionTimestamp
    if fresh.deletionGracePeriodSeconds is None or kept.deletionGracePeriodSeconds is not None:
        fresh.deletionGracePeriodSeconds = kept.deletionGracePeriodSeconds
    fresh.generation = kept.generation
    fresh.selfLink = None


def same_intent(new: Any, old: Any) -> bool:
    """Whether two objects differ in nothing but metadata and status."""
    return all(
        getattr(new, field) == getattr(old, field)
        for field in new.__struct_fields__
        if field not in ("metadata", "status", "kind", "apiVersion")
    )


def is_finished(obj: Any) -> bool:
    """Whether nothing holds a deleted object any more."""
    metadata = obj.metadata
    if metadata.deletionTimestamp is None or metadata.finalizers or metadata.deletionGracePeriodSeconds:
        return False
    spec = getattr(obj, "spec", None)
    # Namespaces have finalizers of their own in the spec.
    return not (obj.kind == "Namespace" and spec is not None and spec.finalizers)


def mark_deleted(
    resource: Resource, old: Any, context: Context, grace_s: int | None, propagation: str
) -> Any:
    """The object as a delete leaves it: its deletion time, grace and propagation finalizers set."""
    # `old` may be kept: what changes is replaced, not changed in place.
    new = msgspec.structs.replace(old, metadata=msgspec.structs.replace(old.metadata))
    metadata, kind = new.metadata, resource.kind
    _set_propagation(metadata, propagation or _default_propagation(kind, metadata))
    default_s = kind.grace_period_s(old) if kind.grace_period_s is not None else 0
    wanted_s = default_s if grace_s is None or default_s == 0 else grace_s
    if wanted_s < 0:
        wanted_s = 1
    if metadata.deletionTimestamp is None:
        metadata.deletionTimestamp = context.now + timedelta(seconds=wanted_s)
        metadata.deletionGracePeriodSeconds = wanted_s
        if kind.generation:
            metadata.generation = (metadata.generation or 0) + 1
    elif grace_s is not None and wanted_s < (metadata.deletionGracePeriodSeconds or 0):
        metadata.deletionTimestamp = context.now + timedelta(seconds=wanted_s)
        metadata.deletionGracePeriodSeconds = wanted_s
    if kind.kind == "Namespace":
        new.status = msgspec.structs.replace(new.status, phase="Terminating")
    return new


def _default_propagation(kind: Kind, metadata: Any) -> str:
    """What happens to dependents where nobody said: to those of a few old kinds, nothing."""
    if kind.resource in _ORPHANING and not {ORPHAN, FOREGROUND}.intersection(metadata.finalizers):
        return "Orphan"
    return ""


def _set_propagation(metadata: Any, propagation: str) -> None:
    if not propagation:
        return
    kept = [f for f in metadata.finalizers if f not in (ORPHAN, FOREGROUND)]
    wanted = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(propagation, [])
    metadata.finalizers = kept + wanted
