from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings

from sampan.store.backend import Store
from sampan.store.memory import MemoryStore
from sampan.store.sqlite import SqliteStore
from tests.unit.store.model import StoreMachine


class MemoryMachine(StoreMachine):
    def open(self) -> Store:
        return MemoryStore()


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())

    def open(self) -> Store:
        # So small a cache that values come from memory and from the file by turns.
        return SqliteStore(self.folder / "store.db", max_cached_bytes=8)

    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.open()

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


TestMemoryModel = MemoryMachine.TestCase
TestMemoryModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSqliteModel = SqliteMachine.TestCase
TestSqliteModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
