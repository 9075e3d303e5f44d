"""The one thread that writes a store's file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from sampan.store.backend import StoreUnavailable
from sampan.store.sqlite.file import LogFile, Work

# After about so many bytes in the write-ahead log the file takes them over. A log that has been started anew
# is written over, and to sync that takes half as long as to sync a file that grows.
CHECKPOINT_BYTES = 4 << 20
# What a row costs beside its key and value, and a transaction at the least: it is written in whole pages.
_ROW_BYTES = 32
_TRANSACTION_BYTES = 8192

Done = Callable[[StoreUnavailable | None], None]


class Writer:
    """Does one piece of work after the other, and says so on the event loop that asked."""

    def __init__(self, file: LogFile, checkpointer: LogFile) -> None:
        self._file = file
        self._checkpointer = checkpointer
        self._work: SimpleQueue[tuple[Work, asyncio.AbstractEventLoop, Done] | None] = SimpleQueue()
        self._unsaved_bytes = 0
        self._checkpoint_wanted = threading.Event()
        self._checkpoint_done = threading.Event()
        self._stopping = False
        # Daemons: a process that forgets to close its store must still be able to end. Nothing that was
        # acknowledged is lost by that.
        self._threads = (
            threading.Thread(target=self._write_all, name="sampan-store-writer", daemon=True),
            threading.Thread(target=self._checkpoint_all, name="sampan-store-checkpoint", daemon=True),
        )
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, loop: asyncio.AbstractEventLoop, done: Done) -> None:
        """Do `work`, then call `done` on `loop`: with None once it is durable, else with the reason."""
        self._work.put((work, loop, done))

    def stop(self) -> None:
        """Finish what was submitted, save everything into the file and end. Blocks."""
        self._work.put(None)
        self._threads[0].join()
        self._stopping = True
        self._checkpoint_wanted.set()
        self._threads[1].join()

    def _write_all(self) -> None:
        while (item := self._work.get()) is not None:
            work, loop, done = item
            error = None
            try:
                self._file.write(work)
            except StoreUnavailable as unavailable:
                error = unavailable
            try:
                loop.call_soon_threadsafe(done, error)
            except RuntimeError:
                # The loop ended without closing the store: nobody is left to tell.
                return
            self._unsaved_bytes += _TRANSACTION_BYTES
            self._unsaved_bytes += sum(len(row.key) + len(row.value or b"") + _ROW_BYTES for row in work.rows)
            self._save()

    def _save(self) -> None:
        """Keep the write-ahead log short without holding up commits.

        The other thread copies the bulk while commits go on; the little that was added meanwhile is copied
        here, between two commits, after which the next commit starts the write-ahead log anew.
        """
        if self._checkpoint_done.is_set():
            self._checkpoint_done.clear()
            self._file.checkpoint()
            self._unsaved_bytes = 0
        elif self._unsaved_bytes >= CHECKPOINT_BYTES:
            self._unsaved_bytes = 0
            self._checkpoint_wanted.set()

    def _checkpoint_all(self) -> None:
        while True:
            self._checkpoint_wanted.wait()
            self._checkpoint_wanted.clear()
            if self._stopping:
                return
            self._checkpointer.checkpoint()
            self._checkpoint_done.set()
