"""Those who watch a kind, and how lines reach them.

Watchers of the same namespace, selector and form get the same lines: they are one audience, for which each
change is looked at and encoded once. A watcher either takes its lines from a queue of its own, or, where its
transport can be written to without waiting, belongs to a cohort: a few watchers that are written to one
after the other with the same bytes. What comes to a cohort gathers for some milliseconds, since each
write costs more than all that is in it; the first change after a quiet while goes out at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from sampan.store.items import ADDED, DELETED, MODIFIED, Event, Match, Render

# Events a watcher may lag behind before it is ended; it then lists again.
WATCHER_LAG_EVENTS: Final = 20_000
# Watchers that are written to in one turn of the event loop: a request takes half a dozen turns until it is
# answered, and waits that often for as many writes.
COHORT_WATCHERS: Final = 16
# How long lines gather for an audience, for each of its watchers: a few times what a write to one takes, TLS
# and a system call, so that most of the loop's time is left for all else however often something changes.
GATHER_EACH_S: Final = 80e-6
# And at least, also for a lone watcher: where changes come faster than this, a write and a wake-up for each
# cost both sides more than the changes themselves.
GATHER_LEAST_S: Final = 5e-3
# Nor do lines wait for longer: writing to a thousand takes nearly as long, and what is left is for changes.
GATHER_MOST_S: Final = 30e-3
# What is written to one watcher at once; who has more to get is asked again whether it can take more.
WRITE_MOST_BYTES: Final = 256 * 1024

_log = logging.getLogger(__name__)


class Lines:
    """Lines that many watchers get, and room for what a transport makes of them once for all of those."""

    __slots__ = ("data", "wire")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.wire = b""


# Takes lines for one watcher without waiting; False where it can take no more until it asks for them.
Sink = Callable[[Lines], bool]


class Forgets(Protocol):
    """Whoever keeps audiences."""

    def forget(self, watcher: Watcher) -> None: ...


class Watcher:
    """One watch: lines in order, each once, in a bounded queue or straight to its sink."""

    __slots__ = (
        "_lines",
        "_of",
        "_ready",
        "ahead",
        "audience",
        "bookmark",
        "cohort",
        "ended",
        "expired",
        "namespace",
        "revision",
        "sink",
    )

    def __init__(self, of: Forgets, namespace: str, audience: Audience) -> None:
        self._of = of
        self.namespace = namespace
        self.audience = audience
        self.cohort: Cohort | None = None
        self._lines: deque[bytes] = deque()
        self._ready: asyncio.Future[None] | None = None
        # Ended because what it missed can no longer be given, or because its time was up.
        self.expired = False
        self.ended = False
        # Makes the line that says how far the watcher has seen; None for clients that want none.
        self.bookmark: Callable[[int], bytes] | None = None
        # The last revision this watcher has been told of, by event or bookmark. Later ones alone are news.
        self.revision = 0
        # Whether that revision has yet to happen.
        self.ahead = False
        # Where lines go while nothing waits here and somebody is in `next`; None for those who only ask.
        self.sink: Sink | None = None

    def push(self, line: bytes, revision: int) -> None:
        """Queue a line; a watcher that lags too far behind expires instead."""
        if self.cohort is not None:
            self.cohort.leave(self)
        if self.expired or revision <= self.revision:
            return  # it asked for what comes after a revision that has yet to happen
        self.revision = revision
        self.ahead = False
        if len(self._lines) >= WATCHER_LAG_EVENTS:
            self.expire()
            return
        self._lines.append(line)
        self._wake()

    def told(self) -> int:
        """The last revision that it has been told of, or will be with what gathers for it."""
        return self.revision if self.cohort is None else max(self.revision, self.audience.revision)

    def left(self, owed: list[bytes], revision: int) -> None:
        """Be out of the cohort, which still owes these lines."""
        self.cohort = None
        self.revision = max(self.revision, revision)
        self._lines.extend(owed)
        self._wake()

    def expire(self) -> None:
        """End this watch with 410: what it missed cannot be given any more."""
        if self.cohort is not None:
            self.cohort.leave(self)
        self.expired = True
        self._lines.clear()
        self._wake()

    def end(self) -> None:
        """Let the reader have what waits, and then nothing more."""
        if self.cohort is not None:
            self.cohort.leave(self)
        self.ended = True
        self._wake()

    async def next(self) -> bytes:
        """Lines that wait, joined; b"" once it has ended or expired, or its sink could take no more."""
        if not self._lines and not self.expired and not self.ended:
            self._ready = asyncio.get_running_loop().create_future()
            if self.sink is not None and not self.ahead:
                self.audience.join(self)
            try:
                await self._ready
            finally:
                self._ready = None
                if self.cohort is not None:
                    self.cohort.leave(self)
        return self._taken()

    def close(self) -> None:
        """Take no more events."""
        if self.cohort is not None:
            self.cohort.leave(self)
        self._of.forget(self)

    def _taken(self) -> bytes:
        waiting = self._lines
        if len(waiting) == 1:
            return waiting.popleft()
        taken, size = [], 0
        while waiting and size < WRITE_MOST_BYTES:
            line = waiting.popleft()
            taken.append(line)
            size += len(line)
        return b"".join(taken)

    def _wake(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)


class Audience:
    """The watchers that get the same lines."""

    __slots__ = ("_match", "_pump", "_render", "cohorts", "queued", "revision")

    def __init__(self, match: Match | None, render: Render, pump: Pump) -> None:
        self._match = match
        self._render = render
        self._pump = pump
        # Those that take their lines from their own queues.
        self.queued: dict[Watcher, None] = {}
        self.cohorts: list[Cohort] = []
        # Of the last line.
        self.revision = 0

    @property
    def key(self) -> tuple[Match | None, Render]:
        return self._match, self._render

    @property
    def empty(self) -> bool:
        return not self.queued and not self.cohorts

    def watchers(self) -> Iterator[Watcher]:
        yield from self.queued
        for cohort in self.cohorts:
            yield from cohort.members

    def offer(self, event: Event) -> None:
        """Give every watcher the line of the event, if there is one for this selector."""
        try:
            line = self._line(event)
        except Exception:  # one object that cannot be shown must not stop the feed of all others
            _log.exception("watches end: %s cannot be shown", event.item.key)
            for watcher in list(self.watchers()):
                watcher.expire()
            return
        if line is None:
            return
        self.revision = event.revision
        for watcher in self.queued:
            watcher.push(line, event.revision)
        for cohort in tuple(self.cohorts):
            cohort.offer(line)

    def replay(self, event: Event, watcher: Watcher) -> None:
        """Give one watcher the line of an event from before it came."""
        try:
            line = self._line(event)
        except Exception:
            _log.exception("a watch ends: %s cannot be shown", event.item.key)
            watcher.expire()
            return
        if line is not None:
            watcher.push(line, event.revision)

    def _line(self, event: Event) -> bytes | None:
        event_type = self._type_for(event)
        return None if event_type is None else event.line(event_type, self._render)

    def join(self, watcher: Watcher) -> None:
        """Write to this watcher directly from now on: it has had all lines up to now."""
        for cohort in self.cohorts:
            if len(cohort.members) < COHORT_WATCHERS:
                break
        else:
            cohort = Cohort(self, self._pump)
            self.cohorts.append(cohort)
        self.queued.pop(watcher, None)
        cohort.join(watcher)

    def gathers_s(self) -> float:
        """How long lines gather before they are written."""
        wait_s = (len(self.cohorts) - 1) * COHORT_WATCHERS * GATHER_EACH_S
        return min(max(wait_s, GATHER_LEAST_S), GATHER_MOST_S)

    def _type_for(self, event: Event) -> str | None:
        if self._match is None:
            return event.type
        is_in = event.type != DELETED and self._match(event.item)
        before = event.previous
        was_in = before is not None and self._match(before)
        if is_in:
            return MODIFIED if was_in else ADDED
        return DELETED if was_in else None


class Cohort:
    """Watchers of one audience that are written to one after the other."""

    __slots__ = ("_audience", "_free_at_s", "_late", "_pending", "_pump", "_waits", "members")

    def __init__(self, audience: Audience, pump: Pump) -> None:
        self._audience = audience
        self._pump = pump
        self.members: dict[Watcher, None] = {}
        self._pending: list[bytes] = []
        # How many of the pending lines came before a member did.
        self._late: dict[Watcher, int] = {}
        # Whether it is known when this will be flushed.
        self._waits = False
        # When the next line need not gather any more, by time.perf_counter.
        self._free_at_s = 0.0

    def offer(self, line: bytes) -> None:
        """Let a line gather."""
        if len(self._pending) >= WATCHER_LAG_EVENTS:
            for watcher in list(self.members):
                watcher.expire()
            return
        self._pending.append(line)
        if not self._waits:
            self._waits = True
            wait_s = self._free_at_s - time.perf_counter()
            if wait_s > 0:
                asyncio.get_running_loop().call_later(wait_s, self._pump.add, self)
            else:
                self._pump.add(self)

    def join(self, watcher: Watcher) -> None:
        self.members[watcher] = None
        watcher.cohort = self
        if self._pending:
            self._late[watcher] = len(self._pending)

    def leave(self, watcher: Watcher) -> None:
        """Let a watcher take its lines from its queue again, beginning with what has gathered for it."""
        del self.members[watcher]
        owed = self._pending[self._late.pop(watcher, 0) :]
        audience = self._audience
        audience.queued[watcher] = None
        if not self.members:
            audience.cohorts.remove(self)
        watcher.left(owed, audience.revision)

    def flush(self) -> None:
        """Write what has gathered, or the first part of it where it is much."""
        self._waits = False
        taken, self._pending = _parted(self._pending)
        if not taken or not self.members:
            return
        self._write_all(taken)
        if self._pending and self.members:
            self._waits = True
            self._pump.add(self)
        else:
            self._free_at_s = time.perf_counter() + self._audience.gathers_s()

    def _write_all(self, taken: list[bytes]) -> None:
        lines = Lines(b"".join(taken))
        if not self._late:
            self._write(tuple(self.members), lines)
            return
        late, self._late = self._late, {}
        for watcher in tuple(self.members):
            mine = lines
            if watcher in late:
                if late[watcher] > len(taken):
                    self._late[watcher] = late[watcher] - len(taken)
                mine = Lines(b"".join(taken[late[watcher] :]))
            if mine.data:
                self._write((watcher,), mine)

    def _write(self, watchers: Iterable[Watcher], lines: Lines) -> None:
        for watcher in watchers:
            try:
                if watcher.sink(lines) or watcher.cohort is not self:  # type: ignore[misc]
                    continue
            except Exception:
                _log.exception("a watch ends: it cannot be written to")
                watcher.expire()
                continue
            self.leave(watcher)


class Pump:
    """Flushes cohorts by turns of the event loop, so that requests are answered in between."""

    __slots__ = ("_due", "_turns")

    def __init__(self) -> None:
        self._due: deque[Cohort] = deque()
        self._turns = False

    def add(self, cohort: Cohort) -> None:
        """Flush this cohort when all that came before have been."""
        self._due.append(cohort)
        if not self._turns:
            self._turns = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        due, written = self._due, 0
        try:
            # No more than are there now: a flush may add its own cohort again.
            for _ in range(len(due)):
                cohort = due.popleft()
                written += len(cohort.members)
                cohort.flush()
                if written >= COHORT_WATCHERS:
                    break
        finally:
            self._turns = bool(due)
            if due:
                asyncio.get_running_loop().call_soon(self._turn)


def _parted(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The lines to write now, and the rest."""
    size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if size >= WRITE_MOST_BYTES:
            return lines[:number], lines[number:]
    return lines, []
