"""A list and a watch of one kind, kept in a cache and shared by all who ask."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, Generic, TypeVar

import msgspec

from sampan.base.clock import Clock
from sampan.client.cache import Cache, Index, Key, key_of
from sampan.client.client import BOOKMARK, DELETED, Client, WatchEvent
from sampan.client.errors import ApiError, is_gone
from sampan.client.resources import Partial, Resource, resource_of

T = TypeVar("T")
_Id = tuple[str, str, Any]
Handler = Callable[[T | None, T | None], None]

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MOST_S: Final = 30.0
# After so many events others get their turn of the event loop.
EVENTS_AT_ONCE: Final = 64
LIST_PAGE: Final = 0  # one answer: an in-process list is cheap, and pages pin an old revision

_FAILED: Final = "a handler of changes to %s failed"
_EXPECTED: Final = (ApiError, ConnectionError, TimeoutError)

_log = logging.getLogger(__name__)


class Informer(Generic[T]):
    """Keeps `cache` as the server has it.

    Handlers get `(old, new)` for each change, in the server's order: old is None for what is new, new is None
    for what went away. They are plain functions, must be quick, and must not raise (what they raise is
    logged). An informer may be run, cancelled and run again; it then goes on where it was.
    """

    def __init__(
        self,
        client: Client,
        kind: type[T] | Resource[T],
        clock: Clock,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Index[T]] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.resource = resource_of(kind)
        self.cache: Cache[T] = Cache(indexes)
        self.revision = 0
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._chance = chance or random.Random()
        self._handlers: list[Handler[T]] = []
        self._position = ""
        self._failures = 0
        self._synced = asyncio.Event()
        self._order = itertools.count()
        self._awaiting_revision: list[tuple[int, int, asyncio.Future[None]]] = []
        self._awaiting_removal: dict[Key, list[tuple[str, asyncio.Future[None]]]] = {}

    def on_change(self, handler: Handler[T]) -> None:
        """Call `handler(old, new)` from now on; it first gets what is already known, as new."""
        self._handlers.append(handler)
        for obj in self.cache.items():
            try:
                handler(None, obj)
            except Exception:
                _log.exception(_FAILED, self.resource.plural)

    async def synced(self) -> None:
        """Return once the first list is in the cache and its handlers were called."""
        await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        return self._synced.is_set()

    async def run(self) -> None:
        """List and watch until cancelled. Every failure is retried with back-off; 410 lists again."""
        while True:
            try:
                if not self._position:
                    await self._list()
                await self._watch()
            except Exception as error:  # whatever it is: who has no informer any more is blind for good
                if is_gone(error):
                    self._position = ""
                    if not self._failures:
                        self._failures = 1
                        continue
                elif not isinstance(error, _EXPECTED):
                    self._position = ""  # an event that we cannot take must not be skipped: read everything
                unexpected = None if isinstance(error, (*_EXPECTED, msgspec.MsgspecError)) else error
                _log.warning(
                    "watching %s failed and is tried again: %s",
                    self.resource.plural,
                    error,
                    exc_info=unexpected,
                )
                self._failures += 1
                await self._clock.sleep(self._backoff_s())

    def seen(self, revision: int) -> bool:
        """Whether the cache holds everything up to that resourceVersion."""
        return self.revision >= revision

    async def until_seen(self, revision: int) -> None:
        """Return once the cache holds everything up to that resourceVersion."""
        if self.seen(revision):
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._awaiting_revision, (revision, next(self._order), done))
        await done

    def is_removed(self, key: Key, uid: str) -> bool:
        """Whether the cache knows that the object is gone, or on its way out."""
        held: Any = self.cache.get(*key)
        return held is None or held.metadata.uid != uid or held.metadata.deletionTimestamp is not None

    async def until_removed(self, key: Key, uid: str) -> None:
        """Return once `is_removed`."""
        if self.is_removed(key, uid):
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._awaiting_removal.setdefault(key, [])
        entry = (uid, done)
        waiting.append(entry)
        try:
            await done
        finally:
            with suppress(ValueError):
                waiting.remove(entry)
            if not waiting and self._awaiting_removal.get(key) is waiting:
                del self._awaiting_removal[key]

    def _backoff_s(self) -> float:
        ceiling = min(BACKOFF_FIRST_S * 2.0 ** min(self._failures, 16), BACKOFF_MOST_S)
        return ceiling * (0.5 + self._chance.random() / 2)

    async def _list(self) -> None:
        listed = await self._client.list(
            self.resource, self._namespace, labels=self._labels, fields=self._fields, limit=LIST_PAGE
        )
        present = {key_of(obj) for obj in listed.items}
        changes: list[tuple[T | None, T | None]] = []
        for gone in [key for key in self.cache.keys() if key not in present]:  # noqa: SIM118 - not a dict
            changes.append((self.cache.remove(gone), None))
        for obj in listed.items:
            changes += self._replace(obj)
        self._position = listed.resource_version
        self._failures = 0
        self._reached(listed.resource_version)
        for old, new in changes:
            self._tell(old, new)
        for key in list(self._awaiting_removal):
            self._settle_removal(key)
        self._synced.set()

    def _replace(self, obj: T) -> list[tuple[T | None, T | None]]:
        old = self.cache.get(*key_of(obj))
        if old is not None and _version(old) == _version(obj) and _uid(old) == _uid(obj):
            return []
        self.cache.put(obj, self._clock.now())
        if old is not None and _uid(old) != _uid(obj):
            return [(old, None), (None, obj)]  # deleted and made anew while nobody watched
        return [(old, obj)]

    async def _watch(self) -> None:
        batches = self._client.watch_together(
            self.resource,
            self._namespace,
            resource_version=self._position,
            labels=self._labels,
            fields=self._fields,
        )
        began_s, count = self._clock.monotonic_s(), 0
        async with aclosing(batches):
            async for events in batches:
                for event in events:
                    count += 1
                    self._failures = 0
                    self._take(event)
                    if count % EVENTS_AT_ONCE == 0:
                        await asyncio.sleep(0)  # a full stream never waits by itself
        if not count and self._clock.monotonic_s() - began_s < 1.0:
            # A server that ends every watch at once must not be asked in a tight loop.
            self._failures += 1
            await self._clock.sleep(self._backoff_s())

    def _take(self, event: WatchEvent[T]) -> None:
        if event.type == BOOKMARK:
            self._position = event.resource_version or self._position
            self._reached(event.resource_version)
            return
        obj = event.object
        key = key_of(obj)
        old: T | None
        if event.type == DELETED:
            # Handlers see the object as it was when it went, not as it was when we last heard of it.
            old, new = obj if self.cache.remove(key) is not None else None, None
        else:
            old, new = self.cache.put(obj, self._clock.now()), obj
        self._position = event.resource_version or self._position
        if old is not None and new is not None and _uid(old) != _uid(new):
            self._tell(old, None)
            old = None
        if old is not None or new is not None:
            self._tell(old, new)
        self._reached(event.resource_version)
        if self._awaiting_removal:
            self._settle_removal(key)

    def _reached(self, version: str) -> None:
        if not version.isdigit():
            return
        self.revision = max(self.revision, int(version))
        waiting = self._awaiting_revision
        while waiting and waiting[0][0] <= self.revision:
            _, _, done = heapq.heappop(waiting)
            if not done.done():
                done.set_result(None)

    def _settle_removal(self, key: Key) -> None:
        for uid, done in self._awaiting_removal.get(key, ()):
            if not done.done() and self.is_removed(key, uid):
                done.set_result(None)

    def _tell(self, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                _log.exception(_FAILED, self.resource.plural)


def _version(obj: Any) -> str:
    return obj.metadata.resourceVersion or ""


def _uid(obj: Any) -> str:
    return obj.metadata.uid or ""


class SharedInformers:
    """One informer for each kind, whoever asks first."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self._clock = clock
        self._informers: dict[_Id, Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[_Id, asyncio.Task[None]] = {}

    def of(self, kind: type[T] | Resource[T]) -> Informer[T]:
        """The shared informer for all objects of `kind`; it starts at once where `run` is running.

        Who asks for `Partial` objects gets whole ones where somebody asked for those before.
        """
        resource = resource_of(kind)
        informer = self.find(resource)
        if informer is None:
            informer = self._informers[_id(resource)] = Informer(self.client, resource, self._clock)
            self._start(_id(resource), informer)
        return informer

    def find(self, resource: Resource[Any]) -> Informer[Any] | None:
        """The informer for that resource, if anybody has asked for one."""
        exact = self._informers.get(_id(resource))
        if exact is None and resource.type is Partial:
            where = (resource.api_version, resource.plural)
            return next((i for key, i in self._informers.items() if key[:2] == where), None)
        return exact

    def drop(self, resource: Resource[Any]) -> None:
        """Stop informing of a resource that is no longer served."""
        self._informers.pop(_id(resource), None)
        task = self._running.pop(_id(resource), None)
        if task is not None:
            task.cancel()

    async def run(self) -> None:
        """Run every informer, also those asked for later, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for key, informer in self._informers.items():
                    self._start(key, informer)
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            self._running.clear()

    async def synced(self) -> None:
        """Return once every informer asked for so far is synced."""
        for informer in list(self._informers.values()):
            await informer.synced()

    def _start(self, key: _Id, informer: Informer[Any]) -> None:
        if self._tasks is not None and key not in self._running:
            self._running[key] = self._tasks.create_task(informer.run(), name=f"informer {key[1]}")


def _id(resource: Resource[Any]) -> _Id:
    return resource.api_version, resource.plural, resource.type
