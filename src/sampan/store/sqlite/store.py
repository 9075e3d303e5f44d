"""The store in one SQLite file.

The event loop decides, the writer thread does: commits that come in while a transaction is under way wait,
and are planned together against the index once it is durable. So guards need no SELECT, a failed
transaction leaves nothing to undo, and nobody reads or hears of what is not on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from sampan.store.backend import (
    Batch,
    Change,
    Committed,
    Compacted,
    Conflict,
    Entry,
    Guard,
    KeyRange,
    Op,
    Page,
    StoreUnavailable,
)
from sampan.store.hub import MAX_UNREAD_CHANGES, Hub, follow, turn
from sampan.store.index import Row, Version
from sampan.store.sqlite.commits import CommitQueue
from sampan.store.sqlite.file import Lock, LogFile, load, prepare, write_snapshot
from sampan.store.sqlite.writer import Writer

# Values kept in memory, of those the latest written: `previous` of most changes, and most reads.
MAX_CACHED_BYTES = 16 << 20
# Values that are read from the file before other tasks get their turn. They are read on the event loop:
# SQLite lets go of the interpreter lock for every row, and a thread that must win it back from a busy loop
# waits up to the interpreter's switch interval (5 ms) each time, where the row itself takes 2 us.
READ_STEP_VALUES = 256
# Rows that one step of a compaction deletes.
FORGET_STEP_ROWS = 256


class SqliteStore:
    """The Store Protocol over the SQLite file at `path`, which is made where there is none.

    Raises SampanError where the file is not a store, is damaged, or is in use by another process.
    """

    commits_at_once: Final = False

    def __init__(
        self,
        path: Path,
        *,
        max_unread_changes: int = MAX_UNREAD_CHANGES,
        max_cached_bytes: int = MAX_CACHED_BYTES,
    ) -> None:
        self.path = Path(path)
        with contextlib.ExitStack() as opening:
            opening.callback(Lock(self.path).release)
            prepare(self.path)
            self._reader, writing, saving = (
                opening.enter_context(contextlib.closing(LogFile(self.path))) for _ in range(3)
            )
            self._index = load(self._reader)
            self._opened = opening.pop_all()
        # What a compaction that was broken off left behind.
        self._garbage = deque(place for step in self._index.compact(self._index.floor) for place in step)
        self._cache = _Cache(max_cached_bytes)
        self._hub = Hub(self._index, max_unread=max_unread_changes)
        self._writer = Writer(writing, saving)
        self._queue = CommitQueue(self._index, self._writer, self._take_in)
        self._closing: asyncio.Task[None] | None = None

    async def read(self, keys: KeyRange, at: int | None = None, limit: int = 0) -> Page:
        """See Store.read. Raises StoreUnavailable where the file cannot be read."""
        while True:
            self._check_open()
            found = self._index.find(keys, at, limit)
            entries = await self._entries(found.versions)
            if entries is not None:
                return Page(entries, found.revision, found.remaining)
            # A compaction took away what was found before it was read.
            if at is not None:
                raise Compacted(self._index.floor)

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        """See Store.commit. Raises ValueError where `ops` name a key twice, or one that is not Unicode.

        A call that is cancelled may have been done all the same.
        """
        self._check_open()
        for op in ops:
            op.key.encode()
        outcome = await self._queue.commit(guards, ops)
        if isinstance(outcome, Committed):
            return outcome
        entries = await self._entries(outcome.current)
        if entries is None:
            # Overtaken by later commits and a compaction: then what stands there now is the answer.
            pages = [await self.read(KeyRange.of(guard.key)) for guard in guards]
            return Conflict(self._index.revision, tuple(entry for page in pages for entry in page.entries))
        return Conflict(outcome.revision, entries)

    def changes(self, keys: KeyRange, after: int) -> AsyncIterator[Batch]:
        """See Store.changes. Ends with StoreUnavailable where the store is closed or cannot be read."""
        return follow(self._hub, keys, after, self._replay)

    async def compact(self, upto: int) -> None:
        """See Store.compact. The file keeps its size; what was forgotten makes room for what comes.

        Raises FutureRevision, and StoreUnavailable: then the next compaction forgets what is left.
        """
        self._check_open()
        for places in self._index.compact(upto):
            self._garbage.extend(places)
            await turn()
        # The floor becomes durable with the first step: no later start may offer what is half forgotten.
        await self._queue.forget((), self._index.floor)
        while self._garbage:
            places = [self._garbage.popleft() for _ in range(min(len(self._garbage), FORGET_STEP_ROWS))]
            try:
                await self._queue.forget(places, self._index.floor)
            except BaseException:
                self._garbage.extend(places)
                raise
            for place in places:
                self._cache.forget(place)

    async def snapshot(self, target: Path) -> None:
        """Write a consistent, compact copy to `target`, durably; a SqliteStore opens on it as it is.

        What was committed before the call is in the copy; commits go on meanwhile. Raises SampanError where
        `target` exists or cannot be written.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, write_snapshot, self.path, Path(target))

    async def close(self) -> None:
        """See Store.close. Readers of changes end with StoreUnavailable once they have read the last one."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._queue.drain()
        self._hub.close(self._closed_error())
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._writer.stop)
        # The last connection to go copies the rest of the write-ahead log into the file.
        await loop.run_in_executor(None, self._opened.close)

    def _take_in(self, rows: list[Row]) -> None:
        for row in rows:
            if row.value is not None:
                self._cache.put(row.place, row.value)
        self._index.apply(rows)
        try:
            self._hub.publish(rows, self._value)
        except StoreUnavailable as error:
            # A change could not be told whole; who follows must start again rather than miss it.
            self._hub.cut(error)

    def _value(self, place: int) -> bytes | None:
        value = self._cache.get(place)
        if value is None:
            with self._readable():
                value = self._reader.value(place)
        return value

    async def _entries(self, versions: Sequence[tuple[str, Version]]) -> tuple[Entry, ...] | None:
        """The versions with their values; None where one of them has been compacted away."""
        values = [self._cache.get(version.place) for _, version in versions]
        missing = [i for i, value in enumerate(values) if value is None]
        for start in range(0, len(missing), READ_STEP_VALUES):
            if start:
                await turn()
                self._check_open()
            step = missing[start : start + READ_STEP_VALUES]
            with self._readable():
                read = self._reader.values([versions[i][1].place for i in step])
            if len(read) < len(step):
                return None
            for i in step:
                values[i] = read[versions[i][1].place]
        return tuple(
            Entry(key, value, version.revision, version.create_revision)
            for (key, version), value in zip(versions, values, strict=True)
            if value is not None
        )

    def _replay(self, keys: KeyRange, after: int, upto: int) -> list[Change]:
        self._check_open()
        with self._readable():
            return self._reader.replay(keys, after, upto)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"the store {self.path} cannot be read ({error}): check its disk, or restore a snapshot"
            ) from error

    def _check_open(self) -> None:
        if self._closing is not None:
            raise self._closed_error()

    def _closed_error(self) -> StoreUnavailable:
        return StoreUnavailable(f"the store {self.path} is closed: open it again")


class _Cache:
    """Values by place; the ones put first are forgotten first once there are too many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # A plain dictionary looks for its first item among all that were taken out before.
        self._values: OrderedDict[int, bytes] = OrderedDict()
        self.get = self._values.get

    def put(self, place: int, value: bytes) -> None:
        self._values[place] = value
        self._bytes += len(value)
        while self._bytes > self._max_bytes:
            self.forget(next(iter(self._values)))

    def forget(self, place: int) -> None:
        value = self._values.pop(place, None)
        if value is not None:
            self._bytes -= len(value)
