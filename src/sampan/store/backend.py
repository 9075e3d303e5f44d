"""The store Protocol: bytes under keys, one revision counter, etcd v3's meaning.

Every commit that changes something takes the next revision; all its operations carry that revision.
Keys order by their UTF-8 bytes. Values are opaque.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from sampan.base.errors import SampanError


class KeyRange(msgspec.Struct, frozen=True):
    """The keys from `start` up to but not including `end`."""

    start: str
    end: str

    @staticmethod
    def of(key: str) -> KeyRange:
        """That one key."""
        return KeyRange(key, key + "\0")

    @staticmethod
    def prefix(prefix: str) -> KeyRange:
        """Every key that starts with `prefix` (which must not be empty or end in the last code point)."""
        return KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))

    def __contains__(self, key: str) -> bool:
        return self.start <= key < self.end


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A key's value at a revision."""

    key: str
    value: bytes
    mod_revision: int
    create_revision: int


class Page(msgspec.Struct, frozen=True):
    """What a range read found, in key order. `revision` is the one it was read at."""

    entries: tuple[Entry, ...]
    revision: int
    # How many keys of the range come after the last entry.
    remaining: int = 0


class Guard(msgspec.Struct, frozen=True, gc=False):
    """Commit only where the key was last changed at `mod_revision`; 0 means that it must not exist."""

    key: str
    mod_revision: int


class Put(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: bytes


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Deleting a key that does not exist changes nothing and takes no revision of its own."""

    key: str


Op = Put | Delete


class Committed(msgspec.Struct, frozen=True, gc=False):
    """Durable. `revision` is the commit's own, or the present one where nothing changed."""

    revision: int


class Conflict(msgspec.Struct, frozen=True):
    """A guard did not hold; nothing was changed. `current` holds the guarded keys that exist."""

    revision: int
    current: tuple[Entry, ...]


class Change(msgspec.Struct, frozen=True, gc=False):
    """One key changed at `revision`. `value` is None for a deletion, `previous` for a creation."""

    key: str
    revision: int
    create_revision: int
    value: bytes | None
    previous: bytes | None


class Batch(msgspec.Struct, frozen=True):
    """Changes in revision order (key order within one). All changes up to `revision` have been given."""

    revision: int
    changes: tuple[Change, ...]


class Compacted(SampanError):
    """The revision asked for was compacted away; `floor` is the oldest that can be read."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"the required revision has been compacted; the oldest kept is {floor}")
        self.floor = floor


class FutureRevision(SampanError):
    """The revision asked for has not happened yet."""


class StoreUnavailable(SampanError):
    """The store cannot take the write now (disk full, file unreadable): nothing was changed."""


class Store(Protocol):
    """A revisioned key-value store. All methods may be called from one event loop at once."""

    @property
    def commits_at_once(self) -> bool:
        """Whether a commit is over without a wait, so that many need not be under way at once."""
        ...

    async def read(self, keys: KeyRange, at: int | None = None, limit: int = 0) -> Page:
        """The range as it stood at revision `at` (None: now), at most `limit` entries (0: all).

        Raises Compacted, FutureRevision.
        """
        ...

    async def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> Committed | Conflict:
        """Do all of `ops` at one revision if every guard holds. Durable when it returns.

        A key may stand in `ops` once. Raises StoreUnavailable.
        """
        ...

    def changes(self, keys: KeyRange, after: int) -> AsyncIterator[Batch]:
        """Every change in the range after revision `after`, ordered and gap-free, without end.

        Raises Compacted where `after` is below the compaction floor, also when a reader falls so far
        behind that its changes were compacted meanwhile.
        """
        ...

    async def compact(self, upto: int) -> None:
        """Forget what is older than revision `upto`; reads at `upto` itself still work."""
        ...

    async def close(self) -> None:
        """Finish what was taken, then let go of every file and thread."""
        ...
