"""The store in one SQLite file: durable, quick, and for one process at a time."""

from sampan.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
