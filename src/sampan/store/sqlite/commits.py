"""Group commit: what comes in while a transaction is under way goes into the next one together."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from sampan.store.backend import Committed, Guard, Op, StoreUnavailable
from sampan.store.index import Draft, Index, Refused, Row
from sampan.store.sqlite.file import Work
from sampan.store.sqlite.writer import Writer

# How many commits wait for the disk before further ones are turned away.
MAX_WAITING_COMMITS = 10_000
# A transaction takes no further commit once it has so many rows: bounds the wait of those that come next.
MAX_TRANSACTION_ROWS = 2_048
# So many commits begin a transaction at once where the disk is idle; fewer wait for what else comes in the
# same turn of the event loop. So of many clients some wait for the disk while others are answered, rather
# than all at the same time.
WORTH_A_TRANSACTION = 16

Outcome = Committed | Refused


class _Commit(msgspec.Struct):
    guards: Sequence[Guard]
    ops: Sequence[Op]
    done: asyncio.Future[Outcome]


class _Step(msgspec.Struct):
    """A step of a compaction; it rides along with a transaction, so it costs no sync of its own."""

    places: Sequence[int]
    floor: int
    done: asyncio.Future[None]


class CommitQueue:
    """Plans waiting commits against the index, has them written, and settles them. On one event loop.

    `take_in` is called with the rows of every durable transaction, before its commits are answered.
    """

    def __init__(self, index: Index, writer: Writer, take_in: Callable[[list[Row]], None]) -> None:
        self._index = index
        self._writer = writer
        self._take_in = take_in
        self._commits: deque[_Commit] = deque()
        self._steps: deque[_Step] = deque()
        self._woken = False
        self._writing = False
        self._drained: asyncio.Event | None = None

    def commit(self, guards: Sequence[Guard], ops: Sequence[Op]) -> asyncio.Future[Outcome]:
        """Queue one commit. Raises StoreUnavailable where too many wait already."""
        if len(self._commits) >= MAX_WAITING_COMMITS:
            raise StoreUnavailable(
                f"{MAX_WAITING_COMMITS} commits are waiting for the disk already: try again in a moment"
            )
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Outcome] = loop.create_future()
        self._commits.append(_Commit(guards, ops, done))
        self._wake(loop)
        return done

    def forget(self, places: Sequence[int], floor: int) -> asyncio.Future[None]:
        """Queue one step of a compaction to `floor`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._steps.append(_Step(places, floor, done))
        self._wake(loop)
        return done

    async def drain(self) -> None:
        """Return once nothing waits and nothing is being written."""
        self._drained = asyncio.Event()
        self._wake(asyncio.get_running_loop())
        await self._drained.wait()

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._writing:
            return
        if len(self._commits) >= WORTH_A_TRANSACTION:
            self._start(loop)
        elif not self._woken:
            # At the next turn of the loop, so that everybody who commits in this one shares a transaction.
            self._woken = True
            loop.call_soon(self._start_waiting, loop)

    def _start_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        self._woken = False
        if not self._writing:
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        draft = Draft(self._index)
        answers: list[tuple[asyncio.Future[Outcome], Outcome]] = []
        while self._commits and len(draft.rows) < MAX_TRANSACTION_ROWS:
            commit = self._commits.popleft()
            if commit.done.cancelled():
                continue
            try:
                answers.append((commit.done, draft.add(commit.guards, commit.ops)))
            except ValueError as error:
                commit.done.set_exception(error)
        step = self._steps.popleft() if self._steps else None
        if draft.rows or step is not None:
            self._writing = True
            work = Work(draft.rows)
            if step is not None:
                work = Work(draft.rows, step.places, step.floor)
            self._writer.submit(work, loop, functools.partial(self._finish, loop, draft.rows, answers, step))
            return
        # Nothing to write, so all of it rests on what is durable already.
        _settle(answers)
        self._go_on(loop)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        rows: list[Row],
        answers: list[tuple[asyncio.Future[Outcome], Outcome]],
        step: _Step | None,
        error: StoreUnavailable | None,
    ) -> None:
        self._writing = False
        if error is None:
            self._take_in(rows)
            _settle(answers)
            if step is not None and not step.done.done():
                step.done.set_result(None)
        else:
            # Also those whose guards did not hold, or that changed nothing: they may rest on what failed.
            waiters: list[asyncio.Future[Outcome] | asyncio.Future[None]] = [done for done, _ in answers]
            if step is not None:
                waiters.append(step.done)
            for done in waiters:
                if not done.done():
                    done.set_exception(StoreUnavailable(str(error)))
        self._go_on(loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._commits or self._steps:
            self._wake(loop)
        elif self._drained is not None:
            self._drained.set()


def _settle(answers: list[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for done, outcome in answers:
        if not done.done():
            done.set_result(outcome)
