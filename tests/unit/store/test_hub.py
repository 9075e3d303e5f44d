from __future__ import annotations

import asyncio

from sampan.store.backend import KeyRange
from sampan.store.hub import MAX_DIRECTORIES, Hub
from sampan.store.index import RANK_BITS, Index, Row


def test_what_is_remembered_of_directories_is_bounded() -> None:
    async def test() -> None:
        index = Index()
        hub = Hub(index, max_unread=3 * MAX_DIRECTORIES)
        reader = hub.subscribe(KeyRange.prefix("/"))
        rows = [Row((n + 2) << RANK_BITS, f"/{n}/a", n + 2, 0, b"") for n in range(2 * MAX_DIRECTORIES)]
        index.apply(rows)
        hub.publish(rows, lambda place: None)
        assert len((await reader.next()).changes) == len(rows)
        assert len(hub._near) <= MAX_DIRECTORIES

    asyncio.run(test())
