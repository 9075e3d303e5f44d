"""Named pipes on the event loop: how bytes reach and leave a process that containerd starts for us."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

_READ_BYTES = 64 * 1024
# Blocks read ahead of a slow consumer; then the pipe fills, and the process waits, as with any pipe.
_MAX_AHEAD = 16


class FifoReader:
    """The end from which output is read. Opening never waits for a writer."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue()
        self._loop.add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._blocks.put_nowait(data)
        if not data:
            self.close()
        elif self._blocks.qsize() >= _MAX_AHEAD:
            self._loop.remove_reader(self._fd)

    async def blocks(self) -> AsyncIterator[bytes]:
        """What is written, until the last writer has closed or `end` is called."""
        while True:
            data = await self._blocks.get()
            if not data:
                return
            yield data
            if self._fd >= 0 and self._blocks.qsize() < _MAX_AHEAD:
                self._loop.add_reader(self._fd, self._on_readable)

    def end(self) -> None:
        """Give out what has been read, and then no more."""
        if self._fd >= 0:
            self.close()
            self._blocks.put_nowait(b"")

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class FifoWriter:
    """The end into which input is written. Opened for reading too, so that opening waits for no reader."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop = asyncio.get_running_loop()
        self._writable: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Return once the pipe has taken it all. Raises BrokenPipeError after `close`."""
        view = memoryview(data)
        while view:
            if self._fd < 0:
                raise BrokenPipeError("The standard input is closed.")
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._wait_writable()

    async def _wait_writable(self) -> None:
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._fd, self._on_writable)
        await self._writable

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._fd)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
            if self._writable is not None and not self._writable.done():
                self._writable.set_result(None)
