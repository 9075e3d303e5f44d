"""Handing changes on to those who follow a store: in order, without gaps, never without a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from sampan.base.errors import SampanError
from sampan.store.backend import Batch, Change, Compacted, KeyRange
from sampan.store.index import Index, Row

# How many changes wait for one reader before it is cut off with Compacted.
MAX_UNREAD_CHANGES = 10_000
# A reader whose keys rest hears of the store's revision whenever it has moved this far.
PROGRESS_REVISIONS = 1_000
# How many revisions one step of catching up reads before other tasks get their turn.
REPLAY_STEP_REVISIONS = 256
# How many directories' readers are remembered before the memory is cleared.
MAX_DIRECTORIES = 4_096

Replay = Callable[[KeyRange, int, int], list[Change]]


class Subscription:
    """One reader's unread changes."""

    def __init__(self, keys: KeyRange, hub: Hub) -> None:
        self.keys = keys
        self._hub = hub
        self._unread: list[Change] = []
        self._told = hub.index.revision
        self._progress = False
        self._error: SampanError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def next(self) -> Batch:
        """Whatever came since the last call, as soon as there is something. Raises Compacted."""
        while not self._unread and not self._progress:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        changes, self._unread = tuple(self._unread), []
        self._progress = False
        # The hub hands changes over before the revision is visible, so nothing up to it is missing here.
        self._told = self._hub.index.revision
        return Batch(self._told, changes)

    def push(self, change: Change) -> bool:
        """Add a change; False where there is no room, and the reader has lost its place."""
        if len(self._unread) >= self._hub.max_unread:
            self._unread = []
            self._progress = False
            self.fail(Compacted(self._hub.index.floor))
            return False
        self._unread.append(change)
        return True

    def remind(self, revision: int) -> None:
        """Have the reader told of a revision that it has not heard of."""
        if self._told < revision:
            self._progress = True
            self.wake()

    def fail(self, error: SampanError) -> None:
        """Raise `error` once what is unread has been read."""
        self._error = error
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Hub:
    """All the readers of one store. Used from its event loop only."""

    def __init__(self, index: Index, *, max_unread: int = MAX_UNREAD_CHANGES) -> None:
        self.index = index
        self.max_unread = max_unread
        self._readers: dict[tuple[str, str], dict[Subscription, None]] = {}
        # Which of the ranges can hold keys of a directory: spares every change a look at every range.
        self._near: dict[str, tuple[tuple[str, str], ...]] = {}
        self._next_progress = 0
        self._closed: SampanError | None = None

    def subscribe(self, keys: KeyRange) -> Subscription:
        """A reader of all that is published from now on."""
        subscription = Subscription(keys, self)
        if self._closed is not None:
            subscription.fail(self._closed)
        self._readers.setdefault((keys.start, keys.end), {})[subscription] = None
        self._near.clear()
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a reader; one that is forgotten already is no error."""
        place = (subscription.keys.start, subscription.keys.end)
        readers = self._readers.get(place)
        if readers is not None:
            readers.pop(subscription, None)
            if not readers:
                del self._readers[place]
                self._near.clear()

    def publish(self, rows: Sequence[Row], value_at: Callable[[int], bytes | None]) -> None:
        """Hand on what the index has just taken in; `value_at` gives the value at a place."""
        if not self._readers:
            return
        woken: dict[Subscription, None] = {}
        for row in rows:
            change: Change | None = None
            for ends in self._ranges_near(row.key):
                if ends[0] <= row.key < ends[1]:
                    if change is None:
                        change = to_change(row, value_at)
                    for reader in tuple(self._readers.get(ends, ())):
                        if reader.push(change):
                            woken[reader] = None
                        else:
                            self.drop(reader)
        for reader in woken:
            reader.wake()
        self._remind_the_quiet()

    def close(self, error: SampanError) -> None:
        """End every reader with `error`, after what it has not read yet."""
        self._closed = error
        for readers in self._readers.values():
            for reader in readers:
                reader.fail(error)

    def cut(self, error: SampanError) -> None:
        """End every present reader with `error`; later ones start afresh."""
        readers = [reader for group in self._readers.values() for reader in group]
        for reader in readers:
            reader.fail(error)
            self.drop(reader)

    def _ranges_near(self, key: str) -> tuple[tuple[str, str], ...]:
        directory = key[: key.rfind("/") + 1]
        near = self._near.get(directory)
        if near is None:
            if directory:
                inside = KeyRange.prefix(directory)
                near = tuple(r for r in self._readers if r[0] < inside.end and inside.start < r[1])
            else:
                near = tuple(self._readers)
            if len(self._near) >= MAX_DIRECTORIES:
                self._near.clear()
            self._near[directory] = near
        return near

    def _remind_the_quiet(self) -> None:
        revision = self.index.revision
        if revision < self._next_progress:
            return
        if self._next_progress:
            for readers in self._readers.values():
                for reader in readers:
                    reader.remind(revision)
        self._next_progress = revision + PROGRESS_REVISIONS


def to_change(row: Row, value_at: Callable[[int], bytes | None]) -> Change:
    """The change that a row stands for."""
    previous = value_at(row.previous) if row.previous else None
    return Change(row.key, row.revision, row.create_revision, row.value, previous)


async def follow(hub: Hub, keys: KeyRange, after: int, replay: Replay) -> AsyncIterator[Batch]:
    """Store.changes for a store that can replay its log.

    `replay` gives the changes of a range after one revision, up to and with another. The last stretch is
    read and the reader subscribed with no turn of the event loop in between, so nothing can slip past.
    Raises Compacted, FutureRevision.
    """
    index = hub.index
    while True:
        index.check(after)
        upto = index.revision
        if upto - after <= REPLAY_STEP_REVISIONS:
            break
        upto = after + REPLAY_STEP_REVISIONS
        changes = replay(keys, after, upto)
        after = upto
        if changes:
            yield Batch(upto, tuple(changes))
        await turn()
    changes = replay(keys, after, upto) if upto > after else []
    subscription = hub.subscribe(keys)
    try:
        if changes:
            yield Batch(upto, tuple(changes))
        while True:
            yield await subscription.next()
    finally:
        hub.drop(subscription)


async def turn() -> None:
    """Let whatever else is ready on the event loop run first."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()
