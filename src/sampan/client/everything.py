"""The metadata of every object that the server serves, of whatever kind: who owns it, and where it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.cache import NAMESPACE, Cache
from sampan.client.client import Client
from sampan.client.discovery import Discovery, Served
from sampan.client.errors import ApiError
from sampan.client.informer import Informer, SharedInformers
from sampan.client.resources import Partial, Resource

RETRY_S: Final = 5.0
# Kinds that come and go too often to be owned or own anything, as in kube-controller-manager.
IGNORED: Final = frozenset({("", "events"), ("events.k8s.io", "events")})
_TELL_OF_KINDS: Final = frozenset({"CustomResourceDefinition", "APIService"})

Handler = Callable[[Resource[Any], Any, Any], None]
_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """An object with the resource it is one of."""

    resource: Resource[Any]
    obj: Any


def _belongs_as_before(old: Any, new: Any) -> bool:
    return bool(
        old.uid == new.uid
        and old.deletionTimestamp == new.deletionTimestamp
        and old.ownerReferences == new.ownerReferences
        and old.finalizers == new.finalizers
    )


class Everything:
    """Informers for every kind, custom ones included; new kinds join when their definition is established.

    Objects are structs of their type where somebody else informs of the kind already, `Partial` otherwise.
    """

    def __init__(self, client: Client, informers: SharedInformers, clock: Clock) -> None:
        self.discovery = Discovery(client)
        self.failed: tuple[str, ...] = ()
        self._informers = informers
        self._clock = clock
        self._handlers: list[Handler] = []
        self._resources: dict[tuple[str, str], Resource[Any]] = {}
        self._by_kind: dict[tuple[str, str], Resource[Any]] = {}
        self._held: dict[tuple[str, str], Informer[Any]] = {}
        self._entries: dict[str, Entry] = {}
        self._dependents: dict[str, dict[str, Entry]] = {}
        self._stale = asyncio.Event()
        self._known = asyncio.Event()

    def on_change(self, handler: Handler) -> None:
        """Call `handler(resource, old, new)` from now on.

        It is told of what comes, goes, or changes its owners, its finalizers or its deletion: no more than
        that concerns those who care for every kind, and most changes are heartbeats and statuses.
        """
        self._handlers.append(handler)

    def by_uid(self, uid: str) -> Entry | None:
        return self._entries.get(uid)

    def dependents(self, uid: str) -> list[Entry]:
        """What names the object with this uid as an owner."""
        return list(self._dependents.get(uid, {}).values())

    def in_namespace(self, namespace: str) -> list[Entry]:
        """Every namespaced object in there (without events), of kinds that are watched."""
        return [
            Entry(self._resources[key], obj)
            for key, informer in self._held.items()
            if self._resources[key].namespaced
            for obj in informer.cache.by_index(NAMESPACE, namespace)
        ]

    def of(self, resource: Resource[Any]) -> Cache[Any] | None:
        """The cache of a watched resource."""
        informer = self._held.get(resource.id)
        return informer.cache if informer is not None else None

    @property
    def resources(self) -> tuple[Resource[Any], ...]:
        """What is watched."""
        return tuple(self._resources.values())

    def resource(self, api_version: str, kind: str) -> Resource[Any] | None:
        """The watched resource of that kind."""
        return self._by_kind.get((api_version, kind))

    async def run(self) -> None:
        """Follow what the server serves, until cancelled; the shared informers must be running too."""
        self._stale.set()
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                self.discovery.forget()
                self._adopt(await self.discovery.served())
            except Exception as error:
                unexpected = None if isinstance(error, ApiError | ConnectionError | TimeoutError) else error
                _log.warning("discovery failed and is tried again: %s", error, exc_info=unexpected)
                await self._clock.sleep(RETRY_S)
                self._stale.set()
                continue
            self._known.set()
            if self.failed:
                await self._clock.sleep(RETRY_S)
                self._stale.set()

    async def synced(self) -> None:
        """Return once discovery has succeeded and every kind it found is in the cache."""
        await self._known.wait()
        for informer in list(self._held.values()):
            await informer.synced()

    def _adopt(self, served: Served) -> None:
        self.failed = served.failed
        wanted = {resource.id: resource for resource in served.resources if resource.id not in IGNORED}
        for key, resource in list(self._resources.items()):
            # A kind whose group cannot be read now is kept: its objects have not gone away.
            if key not in wanted and resource.api_version not in served.failed:
                self._leave(key, resource)
        for key, resource in wanted.items():
            if key not in self._resources:
                self._join(key, resource)

    def _join(self, key: tuple[str, str], resource: Resource[Partial]) -> None:
        informer = self._informers.of(resource)
        self._resources[key] = self._by_kind[resource.api_version, resource.kind] = resource
        self._held[key] = informer
        informer.on_change(lambda old, new: self._take(key, old, new))

    def _leave(self, key: tuple[str, str], resource: Resource[Any]) -> None:
        informer = self._held.pop(key)
        for obj in informer.cache.items():
            self._take(key, obj, None)
        del self._resources[key]
        self._by_kind.pop((resource.api_version, resource.kind), None)
        if informer.resource.type is Partial:
            self._informers.drop(resource)

    def _take(self, key: tuple[str, str], old: Any | None, new: Any | None) -> None:
        resource = self._resources.get(key)
        if resource is None:
            return
        if resource.kind in _TELL_OF_KINDS:
            self._stale.set()
        if old is not None and new is not None and _belongs_as_before(old.metadata, new.metadata):
            self._index(Entry(resource, new), enter=True)
            return
        for obj, enter in ((old, False), (new, True)):
            if obj is not None:
                self._index(Entry(resource, obj), enter)
        for handler in self._handlers:
            handler(resource, old, new)

    def _index(self, entry: Entry, enter: bool) -> None:
        meta = entry.obj.metadata
        uid = meta.uid or ""
        if enter:
            self._entries[uid] = entry
        else:
            self._entries.pop(uid, None)
        for owner in meta.ownerReferences:
            if enter:
                self._dependents.setdefault(owner.uid, {})[uid] = entry
                continue
            held = self._dependents.get(owner.uid, {})
            held.pop(uid, None)
            if not held:
                self._dependents.pop(owner.uid, None)
