"""Which key had which version at which revision: the part of a store that is the same for every backend.

Like etcd, the index of keys and revisions is kept in memory, and values lie elsewhere under a `place`: the
revision in the high bits, and the operation's rank in its commit in the low ones. Places grow with
revisions and, within one, with keys, so that a log in the order of places is the order of changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter

import msgspec

from sampan.store.backend import (
    Committed,
    Compacted,
    Delete,
    FutureRevision,
    Guard,
    KeyRange,
    Op,
    Put,
)
from sampan.store.sortedkeys import SortedKeys

# An empty store is at revision 1, as in etcd: to Kubernetes the resourceVersion "0" means "any".
FIRST_REVISION = 1
RANK_BITS = 16
# How many keys one commit may change.
MAX_COMMIT_OPS = 1 << RANK_BITS
# How many keys one step of a compaction looks at.
COMPACTION_STEP_KEYS = 256


class Version(msgspec.Struct, frozen=True, gc=False):
    """What a key became at the revision of `place`. `create_revision` is 0 for a deletion."""

    place: int
    create_revision: int

    @property
    def revision(self) -> int:
        return self.place >> RANK_BITS


class Row(msgspec.Struct, frozen=True, gc=False):
    """One change as it is kept: a deletion where `value` is None.

    `create_revision` is that of the key, also of a deleted one; `previous` is the place of the value that
    was replaced, or 0.
    """

    place: int
    key: str
    create_revision: int
    previous: int
    value: bytes | None

    @property
    def revision(self) -> int:
        return self.place >> RANK_BITS


class Refused(msgspec.Struct, frozen=True):
    """A guard did not hold; `current` names the versions of the guarded keys that exist."""

    revision: int
    current: tuple[tuple[str, Version], ...]


class Found(msgspec.Struct, frozen=True):
    """The versions that a range read asks for, in key order."""

    versions: list[tuple[str, Version]]
    revision: int
    remaining: int


_PLACE = attrgetter("place")


def place_after(revision: int) -> int:
    """The first place of the revision that follows `revision`."""
    return (revision + 1) << RANK_BITS


class Index:
    """Keys and their versions, back to the compaction floor."""

    def __init__(self, rows: Iterable[Row] = (), floor: int = 0) -> None:
        """`rows` are the whole log in order of places; of values only whether they are None matters."""
        self.revision = max(FIRST_REVISION, floor)
        self.floor = floor
        self._current: dict[str, Version] = {}
        # Superseded versions, oldest first; a deleted key's deletion is the last of them.
        self._older: dict[str, list[Version]] = {}
        # The keys that may have changed since the floor.
        self._touched: dict[str, None] = {}
        # Creations (+1) and deletions (-1) since the floor: how the number of keys came about.
        self._turns: list[tuple[int, str, int]] = []
        for row in rows:
            self._supersede(row)
            self.revision = max(self.revision, row.revision)
        self._live = SortedKeys(self._current)
        self._gone = SortedKeys(self._older.keys() - self._current.keys())

    def get(self, key: str) -> Version | None:
        """The key's present version, None where it does not exist."""
        return self._current.get(key)

    def __len__(self) -> int:
        return len(self._current)

    def check(self, revision: int) -> None:
        """Raises Compacted or FutureRevision where the state at `revision` cannot be told."""
        if revision < self.floor:
            raise Compacted(self.floor)
        if revision > self.revision:
            raise FutureRevision(
                f"revision {revision} has not happened yet, the store is at {self.revision}: "
                "wait for it, or list again"
            )

    def find(self, keys: KeyRange, at: int | None, limit: int) -> Found:
        """The range at revision `at`. Raises Compacted, FutureRevision."""
        if at is not None:
            self.check(at)
        if at is None or at == self.revision:
            return self._find_now(keys, limit)
        return self._find_then(keys, at, limit)

    def apply(self, rows: Sequence[Row]) -> None:
        """Take in the rows of whole commits, in order."""
        for row in rows:
            key = row.key
            lived = key in self._current
            had_history = key in self._older
            self._supersede(row)
            if row.value is None:
                self._live.remove(key)
                self._gone.add(key)
            elif not lived:
                self._live.add(key)
                if had_history:
                    self._gone.remove(key)
        if rows:
            self.revision = rows[-1].revision

    def compact(self, upto: int) -> Iterator[list[int]]:
        """Raise the floor to `upto` now; iterating forgets older versions by steps and gives their places.

        Raises FutureRevision.
        """
        if upto > self.revision:
            self.check(upto)
        self.floor = max(self.floor, upto)
        del self._turns[: self._first_turn(self.floor)]
        return self._sweep(list(self._touched))

    def _supersede(self, row: Row) -> None:
        key = row.key
        before = self._current.get(key)
        self._touched[key] = None
        if row.value is not None:
            self._current[key] = Version(row.place, row.create_revision)
            if before is not None:
                self._older.setdefault(key, []).append(before)
            else:
                self._turns.append((row.place, key, 1))
            return
        older = self._older.setdefault(key, [])
        if before is not None:
            del self._current[key]
            older.append(before)
            self._turns.append((row.place, key, -1))
        older.append(Version(row.place, 0))

    def _find_now(self, keys: KeyRange, limit: int) -> Found:
        current = self._current
        if keys.end == keys.start + "\0":
            one = current.get(keys.start)
            return Found([] if one is None else [(keys.start, one)], self.revision, 0)
        versions: list[tuple[str, Version]] = []
        for key in self._live.between(keys.start, keys.end):
            versions.append((key, current[key]))
            if len(versions) == limit:
                return Found(versions, self.revision, self._live.count(key + "\0", keys.end))
        return Found(versions, self.revision, 0)

    def _find_then(self, keys: KeyRange, at: int, limit: int) -> Found:
        versions: list[tuple[str, Version]] = []
        for key in self._candidates(keys):
            version = self._version_at(key, at)
            if version is not None:
                versions.append((key, version))
                if len(versions) == limit:
                    rest = KeyRange(key + "\0", keys.end)
                    return Found(versions, at, self._count_then(rest, at))
        return Found(versions, at, 0)

    def _candidates(self, keys: KeyRange) -> Iterator[str]:
        """Live and deleted keys of the range, merged in order."""
        gone = self._gone.between(keys.start, keys.end)
        next_gone = next(gone, None)
        for key in self._live.between(keys.start, keys.end):
            while next_gone is not None and next_gone < key:
                yield next_gone
                next_gone = next(gone, None)
            yield key
        if next_gone is not None:
            yield next_gone
            yield from gone

    def _count_then(self, keys: KeyRange, at: int) -> int:
        """How many keys of the range existed at `at`: the present count, set right for what changed since."""
        live = self._live.count(keys.start, keys.end)
        gone = self._gone.count(keys.start, keys.end)
        first = self._first_turn(at)
        if len(self._turns) - first < live + gone:
            return live - sum(turn for _, key, turn in self._turns[first:] if keys.start <= key < keys.end)
        return sum(self._version_at(key, at) is not None for key in self._candidates(keys))

    def _first_turn(self, after: int) -> int:
        return bisect_left(self._turns, place_after(after), key=itemgetter(0))

    def _version_at(self, key: str, at: int) -> Version | None:
        bound = place_after(at)
        current = self._current.get(key)
        if current is not None and current.place < bound:
            return current
        older = self._older.get(key)
        if older is None:
            return None
        rank = bisect_left(older, bound, key=_PLACE)
        version = older[rank - 1] if rank else None
        return version if version is not None and version.create_revision else None

    def _sweep(self, keys: list[str]) -> Iterator[list[int]]:
        for i in range(0, len(keys), COMPACTION_STEP_KEYS):
            places: list[int] = []
            for key in keys[i : i + COMPACTION_STEP_KEYS]:
                self._forget_older(key, places)
            if places:
                yield places

    def _forget_older(self, key: str, places: list[int]) -> None:
        """Drop the key's versions that no read at the floor or later can see."""
        bound = place_after(self.floor)
        current = self._current.get(key)
        older = self._older.get(key, [])
        if current is not None and current.place < bound:
            cut = len(older)
        else:
            cut = bisect_left(older, bound, key=_PLACE)
            # What stood at the floor stays readable; a deletion leaves nothing to read.
            if cut and older[cut - 1].create_revision:
                cut -= 1
        places += [version.place for version in older[:cut]]
        del older[:cut]
        if older:
            return
        if self._older.pop(key, None) is not None and current is None:
            self._gone.remove(key)
        if current is None or current.place < bound:
            self._touched.pop(key, None)


class Draft:
    """Commits that are being planned on top of an index, each seeing those before it."""

    def __init__(self, index: Index) -> None:
        self.rows: list[Row] = []
        self.revision = index.revision
        self._index = index
        self._changed: dict[str, Version | None] = {}

    def add(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Refused:
        """Plan one commit. Raises ValueError where a key stands in `ops` twice, or `ops` are too many."""
        for guard in guards:
            version = self._get(guard.key)
            if (version.revision if version is not None else 0) != guard.mod_revision:
                return self._refuse(guards)
        if len(ops) == 1:
            planned = self._plan(ops[0], 0)
            if planned is None:
                return Committed(self.revision)
            self._take(planned)
        else:
            rows = self._plan_many(ops)
            if not rows:
                return Committed(self.revision)
            for row in rows:
                self._take(row)
        self.revision += 1
        return Committed(self.revision)

    def _get(self, key: str) -> Version | None:
        if key in self._changed:
            return self._changed[key]
        return self._index.get(key)

    def _refuse(self, guards: Sequence[Guard]) -> Refused:
        versions = ((guard.key, self._get(guard.key)) for guard in guards)
        return Refused(self.revision, tuple((k, v) for k, v in versions if v is not None))

    def _plan_many(self, ops: Sequence[Op]) -> list[Row]:
        if len(ops) > MAX_COMMIT_OPS:
            raise ValueError(f"a commit may change {MAX_COMMIT_OPS} keys, not {len(ops)}: split it")
        rows: list[Row] = []
        last = None
        for op in sorted(ops, key=attrgetter("key")):
            if op.key == last:
                raise ValueError(f"the key {op.key!r} stands twice in one commit: keep one operation for it")
            last = op.key
            row = self._plan(op, len(rows))
            if row is not None:
                rows.append(row)
        return rows

    def _plan(self, op: Put | Delete, rank: int) -> Row | None:
        before = self._get(op.key)
        revision = self.revision + 1
        place = (revision << RANK_BITS) + rank
        if isinstance(op, Put):
            if before is None:
                return Row(place, op.key, revision, 0, op.value)
            return Row(place, op.key, before.create_revision, before.place, op.value)
        if before is None:
            return None
        return Row(place, op.key, before.create_revision, before.place, None)

    def _take(self, row: Row) -> None:
        self.rows.append(row)
        deleted = row.value is None
        self._changed[row.key] = None if deleted else Version(row.place, row.create_revision)
