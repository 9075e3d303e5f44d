"""A store whose values are encrypted where they lie, and plain to whoever asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from sampan.store.backend import (
    Batch,
    Change,
    Committed,
    Conflict,
    Entry,
    Guard,
    KeyRange,
    Op,
    Page,
    Put,
    Store,
)
from sampan.store.items import ROOT
from sampan.store.sealing import Ring

# Values read at once while old ones are rewritten.
_REWRITE_PAGE: Final = 500
# The group of what has none, in keys.
_CORE: Final = "core"


class Seals(msgspec.Struct, frozen=True):
    """Which values are sealed by what: the first rule that fits a resource is its own.

    A rule names resources as `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group) or `*.*`.
    """

    rules: tuple[tuple[tuple[str, ...], Ring], ...] = ()

    def ring(self, directory: str) -> Ring | None:
        """The ring for keys below `/registry/GROUP/PLURAL/`; None where they are not sealed."""
        group, _, plural = directory[len(ROOT) :].strip("/").partition("/")
        group = "" if group == _CORE else group
        names = {f"{plural}.{group}" if group else plural, f"*.{group}", "*.*"}
        return next((ring for resources, ring in self.rules if not names.isdisjoint(resources)), None)


class SealedStore:
    """The Store Protocol over another store. `seals` may be replaced at any time."""

    def __init__(self, store: Store, seals: Seals) -> None:
        self._store = store
        self._seals = seals
        self._rings: dict[str, Ring | None] = {}

    @property
    def commits_at_once(self) -> bool:
        """See Store.commits_at_once."""
        return self._store.commits_at_once

    @property
    def seals(self) -> Seals:
        return self._seals

    @seals.setter
    def seals(self, seals: Seals) -> None:
        self._seals = seals
        self._rings.clear()

    async def read(self, keys: KeyRange, at: int | None = None, limit: int = 0) -> Page:
        """See Store.read. Raises Unsealable too."""
        page = await self._store.read(keys, at, limit)
        return Page(tuple(map(self._opened, page.entries)), page.revision, page.remaining)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        """See Store.commit."""
        outcome = await self._store.commit(guards, [self._sealed(op) for op in ops])
        if isinstance(outcome, Committed):
            return outcome
        return Conflict(outcome.revision, tuple(map(self._opened, outcome.current)))

    async def changes(self, keys: KeyRange, after: int) -> AsyncIterator[Batch]:
        """See Store.changes. Raises Unsealable too."""
        async for batch in self._store.changes(keys, after):
            yield Batch(batch.revision, tuple(map(self._told, batch.changes)))

    async def compact(self, upto: int) -> None:
        """See Store.compact."""
        await self._store.compact(upto)

    async def close(self) -> None:
        """See Store.close."""
        await self._store.close()

    async def rewrite(self) -> int:
        """Seal anew whatever the first provider of its resource did not seal; returns how many that were.

        What changes meanwhile is sealed by its own writer, and left alone here.
        """
        count, start, whole = 0, ROOT, KeyRange.prefix(ROOT)
        while True:
            page = await self._store.read(KeyRange(start, whole.end), limit=_REWRITE_PAGE)
            stale = []
            for entry in page.entries:
                ring = self._ring(entry.key)
                if ring is not None and not ring.is_current(entry.value):
                    plain = ring.open(entry.key, entry.value)
                    put = Put(entry.key, ring.seal(entry.key, plain))
                    stale.append(self._store.commit([Guard(entry.key, entry.mod_revision)], [put]))
            outcomes = await asyncio.gather(*stale)
            count += sum(isinstance(outcome, Committed) for outcome in outcomes)
            if not page.remaining:
                return count
            start = page.entries[-1].key + "\0"

    def _ring(self, key: str) -> Ring | None:
        directory = key[: key.find("/", key.find("/", len(ROOT)) + 1) + 1]
        try:
            return self._rings[directory]
        except KeyError:
            ring = self._rings[directory] = self._seals.ring(directory)
            return ring

    def _sealed(self, op: Op) -> Op:
        ring = self._ring(op.key) if isinstance(op, Put) else None
        if ring is None or not isinstance(op, Put):
            return op
        return Put(op.key, ring.seal(op.key, op.value))

    def _opened(self, entry: Entry) -> Entry:
        ring = self._ring(entry.key)
        if ring is None:
            return entry
        plain = ring.open(entry.key, entry.value)
        return Entry(entry.key, plain, entry.mod_revision, entry.create_revision)

    def _told(self, change: Change) -> Change:
        ring = self._ring(change.key)
        if ring is None:
            return change
        value, previous = change.value, change.previous
        return Change(
            change.key,
            change.revision,
            change.create_revision,
            None if value is None else ring.open(change.key, value),
            None if previous is None else ring.open(change.key, previous),
        )
