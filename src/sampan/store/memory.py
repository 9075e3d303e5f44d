"""A store that lives and dies with its process: for tests, and for clusters that need not outlive them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import Final

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
    StoreUnavailable,
)
from sampan.store.hub import MAX_UNREAD_CHANGES, Hub, follow, to_change, turn
from sampan.store.index import Draft, Index, Row, Version, place_after

_PLACE = attrgetter("place")


class MemoryStore:
    """The Store Protocol over dictionaries. Nothing is durable; a commit is done before it first waits."""

    commits_at_once: Final = True

    def __init__(self, *, max_unread_changes: int = MAX_UNREAD_CHANGES) -> None:
        self._index = Index()
        self._hub = Hub(self._index, max_unread=max_unread_changes)
        self._values: dict[int, bytes] = {}
        self._log: list[Row] = []
        self._closed = False

    async def read(self, keys: KeyRange, at: int | None = None, limit: int = 0) -> Page:
        """See Store.read."""
        self._check_open()
        found = self._index.find(keys, at, limit)
        entries = tuple(self._entry(key, version) for key, version in found.versions)
        return Page(entries, found.revision, found.remaining)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        """See Store.commit."""
        self._check_open()
        draft = Draft(self._index)
        outcome = draft.add(guards, ops)
        if not isinstance(outcome, Committed):
            return Conflict(outcome.revision, tuple(self._entry(k, v) for k, v in outcome.current))
        for row in draft.rows:
            if row.value is not None:
                self._values[row.place] = row.value
        self._log += draft.rows
        self._index.apply(draft.rows)
        self._hub.publish(draft.rows, self._values.get)
        return outcome

    def changes(self, keys: KeyRange, after: int) -> AsyncIterator[Batch]:
        """See Store.changes."""
        return follow(self._hub, keys, after, self._replay)

    async def compact(self, upto: int) -> None:
        """See Store.compact."""
        self._check_open()
        steps = self._index.compact(upto)
        del self._log[: bisect_left(self._log, place_after(self._index.floor), key=_PLACE)]
        for places in steps:
            for place in places:
                self._values.pop(place, None)
            await turn()

    async def close(self) -> None:
        """See Store.close. Readers of changes end with StoreUnavailable once they have read the last one."""
        self._closed = True
        self._hub.close(_closed_error())

    def _check_open(self) -> None:
        if self._closed:
            raise _closed_error()

    def _entry(self, key: str, version: Version) -> Entry:
        return Entry(key, self._values[version.place], version.revision, version.create_revision)

    def _replay(self, keys: KeyRange, after: int, upto: int) -> list[Change]:
        first = bisect_left(self._log, place_after(after), key=_PLACE)
        last = bisect_left(self._log, place_after(upto), key=_PLACE)
        rows = self._log[first:last]
        return [to_change(row, self._values.get) for row in rows if keys.start <= row.key < keys.end]


def _closed_error() -> StoreUnavailable:
    return StoreUnavailable("the store is closed: open it again")
