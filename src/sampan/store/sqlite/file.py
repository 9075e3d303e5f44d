"""The SQLite file of a store: how it is found sound, locked, opened, written and read.

There is one table that is only appended to, the log of all changes in the order of their places, as etcd
keeps it; which key has which version is held in memory (index.py). So a commit writes each value once and
touches the last page of one tree. Everything here blocks; nothing here knows of the event loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sampan.base.errors import SampanError
from sampan.store.backend import Change, KeyRange, StoreUnavailable
from sampan.store.index import RANK_BITS, Index, Row, place_after

APPLICATION_ID = 0x53616D70  # "Samp": tells a store from any other SQLite file
FORMAT = 1
# Files up to this size are checked page by page when they are opened; larger ones only where the last
# process did not close them. Reading the log finds gross damage in any case.
QUICK_CHECK_BYTES = 64 << 20
# How long a statement waits for a lock that another connection of this process holds.
BUSY_TIMEOUT_S = 10.0
# Rows that one INSERT takes. Powers of two, so that few statements need to be prepared.
_INSERT_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)

_SCHEMA = (
    """CREATE TABLE log (
        place INTEGER PRIMARY KEY,
        create_revision INTEGER NOT NULL,
        previous INTEGER NOT NULL,
        key TEXT NOT NULL,
        value BLOB
    )""",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('floor', 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
_INSERT = {
    size: "INSERT INTO log (place, key, create_revision, previous, value) VALUES "
    + ",".join(["(?,?,?,?,?)"] * size)
    for size in _INSERT_SIZES
}
_FORGET = "DELETE FROM log WHERE place IN (SELECT value FROM json_each(?))"
_VALUE = "SELECT value FROM log WHERE place = ?"
_VALUES = "SELECT place, value FROM log WHERE place IN (SELECT value FROM json_each(?))"
_LOAD = """SELECT place, key, create_revision, previous, CASE WHEN value IS NULL THEN NULL ELSE x'' END
    FROM log ORDER BY place"""
_REPLAY = """SELECT l.place, l.key, l.create_revision, l.value, p.value
    FROM log l LEFT JOIN log p ON p.place = l.previous
    WHERE l.place >= ? AND l.place < ? AND l.key >= ? AND l.key < ? ORDER BY l.place"""


class Work(msgspec.Struct, frozen=True):
    """What one transaction does: append rows, forget places, raise the floor to `floor`."""

    rows: Sequence[Row] = ()
    forget: Sequence[int] = ()
    floor: int | None = None


class Lock:
    """One process at a time: an flock on a file beside the store, which the kernel lets go of with us.

    Makes the folder where there is none. Raises SampanError.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unopenable(path, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(self._fd, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            if not isinstance(error, BlockingIOError):
                raise _unopenable(path, error) from error
            raise SampanError(
                f"the store {path} is in use by the process {owner}: stop that process, or use another path"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


class LogFile:
    """One connection to the file. Usable from any thread, by one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = _connect(path)

    def close(self) -> None:
        self._db.close()

    def floor(self) -> int:
        """The compaction floor."""
        (floor,) = self._db.execute("SELECT value FROM meta WHERE name = 'floor'").fetchone()
        return int(floor)

    def log(self) -> Iterator[Row]:
        """The whole log, with b"" for every value."""
        return (Row(*columns) for columns in self._db.execute(_LOAD))

    def write(self, work: Work) -> None:
        """Do all of `work` durably, or raise StoreUnavailable and leave everything as it was."""
        try:
            inserts = list(_inserts(work.rows))
            if len(inserts) == 1 and not work.forget and work.floor is None:
                # One statement is a transaction of its own. Each statement costs this thread the
                # interpreter lock once, which a busy event loop gives back slowly.
                self._db.execute(*inserts[0])
                return
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in inserts:
                self._db.execute(statement, values)
            if work.forget:
                self._db.execute(_FORGET, (json.dumps(work.forget),))
            if work.floor is not None:
                self._db.execute("UPDATE meta SET value = ? WHERE name = 'floor'", (work.floor,))
            self._db.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            raise StoreUnavailable(
                f"the store {self.path} cannot take writes now ({error}): nothing was changed; "
                "make room on its disk or mend the disk, and try again"
            ) from error

    def checkpoint(self) -> None:
        """Copy what the write-ahead log holds into the file, as far as nobody is hindered by it."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            # A full disk: the write-ahead log stays, and the next checkpoint tries again.
            return

    def value(self, place: int) -> bytes | None:
        """The value at `place`, None where it was forgotten."""
        row = self._db.execute(_VALUE, (place,)).fetchone()
        return None if row is None else row[0]

    def values(self, places: Sequence[int]) -> dict[int, bytes]:
        """The values at `places`, without those that were forgotten."""
        return dict(self._db.execute(_VALUES, (json.dumps(places),)))

    def replay(self, keys: KeyRange, after: int, upto: int) -> list[Change]:
        """The changes of a range after one revision, up to and with another, in order."""
        bounds = (place_after(after), place_after(upto), keys.start, keys.end)
        return [
            Change(key, place >> RANK_BITS, create_revision, value, previous)
            for place, key, create_revision, value, previous in self._db.execute(_REPLAY, bounds)
        ]

    def copy_to(self, target: Path) -> None:
        """Write a compact copy of the present state to `target`, which must not exist."""
        self._db.execute("VACUUM INTO ?", (str(target),))

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                # The connection is of no more use; what it had not committed dies with it.
                self._db.close()
                self._db = _connect(self.path)


def prepare(path: Path) -> None:
    """Make the file where there is none, and find it sound where there is one.

    Raises SampanError with the mend where the file is not a store, is damaged, or is of a newer format;
    a file that is something else is not touched.
    """
    left_open = Path(f"{path}-wal").exists()
    try:
        # The store holds secrets; SQLite gives its side files the permissions of the main file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            if _is_new(db, path):
                _create(db)
                _sync(path.parent)
            elif left_open or path.stat().st_size <= QUICK_CHECK_BYTES:
                _check(db, path)
    except OSError as error:
        raise _unopenable(path, error) from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise SampanError(f"{path} is not a Sampan store: move it away, or name another path") from error
        if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT:
            raise _damaged(path, error) from error
        raise _unopenable(path, error) from error


def load(file: LogFile) -> Index:
    """The index of what a file holds. Raises SampanError where the file is damaged."""
    try:
        return Index(file.log(), file.floor())
    except (sqlite3.Error, TypeError) as error:
        raise _damaged(file.path, error) from error


def write_snapshot(path: Path, target: Path) -> None:
    """Copy the store at `path` to `target`: all of it is there, and on the disk, or there is no such file.

    Raises SampanError.
    """
    if target.exists():
        raise SampanError(f"the snapshot {target} exists already: name another file, or move it away")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        # The copy holds secrets too; SQLite fills an empty file that is there.
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(LogFile(path)) as file:
            file.copy_to(partial)
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise SampanError(
            f"the snapshot {target} cannot be written ({error}): check the folder and the room on its disk"
        ) from error


def _damaged(path: Path, why: object) -> SampanError:
    return SampanError(
        f"the store {path} is damaged ({why}): move it away with its -wal file, "
        "and put the last snapshot in its place"
    )


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has yet to be made into a store. Raises SampanError where it is something else."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise SampanError(
            f"{path} is an SQLite file, but not a Sampan store: move it away, or name another path"
        )
    if version > FORMAT:
        raise SampanError(
            f"the store {path} has format {version}, and this Sampan reads formats up to {FORMAT}: "
            "install the newer Sampan that wrote it"
        )
    return False


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute("COMMIT")


def _check(db: sqlite3.Connection, path: Path) -> None:
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _damaged(path, answer.splitlines()[-1])


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file in WAL mode. Raises SampanError where it cannot be opened."""
    try:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _unopenable(path, error) from error
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns; EXTRA would add nothing in WAL mode.
        db.execute("PRAGMA synchronous = FULL")
        # The store asks for checkpoints itself, where they hold up no commit.
        db.execute("PRAGMA wal_autocheckpoint = 0")
    except sqlite3.Error as error:
        db.close()
        raise _unopenable(path, error) from error
    return db


def _unopenable(path: Path, why: object) -> SampanError:
    return SampanError(
        f"the store {path} cannot be opened ({why}): check the path, its permissions and the disk"
    )


def _inserts(rows: Sequence[Row]) -> Iterator[tuple[str, list[object]]]:
    start = 0
    for size in _INSERT_SIZES:
        while len(rows) - start >= size:
            values: list[object] = []
            for row in rows[start : start + size]:
                values += (row.place, row.key, row.create_revision, row.previous, row.value)
            yield _INSERT[size], values
            start += size


def _sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
