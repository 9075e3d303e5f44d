from __future__ import annotations

import pytest

from sampan.store.memory import MemoryStore
from tests.unit.store.conformance import MakeStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def make(self) -> MakeStore:
        return MemoryStore
