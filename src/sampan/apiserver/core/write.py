"""CREATE, UPDATE and DELETE of any kind: metadata, defaulting, admission, validation, commit.

The fast path of a create is: decode once, default and check in place, encode once, commit once. Updates
read from the watch cache and commit against the revision read; where nobody asked for that revision, a lost
race is run again on the newer object. Updates of one object that wait for each other are made one after the
other in memory and committed together, so that a busy object does not cost a disk write for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core import ownership, status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.quotas import CHANGING, Quotas
from sampan.apiserver.core.commits import MAX_ATTEMPTS, Commits
from sampan.apiserver.core.context import Attributes, Context
from sampan.apiserver.core.deletion import is_finished, mark_deleted
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.stamps import Stamp
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.turns import Turns
from sampan.apiserver.core.updating import Change, Edit, check_meant, edited
from sampan.base.ids import Ids
from sampan.machinery import meta, names
from sampan.schema import codec
from sampan.store.backend import Committed, Conflict, Delete, Guard, Op, Put, Store
from sampan.store.items import Item, splice, unrevised
from sampan.store.watchcache import WatchCache

GENERATED_NAME_ATTEMPTS: Final = 8
# Waiting updates of one object that are committed together.
MAX_TOGETHER: Final = 32


class Written(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a write: the object's bytes as clients get them."""

    data: bytes
    revision: int
    # Whether the object is gone from the store.
    deleted: bool = False


Outcome = Written | StatusError


class Writer:
    """Carries out writes for every resource."""

    def __init__(
        self, store: Store, cache: WatchCache, admission: Chain, ids: Ids, quotas: Quotas | None = None
    ) -> None:
        self._quotas = quotas
        self._cache = cache
        self._admission = admission
        self._ids = ids
        self._turns = Turns()
        self.commits = Commits(store, cache, self._turns, quotas)
        # Updates that wait for their turn, by key; the outcome is None until somebody has carried it out.
        self._waiting: dict[str, dict[Edit, Outcome | None]] = {}

    @property
    def revision(self) -> int:
        """The newest revision that this server has seen."""
        return self._cache.revision

    # -- create --------------------------------------------------------------------------------------

    async def create(self, context: Context, obj: Any) -> Written:
        """Create `obj` in the target's namespace. Raises StatusError."""
        self._place(context, obj)
        if self._admission.allocates(context.resource.kind.kind):
            return await self._create_allocating(context, obj)
        return await self._create(context, obj)

    async def _create(self, context: Context, obj: Any) -> Written:
        resource, metadata = context.resource, obj.metadata
        generated = not metadata.name and bool(metadata.generateName)
        for attempt in range(GENERATED_NAME_ATTEMPTS):
            if generated:
                metadata.name = names.generate_name_base(metadata.generateName) + self._ids.suffix()
            if attempt == 0:
                await self._prepare_create(context, obj, generated)
            written = await self._insert(context, resource, obj)
            if written is not None:
                return written
            if not generated:
                break
        raise status.already_exists(resource.kind, metadata.name)

    async def stamp_out(self, context: Context, stamp: Stamp) -> Written:
        """Create a pod from what admission has made of its body before. Raises StatusError."""
        resource, namespace = context.resource, context.target.namespace
        for _ in range(GENERATED_NAME_ATTEMPTS):
            name = stamp.base + self._ids.suffix()
            value = stamp.out(name, self._ids.uid(), context.now)
            key = resource.key(namespace, name)
            outcome = await self.commits.commit([Guard(key, 0)], [Put(key, value)], context.fence)
            if isinstance(outcome, Committed):
                item = resource.cache.get(namespace, name)
                if item is not None and item.revision == outcome.revision:
                    return Written(item.data, item.revision)  # it is made there already
                return Written(splice(value, outcome.revision), outcome.revision)
        raise status.already_exists(resource.kind, name)

    async def _create_allocating(self, context: Context, obj: Any) -> Written:
        """Create again from the start where another writer took what was chosen for the object."""
        for _ in range(MAX_ATTEMPTS):
            context.guards.clear()
            context.ops.clear()
            try:
                return await self._create(context, codec.copy(obj))
            except _Taken:
                continue
        why = "what it needs is taken faster than it is found"
        raise status.conflict(context.resource.kind, obj.metadata.name or "", why)

    def _place(self, context: Context, obj: Any) -> None:
        metadata, target = obj.metadata, context.target
        if context.resource.kind.namespaced:
            if metadata.namespace and metadata.namespace != target.namespace:
                raise status.other_namespace()
            metadata.namespace = target.namespace
        elif metadata.namespace:
            metadata.namespace = None

    async def _prepare_create(self, context: Context, obj: Any, generated: bool) -> None:
        kind, metadata = context.resource.kind, obj.metadata
        metadata.uid = self._ids.uid()
        metadata.creationTimestamp = context.now
        metadata.deletionTimestamp = None
        metadata.deletionGracePeriodSeconds = None
        metadata.selfLink = None
        metadata.generation = 1 if kind.generation else metadata.generation or None
        lacks = ownership.lacking(obj, context)
        kind.default(obj)
        ownership.begin(obj, context, lacks)
        # What allocates writes down for whom it does.
        unnamed = generated and not self._admission.allocates(kind.kind)
        made = metadata.name if unnamed else ""
        attributes = Attributes("create", "", metadata.namespace or "", context, obj, None, made)
        if await self._admission.mutate(attributes):
            kind.default(obj)
        if kind.early_warnings is not None:
            for text in kind.early_warnings(obj):
                context.warn(text)
        # After admission, as in kube-apiserver: a pod's class goes by the amounts that a LimitRange gave it.
        kind.prepare_create(obj)
        if metadata.managedFields:
            meta.drop_unreadable_managers(metadata)
        rules = context.served.kind.rules or kind
        errors = meta.validate_object_meta(
            metadata,
            kind.namespaced,
            rules.name_errors,
            qualified_finalizers=bool(metadata.finalizers) and kind.qualified_finalizers,
        )
        errors += rules.validate(obj)
        errors += rules.validate_create(obj)
        if errors:
            raise status.invalid(kind, metadata.name or "", errors)
        if kind.warnings is not None:
            for text in kind.warnings(obj, None):
                context.warn(text)
        await self._admission.validate(attributes)
        # After admission too: whom a policy refuses hears that first.
        if metadata.resourceVersion and not context.dry_run:
            raise status.bad_request("resourceVersion should not be set on objects to be created")

    async def _insert(self, context: Context, resource: Resource, obj: Any) -> Written | None:
        """Commit a new object; None where its name is taken."""
        key = resource.key(obj.metadata.namespace or "", obj.metadata.name)
        value = await resource.dump(obj, context.owners)
        if context.dry_run:
            if self._quotas is not None and self.commits.charges(context, obj):
                self._quotas.charge(context, obj.metadata.namespace, key, None, obj)
            taken = resource.cache.get(obj.metadata.namespace or "", obj.metadata.name)
            return None if taken is not None else Written(unrevised(value), self._cache.revision)
        guards, ops = [Guard(key, 0), *context.guards], [Put(key, value), *context.ops]
        outcome = await self.commits.charged(context, guards, ops, None, obj)
        if isinstance(outcome, Conflict):
            if any(entry.key == key for entry in outcome.current):
                return None
            raise _Taken
        return Written(splice(value, outcome.revision), outcome.revision)

    # -- update --------------------------------------------------------------------------------------

    async def update(
        self, context: Context, change: Change, *, subresource: str = "", uid: str = ""
    ) -> Written:
        """Replace the target by what `change` makes of it; see Edit. Raises StatusError.

        Where others changed the object at the same moment, the answer may hold their changes too.
        """
        resource, target = context.resource, context.target
        key = resource.key(target.namespace, target.name)
        edit = Edit(context=context, change=change, subresource=subresource, uid=uid)
        waiting = self._waiting.setdefault(key, {})
        waiting[edit] = None
        try:
            async with self._turns.alone(key):
                if waiting[edit] is None:
                    work = self._update_waiting(resource, target.namespace, target.name, waiting)
                    await (work if len(waiting) == 1 else _to_the_end(work))
            outcome = waiting[edit]
        finally:
            del waiting[edit]
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
        if isinstance(outcome, Written):
            return outcome
        raise outcome or status.modified(resource.kind, target.name)

    async def _update_waiting(
        self, resource: Resource, namespace: str, name: str, waiting: dict[Edit, Outcome | None]
    ) -> None:
        """Carry out what waits, from the first on, and note the outcomes."""
        alone = self._admission.allocates(resource.kind.kind) or (
            self._quotas is not None
            and resource.kind.kind in CHANGING
            and self._quotas.watch(namespace, resource.kind)
        )
        # What webhooks and policies see must be revisions that clients can know.
        limit = 1 if alone or self._admission.active else MAX_TOGETHER
        # Those in another version of a custom kind have their own turn.
        left = [edit for edit, outcome in waiting.items() if outcome is None]
        batch = [edit for edit in left if edit.context.resource is resource][:limit]
        if any(edit.context.fence is not None for edit in batch):
            batch = batch[:1]  # each stands or falls with its own author's term
        outcomes: dict[Edit, Outcome] | None = None
        for _ in range(MAX_ATTEMPTS):
            item = resource.cache.get(namespace, name)
            if item is None:
                outcomes = {edit: status.not_found(resource.kind, name) for edit in batch}
            else:
                outcomes = await self._update_all(resource, item, batch)
            if outcomes is not None:
                break
        for edit in batch:
            if outcomes is None:
                waiting[edit] = status.modified(resource.kind, name)
            elif edit in outcomes and edit in waiting:
                waiting[edit] = outcomes[edit]

    async def _update_all(
        self, resource: Resource, item: Item, batch: Sequence[Edit]
    ) -> dict[Edit, Outcome] | None:
        """One attempt: each edit on what the one before it made, then one commit.

        None where the object changed meanwhile. Edits without an outcome have their turn later.
        """
        outcomes: dict[Edit, Outcome] = {}
        taken: list[Edit] = []
        last: bytes | None = None
        before = old = await resource.load(item.data)
        owners = item.owners
        for edit in batch:
            edit.context.owners = owners
            try:
                new = await edited(edit, old, self._admission)
                value = await resource.dump(new, edit.context.owners)
            except StatusError as refused:
                outcomes[edit] = refused
                continue
            except Exception:
                if edit is batch[0]:
                    raise
                continue  # its own turn will show what is wrong with it
            if edit.context.dry_run:
                outcomes[edit] = Written(splice(value, item.revision), item.revision)
                continue
            taken.append(edit)
            cleared = bool(item.owners) and not edit.context.owners
            if last is None and not cleared and splice(value, item.revision) == item.data:
                continue
            last, old, owners = value, new, edit.context.owners
            if is_finished(new):
                break
            # No client knows this revision: who insists on one was not the first.
            old.metadata.resourceVersion = f"{item.revision}+{len(taken)}"
        written = await self._commit_update(item, before, old, last, taken)
        if written is None:
            return None
        return outcomes | dict.fromkeys(taken, written)

    async def _commit_update(
        self, item: Item, before: Any, new: Any, value: bytes | None, taken: Sequence[Edit]
    ) -> Written | None:
        if value is None:
            return Written(item.data, item.revision)
        context = taken[0].context
        if is_finished(new):
            return await self._erase(context, item, before, value)
        guards = [Guard(item.key, item.revision), *context.guards]
        ops = [Put(item.key, value), *context.ops]
        if context.resource.kind.kind in CHANGING:
            forced = taken[0].subresource in ("status", "binding")
            outcome = await self.commits.charged(context, guards, ops, before, new, forced=forced)
        else:
            outcome = await self.commits.commit(guards, ops, context.fence)
        if isinstance(outcome, Conflict):
            return None
        return Written(splice(value, outcome.revision), outcome.revision)

    # -- delete --------------------------------------------------------------------------------------

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
        async with self._turns.alone(key):
            for _ in range(MAX_ATTEMPTS):
                item = resource.cache.get(namespace, name)
                if item is None:
                    raise status.not_found(resource.kind, name)
                old = await resource.load(item.data)
                check_meant(resource.kind, old, uid, revision)
                await self._admission.validate(Attributes("delete", "", namespace, context, None, old))
                new = mark_deleted(resource.kind, old, context.now, grace_s, propagation)
                written = await self._commit_delete(context, item, old, new)
                if written is not None:
                    return written
        raise status.modified(resource.kind, name)

    async def _commit_delete(self, context: Context, item: Item, old: Any, new: Any) -> Written | None:
        finished = is_finished(new)
        # What goes at once is told of as it was, but for what has grace: a pod says when it went.
        shows_mark = not finished or context.resource.kind.grace_period_s is not None
        value = await context.resource.dump(new if shows_mark else old, item.owners)
        if context.dry_run:
            return Written(splice(value, item.revision), item.revision, finished)
        if finished:
            return await self._erase(context, item, old, value)
        if splice(value, item.revision) == item.data:
            return Written(item.data, item.revision)
        guards = [Guard(item.key, item.revision)]
        outcome = await self.commits.commit(guards, [Put(item.key, value)], context.fence)
        if isinstance(outcome, Conflict):
            return None
        return Written(splice(value, outcome.revision), outcome.revision)

    async def _erase(self, context: Context, item: Item, old: Any, value: bytes) -> Written | None:
        """Take the object out of the store, with what was allocated for it; None where it changed."""
        context.guards.clear()
        context.ops.clear()
        self._admission.erase(Attributes("erase", "", item.namespace, context, None, old))
        guards = [Guard(item.key, item.revision), *context.guards]
        ops: list[Op] = [Delete(item.key), *context.ops]
        outcome = await self.commits.charged(context, guards, ops, old, None, forced=True)
        if isinstance(outcome, Conflict):
            return None
        return Written(splice(value, outcome.revision), outcome.revision, deleted=True)


class _Taken(Exception):
    """Another writer took what was allocated for an object that is being created."""


async def _to_the_end(work: Any) -> None:
    """Await `work`, which others wait for as well: who is cancelled meanwhile leaves when it is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.cancelled():
            await asyncio.wait([task])
        raise
