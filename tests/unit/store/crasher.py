"""A process that commits as fast as it can, and says what was acknowledged, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sampan.store.backend import Committed, Put
from sampan.store.sqlite import SqliteStore

COMMITTERS = 8
# Each commit writes its number under two keys of its committer, which must never differ.
HALVES = ("left", "right")


async def commit_for_ever(store: SqliteStore, committer: int, first: int) -> None:
    number = first
    while True:
        value = b"%d " % number + b"x" * (number % 3000)
        outcome = await store.commit([], [Put(f"/crash/{committer}/{half}", value) for half in HALVES])
        assert isinstance(outcome, Committed)
        os.write(1, f"{committer} {number} {outcome.revision}\n".encode())
        number += 1


async def main(path: str, first: str) -> None:
    store = SqliteStore(Path(path))

    async def compact_for_ever() -> None:
        while True:
            page = await store.commit([], [])
            await store.compact(page.revision)
            await asyncio.sleep(0.01)

    committers = (commit_for_ever(store, n, int(first)) for n in range(COMMITTERS))
    await asyncio.gather(compact_for_ever(), *committers)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
