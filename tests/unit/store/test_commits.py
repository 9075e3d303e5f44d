"""Which commits share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sampan.store.backend import Committed, Guard, Put
from sampan.store.index import Index, Refused
from sampan.store.sqlite.commits import WORTH_A_TRANSACTION, CommitQueue
from sampan.store.sqlite.file import Work


class Disk:
    """Stands for the writer: a transaction is durable when the test says so."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._done: list[Callable[[None], None]] = []

    def submit(self, work: Work, loop: asyncio.AbstractEventLoop, done: Callable[[None], None]) -> None:
        self.sizes.append(len(work.rows))
        self._done.append(done)

    def end(self) -> None:
        self._done.pop(0)(None)


def queue_on(disk: Any) -> CommitQueue:
    index = Index()
    return CommitQueue(index, disk, index.apply)


def commits(queue: CommitQueue, count: int, first: int = 0) -> list[asyncio.Future[Committed | Refused]]:
    return [queue.commit([], [Put(f"/k/{first + i}", b"v")]) for i in range(count)]


def test_few_commits_wait_for_those_of_the_same_turn() -> None:
    async def work() -> None:
        disk = Disk()
        queue = queue_on(disk)
        made = commits(queue, WORTH_A_TRANSACTION - 1)
        assert disk.sizes == []
        await asyncio.sleep(0)
        assert disk.sizes == [WORTH_A_TRANSACTION - 1]
        disk.end()
        assert [outcome.revision for outcome in await asyncio.gather(*made)] == list(range(2, 2 + len(made)))

    asyncio.run(work())


def test_many_commits_do_not_wait_for_the_last_of_the_turn() -> None:
    async def work() -> None:
        disk = Disk()
        queue = queue_on(disk)
        made = commits(queue, 3 * WORTH_A_TRANSACTION)
        assert disk.sizes == [WORTH_A_TRANSACTION]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert disk.sizes == [WORTH_A_TRANSACTION]  # one transaction at a time
        disk.end()
        assert disk.sizes == [WORTH_A_TRANSACTION, 2 * WORTH_A_TRANSACTION]
        one = queue.commit([], [Put("/late", b"v")])
        disk.end()
        await asyncio.sleep(0)
        assert disk.sizes[2:] == [1]
        disk.end()
        made.append(one)
        assert [outcome.revision for outcome in await asyncio.gather(*made)] == list(range(2, 2 + len(made)))

    asyncio.run(work())


def test_many_commits_that_change_nothing_need_no_transaction() -> None:
    async def work() -> None:
        disk = Disk()
        queue = queue_on(disk)
        held = [Guard("/absent", 7)]
        made = [queue.commit(held, [Put("/k", b"v")]) for _ in range(2 * WORTH_A_TRANSACTION + 1)]
        assert all(isinstance(outcome, Refused) for outcome in await asyncio.gather(*made))
        assert disk.sizes == []
        (last,) = commits(queue, 1)
        await asyncio.sleep(0)
        disk.end()
        assert (await last).revision == 2

    asyncio.run(work())
