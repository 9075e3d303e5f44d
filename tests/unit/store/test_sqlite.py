from __future__ import annotations

from pathlib import Path

import pytest

from sampan.store.backend import Store
from sampan.store.hub import MAX_UNREAD_CHANGES
from sampan.store.sqlite import SqliteStore
from tests.unit.store.conformance import MakeStore, StoreConformance


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeStore:
        def made(*, max_unread_changes: int = MAX_UNREAD_CHANGES) -> Store:
            return SqliteStore(tmp_path / "store.db", max_unread_changes=max_unread_changes)

        return made


class TestSqliteStoreWithoutCache(StoreConformance):
    """Every value comes from the file."""

    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeStore:
        def made(*, max_unread_changes: int = MAX_UNREAD_CHANGES) -> Store:
            path = tmp_path / "store.db"
            return SqliteStore(path, max_unread_changes=max_unread_changes, max_cached_bytes=0)

        return made
