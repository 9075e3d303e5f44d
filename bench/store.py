"""Commits per second and their latency, beside a bare sqlite3 loop on the same disk in the same run.

usage: python bench/store.py [--seconds 2] [--value-bytes 1200] [--folder /var/tmp]

The bare loop has no event loop, no guards, no revisions and no readers: it puts as many rows into one
transaction as there are committers, and syncs. Ratios are rounds of both by turns, medians of three.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from sampan.store.backend import Guard, KeyRange, Put, Store
from sampan.store.memory import MemoryStore
from sampan.store.sqlite import SqliteStore

ROUNDS = 3


class Measured:
    def __init__(self, latencies_s: list[float], elapsed_s: float) -> None:
        latencies_s.sort()
        self.per_s = len(latencies_s) / elapsed_s
        self.p50_ms = latencies_s[len(latencies_s) // 2] * 1e3
        self.p99_ms = latencies_s[len(latencies_s) * 99 // 100] * 1e3


async def commits(
    store: Store, committers: int, seconds: float, value: bytes, *, readers: int = 0
) -> Measured:
    latencies_s: list[float] = []
    started = time.perf_counter()
    deadline = started + seconds
    prefix = "/registry/core/pods/load/"

    async def commit(number: int) -> None:
        n = 0
        while (begun := time.perf_counter()) < deadline:
            key = f"{prefix}{number}-{n}"
            await store.commit([Guard(key, 0)], [Put(key, value)])
            latencies_s.append(time.perf_counter() - begun)
            n += 1
            if n % 64 == 0:
                await asyncio.sleep(0)  # the memory store's commits never wait

    async def follow() -> None:
        async for _ in store.changes(KeyRange.prefix(prefix), (await store.read(KeyRange.of("/"))).revision):
            pass

    following = [asyncio.ensure_future(follow()) for _ in range(readers)]
    await asyncio.gather(*(commit(number) for number in range(committers)))
    elapsed_s = time.perf_counter() - started
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    return Measured(latencies_s, elapsed_s)


def bare(path: Path, rows: int, seconds: float, value: bytes) -> Measured:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, key TEXT, value BLOB)")
        latencies_s: list[float] = []
        started = time.perf_counter()
        n = 0
        while (begun := time.perf_counter()) < started + seconds:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO log (key, value) VALUES (?, ?)",
                [(f"/registry/core/pods/load/{n + i}", value) for i in range(rows)],
            )
            db.execute("COMMIT")
            latencies_s += [time.perf_counter() - begun] * rows
            n += rows
        return Measured(latencies_s, time.perf_counter() - started)


async def sqlite_commits(path: Path, committers: int, seconds: float, value: bytes, readers: int) -> Measured:
    store = SqliteStore(path)
    try:
        return await commits(store, committers, seconds, value, readers=readers)
    finally:
        await store.close()


async def memory_commits(committers: int, seconds: float, value: bytes) -> Measured:
    return await commits(MemoryStore(), committers, seconds, value)


async def reads(path: Path, value: bytes) -> None:
    """What reads cost on 100,000 keys: from the file, and at an older revision."""
    store = SqliteStore(path, max_cached_bytes=0)
    keys = [f"/registry/core/pods/load/{n:06}" for n in range(100_000)]
    for start in range(0, len(keys), 500):
        await store.commit([], [Put(key, value) for key in keys[start : start + 500]])
    revision = (await store.read(KeyRange.of(keys[0]))).revision
    await store.commit([], [Put(key, value) for key in keys[::200]])
    await store.close()
    begun = time.perf_counter()
    store = SqliteStore(path, max_cached_bytes=0)
    print(f"open 100,000 keys       {(time.perf_counter() - begun) * 1e3:9.0f} ms")
    begun = time.perf_counter()
    for key in keys[::50]:
        await store.read(KeyRange.of(key))
    print(f"read one key            {(time.perf_counter() - begun) / 2000 * 1e6:9.1f} us")
    everything = KeyRange.prefix("/registry/")
    for name, at, limit in (("now", None, 500), ("older", revision, 500), ("now", None, 0)):
        begun = time.perf_counter()
        page = await store.read(everything, at, limit)
        spent_us = (time.perf_counter() - begun) * 1e6
        print(f"list {name:5} limit {limit or 'none':>4}   {spent_us / len(page.entries):9.2f} us per key")
    await store.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--value-bytes", type=int, default=1200)
    arguments.add_argument("--folder", type=Path, default=None)
    options = arguments.parse_args()
    value = b"x" * options.value_bytes
    seconds = options.seconds
    print(f"{'':34}{'per s':>9} {'p50 ms':>8} {'p99 ms':>8}   of bare")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for committers, readers in ((1, 0), (32, 0), (32, 8), (128, 0)):
            stores, bares = [], []
            for round_ in range(ROUNDS):
                path = Path(folder) / f"{committers}-{readers}-{round_}"
                stores.append(
                    asyncio.run(sqlite_commits(path.with_suffix(".s"), committers, seconds, value, readers))
                )
                bares.append(bare(path.with_suffix(".b"), committers, seconds, value))
                for file in Path(folder).iterdir():
                    file.unlink()
            ratio = statistics.median(s.per_s / b.per_s for s, b in zip(stores, bares, strict=True))
            watched = f", {readers} followers" if readers else ""
            show(f"sqlite, {committers} committers{watched}", stores, ratio)
            show(f"  bare, {committers} rows a transaction", bares, 1)
        measured = [asyncio.run(memory_commits(32, seconds / 4, value)) for _ in range(ROUNDS)]
        show("memory, 32 committers", measured, None)
        asyncio.run(reads(Path(folder) / "reads", value))


def show(name: str, rounds: list[Measured], ratio: float | None) -> None:
    middle = sorted(rounds, key=lambda one: one.per_s)[len(rounds) // 2]
    of_bare = "" if ratio is None else f"{ratio:8.2f}"
    print(f"{name:34}{middle.per_s:9.0f} {middle.p50_ms:8.2f} {middle.p99_ms:8.2f} {of_bare}")


if __name__ == "__main__":
    main()
