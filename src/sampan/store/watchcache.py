"""Every object in memory as the bytes that clients get, fed by the store's own changes.

GET and LIST answer from here; every watcher of a change shares one encoding of it. The feed is ordered and
gap-free, so a reader that has waited for a revision (`reached`) sees every write up to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sampan.base.errors import SampanError
from sampan.store.audience import Audience, Pump, Watcher
from sampan.store.audiences import Audiences
from sampan.store.backend import Batch, Change, Compacted, KeyRange, Page, Store, StoreUnavailable
from sampan.store.items import (
    ADDED,
    DELETED,
    MODIFIED,
    ROOT,
    Event,
    Item,
    Match,
    Render,
    names_of,
    prefix_of,
    render_json,
)

# Events kept per kind for watches that resume from an older revision; older ones get 410 and list again.
HISTORY_EVENTS: Final = 20_000

_log = logging.getLogger(__name__)


class KindCache:
    """All objects of one kind, its recent events and its watchers."""

    def __init__(self, prefix: str, revision: int, pump: Pump | None = None) -> None:
        self.prefix = prefix
        self._pump = pump or Pump()
        self._namespaces: dict[str, dict[str, Item]] = {}
        self._history: deque[Event] = deque()
        # Every event after this revision is in the history.
        self._floor = revision
        # By namespace ("" for all).
        self._audiences: dict[str, Audiences] = {}
        self.count = 0
        # The revision of the last change of any of them.
        self.changed = revision

    def get(self, namespace: str, name: str) -> Item | None:
        names = self._namespaces.get(namespace)
        return names.get(name) if names is not None else None

    def items(self, namespace: str = "") -> list[Item]:
        """The objects of one namespace (or all), in key order."""
        if namespace:
            return self._sorted(namespace)
        found: list[Item] = []
        # The slash is a part of the key: "a-b/x" comes before "a/x".
        for each in sorted(self._namespaces, key=_with_slash):
            found.extend(self._sorted(each))
        return found

    def __iter__(self) -> Iterator[Item]:
        for names in self._namespaces.values():
            yield from names.values()

    def load(self, item: Item) -> None:
        """Put in an object without an event: what was there before the feed began."""
        self._namespaces.setdefault(item.namespace, {})[item.name] = item
        self.count += 1

    def reset(self, revision: int) -> None:
        """Forget everything and end every watch."""
        self._namespaces.clear()
        self._history.clear()
        self._floor = self.changed = revision
        self.count = 0
        for watcher in list(self.watchers()):
            watcher.expire()

    def apply(self, change: Change) -> None:
        """Take in a change and tell the watchers."""
        self.changed = change.revision
        if change.value is None:
            self._delete(change)
            return
        item = Item(change.key, change.value, change.revision, change.create_revision)
        names = self._namespaces.setdefault(item.namespace, {})
        previous = names.get(item.name)
        names[item.name] = item
        self.count += previous is None
        self._announce(Event(ADDED if previous is None else MODIFIED, item, previous))

    def watch(
        self, after: int | None, namespace: str = "", match: Match | None = None, render: Render = render_json
    ) -> Watcher:
        """A watcher of every event after revision `after` (None: from now on).

        Raises Compacted where the history does not reach back that far.
        """
        if after is not None and after < self._floor:
            raise Compacted(self._floor)
        audiences = self._audiences.get(namespace)
        if audiences is None:
            audiences = self._audiences[namespace] = Audiences()
        audience = audiences.get((match, render))
        if audience is None:
            audience = Audience(match, render, self._pump)
            audiences.add(audience)
        watcher = Watcher(self, namespace, audience)
        if after is not None:
            self._replay(watcher, after)
        audience.queued[watcher] = None
        return watcher

    def forget(self, watcher: Watcher) -> None:
        audience = watcher.audience
        audience.queued.pop(watcher, None)
        audiences = self._audiences.get(watcher.namespace)
        if audience.empty and audiences is not None:
            audiences.remove(audience)
            if not audiences:
                del self._audiences[watcher.namespace]

    def watchers(self) -> Iterator[Watcher]:
        for audiences in self._audiences.values():
            for audience in audiences:
                yield from audience.watchers()

    def _replay(self, watcher: Watcher, after: int) -> None:
        """Queue what has happened since: most resume from a short while ago, so look from the end."""
        missed: list[Event] = []
        for event in reversed(self._history):
            if event.revision <= after:
                break
            missed.append(event)
        for event in reversed(missed):
            if watcher.namespace in ("", event.item.namespace):
                watcher.audience.replay(event, watcher)
                event.forget_lines()

    def _delete(self, change: Change) -> None:
        namespace, name = names_of(change.key)
        names = self._namespaces.get(namespace, {})
        previous = names.pop(name, None)
        if not names:
            self._namespaces.pop(namespace, None)
        if previous is None or change.previous is None:
            return
        self.count -= 1
        last = Item(change.key, change.previous, change.revision, change.create_revision)
        self._announce(Event(DELETED, last, previous))

    def _announce(self, event: Event) -> None:
        self._history.append(event)
        if len(self._history) > HISTORY_EVENTS:
            self._floor = self._history.popleft().revision
        if not self._audiences:
            return
        within = event.item.namespace
        for namespace in ("", within) if within else ("",):
            audiences = self._audiences.get(namespace)
            if audiences is not None:
                for audience in audiences.concerned(event):
                    audience.offer(event)
        event.forget_lines()

    def _sorted(self, namespace: str) -> list[Item]:
        names = self._namespaces.get(namespace)
        if not names:
            return []
        return [names[name] for name in sorted(names)]


class WatchCache:
    """All kinds, and the task that feeds them from the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # One for all kinds: what it writes in one turn of the event loop is bounded.
        self._pump = Pump()
        self._kinds: dict[str, KindCache] = {}
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._feeder: asyncio.Task[None] | None = None
        self._failure: SampanError | None = None
        self.revision = 0
        # Called after each batch is in, with the batch: for what must follow changes at once (RBAC, tokens).
        self.on_batch: list[Callable[[Batch], None]] = []
        # Called where everything was loaded again, and batches were missed.
        self.on_reload: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Load everything, then follow."""
        await self._load()
        self._feeder = asyncio.create_task(self._feed(), name="watch cache feed")

    async def close(self) -> None:
        if self._feeder is not None:
            self._feeder.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._feeder
        self._fail(StoreUnavailable("the API server is shutting down"))
        for kind in self._kinds.values():
            for watcher in list(kind.watchers()):
                watcher.end()

    def kind(self, prefix: str) -> KindCache:
        """The cache of the kind stored under `prefix` (`/registry/core/pods/`)."""
        cache = self._kinds.get(prefix)
        if cache is None:
            cache = self._kinds[prefix] = KindCache(prefix, self.revision, self._pump)
        return cache

    def kinds(self) -> Iterable[tuple[str, KindCache]]:
        """Every kind's cache with its prefix."""
        return self._kinds.items()

    async def reached(self, revision: int) -> None:
        """Return once every change up to `revision` is in. Raises SampanError where none comes any more."""
        if revision <= self.revision:
            return
        if self._failure is not None:
            raise self._failure
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, arrived))
        await arrived

    def send_bookmarks(self) -> None:
        """Tell watchers that have heard of nothing for a while how far they have seen."""
        for kind in self._kinds.values():
            for watcher in list(kind.watchers()):
                if watcher.bookmark is not None and watcher.told() < self.revision:
                    watcher.push(watcher.bookmark(self.revision), self.revision)

    async def _load(self) -> None:
        self._fill(await self._store.read(KeyRange.prefix(ROOT)))

    def _fill(self, page: Page) -> None:
        """Begin anew with what the page holds: no watch can resume from before it."""
        self.revision = page.revision
        for cache in self._kinds.values():
            cache.reset(page.revision)
        for entry in page.entries:
            cache = self.kind(prefix_of(entry.key))
            cache.load(Item(entry.key, entry.value, entry.mod_revision, entry.create_revision))
        self._release(page.revision)

    async def _feed(self) -> None:
        while True:
            try:
                async for batch in self._store.changes(KeyRange.prefix(ROOT), self.revision):
                    self._apply(batch)
                return
            except Compacted:
                # The feed fell behind what the store keeps: start over, and let every client list again.
                await self._load()
                for begin_anew in self.on_reload:
                    begin_anew()
            except SampanError as problem:
                self._fail(problem)
                return
            except Exception as problem:
                _log.exception("the watch cache's feed ended")
                self._fail(StoreUnavailable(f"the watch cache's feed ended: {problem}"))
                return

    @property
    def failed(self) -> bool:
        """Whether the feed has ended for good: nothing that is read here is current any more."""
        return self._failure is not None

    def _fail(self, problem: SampanError) -> None:
        """Nothing comes in any more: those who wait for a revision would wait for ever."""
        self._failure = self._failure or problem
        while self._waiting:
            _, arrived = self._waiting.popleft()
            if not arrived.done():
                arrived.set_exception(problem)

    def _apply(self, batch: Batch) -> None:
        for change in batch.changes:
            self.kind(prefix_of(change.key)).apply(change)
        self.revision = batch.revision
        for follow in self.on_batch:
            follow(batch)
        if self._waiting:
            self._release(batch.revision)

    def _release(self, revision: int) -> None:
        still: deque[tuple[int, asyncio.Future[None]]] = deque()
        for wanted, arrived in self._waiting:
            if wanted > revision:
                still.append((wanted, arrived))
            elif not arrived.done():
                arrived.set_result(None)
        self._waiting = still


def _with_slash(namespace: str) -> str:
    return namespace + "/"
