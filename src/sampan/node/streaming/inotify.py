"""Changes in directories, told by the kernel: one descriptor for all who follow a log."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from typing import Final

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE, _IN_Q_OVERFLOW = 0x2, 0x80, 0x100, 0x4000
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_MASK: Final = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
_HEADER: Final = struct.Struct("iIII")
_READ_BYTES: Final = 16 * 1024


class DirectoryWatch:
    """Sets events when something in a directory is written, made or moved there.

    Where the kernel gives no more watches, the events are never set: who waits looks now and then anyway.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._events: dict[int, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def changes(self, directory: str) -> Iterator[asyncio.Event]:
        """An event that is set at each change in `directory`, for as long as the context lasts."""
        event = asyncio.Event()
        watch = self._add(directory)
        if watch < 0:
            yield event
            return
        waiting = self._events.setdefault(watch, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting and self._events.get(watch) is waiting:
                del self._events[watch]
                self._libc.inotify_rm_watch(self._fd, watch)
            if not self._events:
                self.close()

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._events = {}

    def _add(self, directory: str) -> int:
        if self._fd < 0:
            self._fd = self._libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
            if self._fd < 0:
                return -1
            asyncio.get_running_loop().add_reader(self._fd, self._read)
        watch: int = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
        return watch

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        place = 0
        while place + _HEADER.size <= len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, place)
            place += _HEADER.size + length
            told = self._events.values() if mask & _IN_Q_OVERFLOW else (self._events.get(watch, set()),)
            for events in told:
                for event in events:
                    event.set()
