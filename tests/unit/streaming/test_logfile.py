"""Following log files: growth, rotation, truncation, and the container's end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import Clock, SimulatedClock, SystemClock
from sampan.node.streaming.inotify import DirectoryWatch
from sampan.node.streaming.logfile import read_log
from sampan.node.streaming.query import LogQuery

LIMIT_S = 20.0


def entry(text: str) -> str:
    return f"2026-01-01T00:00:00.000000000Z stdout F {text}\n"


def append(path: Path, *texts: str) -> None:
    with path.open("a") as log:
        log.write("".join(entry(text) for text in texts))


class Follower:
    """A follow in progress. `running` is what the container is."""

    def __init__(self, path: Path, clock: Clock, watch: DirectoryWatch, asked: LogQuery) -> None:
        self.running = True
        self._blocks: AsyncIterator[bytes] = read_log(str(path), asked, clock, watch, lambda: self.running)
        self._found = b""

    async def until(self, expected: bytes) -> None:
        """Read up to `expected`, and nothing else."""
        async with asyncio.timeout(LIMIT_S):
            while len(self._found) < len(expected):
                self._found += await anext(self._blocks)
        assert self._found == expected
        self._found = b""

    async def rest(self) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return b"".join([block async for block in self._blocks])


def following(
    path: Path, test: Callable[[Follower], Coroutine[Any, Any, None]], asked: LogQuery | None = None
) -> None:
    async def main() -> None:
        watch = DirectoryWatch()
        await test(Follower(path, SystemClock(), watch, asked or LogQuery(follow=True)))
        assert watch._fd == -1, "the last follower has left the watch open"

    asyncio.run(main())


def test_a_follow_gives_what_is_written_and_ends_with_the_container(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, "before")

    async def test(follower: Follower) -> None:
        await follower.until(b"before\n")
        append(path, "more")
        await follower.until(b"more\n")
        append(path, "last")
        follower.running = False
        assert await follower.rest() == b"last\n"

    following(path, test)


def test_a_follow_reads_a_rotated_file_to_its_end_and_then_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, "one")

    async def test(follower: Follower) -> None:
        await follower.until(b"one\n")
        append(path, "two")
        moved = path.rename(tmp_path / "0.log.20260101")
        append(moved, "three")
        append(path, "four")
        await follower.until(b"two\nthree\nfour\n")
        append(path, "five")
        follower.running = False
        assert await follower.rest() == b"five\n"

    following(path, test)


def test_a_follow_begins_again_when_the_file_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, "a longer line than the next")

    async def test(follower: Follower) -> None:
        await follower.until(b"a longer line than the next\n")
        path.write_text(entry("cut"))
        await follower.until(b"cut\n")
        follower.running = False
        assert await follower.rest() == b""

    following(path, test)


def test_a_follow_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "0.log"

    async def test(follower: Follower) -> None:
        waiting = asyncio.ensure_future(follower.until(b"first\n"))
        await asyncio.sleep(0)
        append(path, "first")
        await waiting
        follower.running = False
        assert await follower.rest() == b""

    following(path, test)


def test_a_follow_from_the_tail_and_with_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    append(path, "one", "two", "three")

    async def test(follower: Follower) -> None:
        await follower.until(b"three\n")
        append(path, "four", "five")
        assert await follower.rest() == b"fou"

    following(path, test, LogQuery(follow=True, tail_lines=1, limit_bytes=9))


def test_a_large_log_is_read_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    texts = [f"line {n}" for n in range(20_000)]
    append(path, *texts)

    async def main() -> list[bytes]:
        blocks = read_log(str(path), LogQuery(), SystemClock(), DirectoryWatch(), lambda: True)
        return [block async for block in blocks]

    blocks = asyncio.run(main())
    assert len(blocks) > 2
    assert b"".join(blocks).decode().splitlines() == texts


def test_without_the_kernels_help_a_follower_looks_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0.log"
    append(path, "one")
    monkeypatch.setattr(DirectoryWatch, "_add", lambda self, directory: -1)

    async def main() -> None:
        clock = SimulatedClock()
        follower = Follower(path, clock, DirectoryWatch(), LogQuery(follow=True))
        await follower.until(b"one\n")
        waiting = asyncio.ensure_future(follower.until(b"two\n"))
        append(path, "two")
        async with asyncio.timeout(LIMIT_S):
            while not waiting.done():
                await clock.advance(1)
        await waiting

    asyncio.run(main())
