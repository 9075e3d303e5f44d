"""Reading a container's log file: from its tail, to its end, and on while the container runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.node.streaming.crilog import LogDecoder, tail_offset
from sampan.node.streaming.inotify import DirectoryWatch
from sampan.node.streaming.query import LogQuery

_BLOCK_BYTES: Final = 256 * 1024
# How often a follower looks whether its container still runs, as kubelet does; changes wake it at once.
LOOK_S: Final = 1.0


class LogFile:
    """An open log file that may be rotated away under its reader."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._offset = 0

    def open(self) -> bool:
        """Open the file at its beginning; False where there is none yet."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self.close()
        self._fd, self._offset = fd, 0
        return True

    def skip_to_tail(self, lines: int) -> None:
        fd = self._fd
        size = os.fstat(fd).st_size
        self._offset = tail_offset(lambda offset, count: os.pread(fd, count, offset), size, lines)

    def read(self) -> bytes:
        """The next block; empty at the end."""
        if self._fd < 0:
            return b""
        data = os.pread(self._fd, _BLOCK_BYTES, self._offset)
        self._offset += len(data)
        return data

    def replaced(self) -> bool:
        """Whether another file is at the path now, or this one was cut short. Call at the end of the file."""
        if self._fd < 0:
            return Path(self._path).exists()
        mine = os.fstat(self._fd)
        if mine.st_size < self._offset:
            return True
        try:
            there = Path(self._path).stat()
        except FileNotFoundError:  # between two steps of a rotation
            return False
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def read_log(
    path: str, asked: LogQuery, clock: Clock, watch: DirectoryWatch, running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """What `asked` wants of the log at `path`, in blocks; while following, until `running` says no.

    A rotated file is read to its end before its successor. Raises OSError where it cannot be read.
    """
    file, decoder = LogFile(path), LogDecoder(asked)
    try:
        if file.open() and asked.tail_lines is not None:
            await asyncio.to_thread(file.skip_to_tail, asked.tail_lines)
        if not asked.follow:
            async for block in _to_the_end(file, decoder):
                yield block
            if last := decoder.finish():
                yield last
            return
        with watch.changes(str(Path(path).parent)) as changed:
            async for block in _follow(file, decoder, clock, changed, running):
                yield block
    finally:
        file.close()


async def _to_the_end(file: LogFile, decoder: LogDecoder) -> AsyncIterator[bytes]:
    while not decoder.full and (data := await asyncio.to_thread(file.read)):
        if block := decoder.feed(data):
            yield block


async def _follow(
    file: LogFile, decoder: LogDecoder, clock: Clock, changed: asyncio.Event, running: Callable[[], bool]
) -> AsyncIterator[bytes]:
    while True:
        # In this order: what is written while we read wakes us again, and what was written before the
        # container was seen to have ended is still read.
        changed.clear()
        goes_on = running()
        async for block in _to_the_end(file, decoder):
            yield block
        if decoder.full:
            return
        if file.replaced():
            async for block in _to_the_end(file, decoder):
                yield block
            file.open()
            continue
        if not goes_on:
            if last := decoder.finish():
                yield last
            return
        if not changed.is_set():
            await first_done(changed.wait(), clock.sleep(LOOK_S))
