"""Carries plans out: the one place where controllers change the cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.cache import Key
from sampan.client.client import Client, delete_options
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.effects import (
    Apply,
    Create,
    Effect,
    Emit,
    Evict,
    Patch,
    Plan,
    Ref,
    Remove,
    RemoveAll,
    Update,
    UpdateStatus,
)
from sampan.client.errors import ApiError, is_already_exists, is_lost, is_namespace_terminating, is_not_found
from sampan.client.events import Recorder
from sampan.client.informer import SharedInformers
from sampan.client.resources import Resource, resource_of
from sampan.schema import api

AT_ONCE_MOST: Final = 64
SETTLE_MOST_S: Final = 30.0

_log = logging.getLogger(__name__)


class Write(msgspec.Struct, frozen=True):
    """Something we changed: the cache must show this revision, or no longer show this uid."""

    resource: Resource[Any]
    key: Key
    revision: int = 0
    removed_uid: str = ""


class Failure(msgspec.Struct, frozen=True):
    """The effect that failed, and why."""

    effect: Effect
    error: Exception


class Outcome(msgspec.Struct, frozen=True):
    """What was written, up to the first failure if there was one."""

    writes: tuple[Write, ...] = ()
    failure: Failure | None = None


class Executor:
    """Runs plans through one client; knows through the shared informers when its writes have come back."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        informers: SharedInformers | None = None,
        recorder: Recorder | None = None,
        discovery: Discovery | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._informers = informers
        self._recorder = recorder
        self._discovery = discovery or Discovery(client)

    async def carry_out(self, plan: Plan) -> Outcome:
        """Do what the plan asks, in order, until something fails.

        Neighbouring effects of one class on different objects run at once. Creates start slowly (1, 2, 4 …),
        so that a quota that forbids the first is not asked a thousand times.
        """
        writes: list[Write] = []
        for group in _groups(plan.effects):
            size = 1 if isinstance(group[0], Create) else AT_ONCE_MOST
            while group:
                batch, group = group[:size], group[size:]
                size = min(size * 2, AT_ONCE_MOST)
                failure = await self._batch(batch, writes)
                if failure is not None:
                    return Outcome(tuple(writes), failure)
        return Outcome(tuple(writes))

    async def settled(self, outcome: Outcome) -> bool:
        """Return once the informers' caches show everything that was written; False after 30 seconds."""
        waits = list(self._waits(outcome.writes))
        if not waits:
            return True
        waiting = asyncio.gather(*waits)
        # Whoever stops a worker cancels this, and nobody asks any more how it ended.
        waiting.add_done_callback(_asked)
        timer = asyncio.ensure_future(self._clock.sleep(SETTLE_MOST_S))
        try:
            await asyncio.wait((waiting, timer), return_when=asyncio.FIRST_COMPLETED)
            return waiting.done()
        finally:
            for task in (waiting, timer):
                task.cancel()

    def _waits(self, writes: Sequence[Write]) -> Iterator[Awaitable[None]]:
        latest: dict[tuple[str, str], Write] = {}
        for write in writes:
            informer = self._informers.find(write.resource) if self._informers is not None else None
            if informer is None:
                continue
            if write.removed_uid and not informer.is_removed(write.key, write.removed_uid):
                yield informer.until_removed(write.key, write.removed_uid)
            known = latest.get(write.resource.id)
            if write.revision > (known.revision if known is not None else informer.revision):
                latest[write.resource.id] = write
        for write in latest.values():
            informer = self._informers.find(write.resource) if self._informers is not None else None
            if informer is not None:
                yield informer.until_seen(write.revision)

    async def _batch(self, batch: Sequence[Effect], writes: list[Write]) -> Failure | None:
        if len(batch) == 1:
            return await self._attempt(batch[0], writes)
        failures = await asyncio.gather(*(self._attempt(effect, writes) for effect in batch))
        return next((failure for failure in failures if failure is not None), None)

    async def _attempt(self, effect: Effect, writes: list[Write]) -> Failure | None:
        try:
            write = await _PERFORM[type(effect)](self, effect)
        except (ApiError, ConnectionError, TimeoutError, UnknownKind, msgspec.MsgspecError) as error:
            failed = getattr(effect, "failed", None)
            for emit in failed if isinstance(failed, tuple) else (failed,):
                self._announce(emit, error=str(error))
            return Failure(effect, error)
        if write is not None:
            writes.append(write)
        return None

    def _announce(self, emit: Emit | None, **words: str) -> None:
        if emit is None or self._recorder is None:
            return
        message = emit.message
        for word, value in words.items():
            message = message.replace("{" + word + "}", value)
        self._recorder.emit(msgspec.structs.replace(emit, message=message))

    async def _create(self, effect: Create) -> Write | None:
        try:
            made = await self._client.create(effect.obj)
        except ApiError as error:
            if is_namespace_terminating(error) or (effect.expect_exists and is_already_exists(error)):
                return None
            raise
        self._announce(effect.done, name=made.metadata.name)
        return _written(made)

    async def _update(self, effect: Update) -> Write | None:
        return _written(await self._client.update(effect.obj, subresource=effect.subresource))

    async def _update_status(self, effect: UpdateStatus) -> Write | None:
        return _written(await self._client.update_status(effect.obj))

    async def _patch(self, effect: Patch) -> Write | None:
        ref = effect.ref
        resource = await self._resource(ref)
        patched = await self._client.patch(
            resource, ref.name, ref.namespace, effect.patch, subresource=effect.subresource
        )
        return _written(patched, resource)

    async def _apply(self, effect: Apply) -> Write | None:
        return _written(
            await self._client.apply(
                effect.obj, effect.manager, force=effect.force, subresource=effect.subresource
            )
        )

    async def _remove(self, effect: Remove) -> Write | None:
        ref = effect.ref
        resource = await self._resource(ref)
        try:
            await self._client.delete(
                resource,
                ref.name,
                ref.namespace,
                uid=ref.uid,
                resource_version=ref.resource_version,
                propagation=effect.propagation,
                grace_s=effect.grace_s,
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
        else:
            self._announce(effect.done, name=ref.name)
        return Write(resource, (ref.namespace, ref.name), removed_uid=ref.uid) if ref.uid else None

    async def _remove_all(self, effect: RemoveAll) -> Write | None:
        resource = await self._discovery.resource(effect.api_version, effect.kind)
        if "deletecollection" in resource.verbs:
            await self._client.delete_all(resource, effect.namespace, propagation=effect.propagation)
            return None
        left = iter((await self._client.list(resource, effect.namespace)).items)

        async def remove() -> None:
            for obj in left:
                meta: Any = obj.metadata
                try:
                    await self._client.delete(
                        resource, meta.name, effect.namespace, uid=meta.uid, propagation=effect.propagation
                    )
                except ApiError as error:
                    if not is_lost(error):
                        raise

        await asyncio.gather(*(remove() for _ in range(AT_ONCE_MOST)))
        return None

    async def _evict(self, effect: Evict) -> Write | None:
        ref = effect.ref
        pods = resource_of(api.Pod)
        eviction = api.Eviction(
            apiVersion="policy/v1",
            kind="Eviction",
            metadata=api.ObjectMeta(name=ref.name, namespace=ref.namespace),
            deleteOptions=delete_options(ref.uid, ref.resource_version),
        )
        try:
            await self._client.post(pods.path(ref.namespace, ref.name, "eviction"), eviction, dict)
        except ApiError as error:
            if not is_not_found(error):
                raise
        return Write(pods, (ref.namespace, ref.name), removed_uid=ref.uid) if ref.uid else None

    async def _emit(self, effect: Emit) -> Write | None:
        if self._recorder is not None:
            self._recorder.emit(effect)
        return None

    async def _resource(self, ref: Ref) -> Resource[Any]:
        return await self._discovery.resource(ref.api_version, ref.kind)


_PERFORM: Final[dict[type[Effect], Callable[[Executor, Any], Awaitable[Write | None]]]] = {
    Apply: Executor._apply,
    Create: Executor._create,
    Emit: Executor._emit,
    Evict: Executor._evict,
    Patch: Executor._patch,
    Remove: Executor._remove,
    RemoveAll: Executor._remove_all,
    Update: Executor._update,
    UpdateStatus: Executor._update_status,
}


def _asked(ended: asyncio.Future[Any]) -> None:
    """Take note of how it ended, so that asyncio does not complain that nobody did."""
    if not ended.cancelled():
        ended.exception()


def _written(obj: Any, resource: Resource[Any] | None = None) -> Write:
    meta = obj.metadata
    version = meta.resourceVersion or ""
    return Write(
        resource or resource_of(type(obj)),
        (meta.namespace or "", meta.name or ""),
        revision=int(version) if version.isdigit() else 0,
    )


def _groups(effects: Sequence[Effect]) -> Iterator[list[Effect]]:
    """Runs of neighbours that may be done at the same time."""
    group: list[Effect] = []
    targets: set[Any] = set()
    for effect in effects:
        target = _target(effect)
        if group and (type(effect) is not type(group[0]) or target is None or target in targets):
            yield group
            group, targets = [], set()
        group.append(effect)
        targets.add(target)
    if group:
        yield group


def _target(effect: Effect) -> object:
    """What the effect changes; None where it must not run beside others."""
    if isinstance(effect, Create):
        return id(effect)
    if isinstance(effect, RemoveAll):
        return (effect.api_version, effect.kind, effect.namespace)
    if isinstance(effect, Patch | Remove | Evict):
        ref = effect.ref
        return (ref.api_version, ref.kind, ref.namespace, ref.name)
    return None
