"""Commits of what writes have made: with what they charge to quotas, under their authors' terms, and seen.

Whoever has the answer of a write must find it in every later answer, so a commit ends when the watch cache
has come as far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, Final

from sampan.apiserver.core import fencing, status
from sampan.apiserver.core.admission.quotas import Quotas
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.fencing import Fence
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.turns import Turns
from sampan.base.errors import SampanError
from sampan.store.backend import Committed, Conflict, Guard, Op, Store
from sampan.store.watchcache import WatchCache

# Lost races against other writers before a write without a resourceVersion gives up with 409.
MAX_ATTEMPTS: Final = 50


class Commits:
    """The one way into the store for objects of clients."""

    def __init__(self, store: Store, cache: WatchCache, turns: Turns, quotas: Quotas | None = None) -> None:
        self._store = store
        self._cache = cache
        self._turns = turns
        self._quotas = quotas
        # Is told how many seconds each commit took.
        self.timed: Callable[[float], None] | None = None

    def charges(self, context: Context, obj: Any) -> bool:
        """Whether a write of the object counts against a quota."""
        quotas = self._quotas
        return quotas is not None and quotas.watch(obj.metadata.namespace or "", context.resource.kind)

    async def charged(
        self,
        context: Context,
        guards: Sequence[Guard],
        ops: Sequence[Op],
        before: Any,
        after: Any,
        *,
        forced: bool = False,
    ) -> Committed | Conflict:
        """Commit, and with it what the write makes used of the namespace's quotas. Raises 403.

        A Conflict is about the guards given; one about a quota is run again.
        """
        obj = after if after is not None else before
        if not self.charges(context, obj):
            return await self.commit(guards, ops, context.fence)
        quotas, namespace, key = self._quotas, obj.metadata.namespace, ops[0].key
        assert quotas is not None
        async with self._turns.alone(f"quotas of {namespace}"):
            for _ in range(MAX_ATTEMPTS):
                charged, puts = quotas.charge(context, namespace, key, before, after, forced=forced)
                outcome = await self.commit([*guards, *charged], [*ops, *puts], context.fence)
                if not isinstance(outcome, Conflict) or not _is_about(outcome, charged):
                    return outcome
        raise status.conflict(
            context.resource.kind, obj.metadata.name or "", "its quota is written too often"
        )

    async def commit(
        self, guards: Sequence[Guard], ops: Sequence[Op], fence: Fence | None = None
    ) -> Committed | Conflict:
        """Commit, while the author leads where that is asked; 503 where the store refuses."""
        began_s = perf_counter()
        try:
            if fence is None:
                outcome = await self._store.commit(guards, ops)
            else:
                outcome = await self._fenced(guards, ops, fence)
            # Whoever has the answer must find the write in every later answer.
            await self._cache.reached(outcome.revision)
        except SampanError as refused:
            raise status.unavailable(str(refused)) from refused
        if self.timed is not None:
            self.timed(perf_counter() - began_s)
        return outcome

    async def each(
        self, writes: Sequence[tuple[Sequence[Guard], Sequence[Op]]]
    ) -> list[Committed | Conflict | StatusError]:
        """Commit writes that have nothing to do with each other at the same time, each for itself."""
        began_s = perf_counter()
        commits = [self._store.commit(guards, ops) for guards, ops in writes]
        outcomes: list[Committed | Conflict | StatusError] = []
        last = 0
        answers = (
            [await _answer(each) for each in commits]
            if self._store.commits_at_once
            else await asyncio.gather(*commits, return_exceptions=True)
        )
        for found in answers:
            if isinstance(found, SampanError):
                outcomes.append(status.unavailable(str(found)))
            elif isinstance(found, BaseException):
                raise found
            else:
                last = max(last, found.revision)
                outcomes.append(found)
        try:
            await self._cache.reached(last)  # as in `commit`, once for all of them
        except SampanError as refused:
            return [status.unavailable(str(refused))] * len(outcomes)
        if self.timed is not None:
            took_s = perf_counter() - began_s
            for _ in outcomes:
                self.timed(took_s)
        return outcomes

    async def _fenced(self, guards: Sequence[Guard], ops: Sequence[Op], fence: Fence) -> Committed | Conflict:
        """Commit while the author leads; a Lease that was only renewed meanwhile is looked at again."""
        for _ in range(MAX_ATTEMPTS):
            lease = fencing.guard(fence, self._cache)
            outcome = await self._store.commit([lease, *guards], ops)
            if isinstance(outcome, Committed) or not fencing.is_renewal(outcome, guards):
                break
            await self._cache.reached(outcome.revision)
        return outcome


def _is_about(conflict: Conflict, guards: Sequence[Guard]) -> bool:
    """Whether nothing but these guards can have failed."""
    held = {entry.key: entry.mod_revision for entry in conflict.current}
    return any(held.get(guard.key, 0) != guard.mod_revision for guard in guards)


async def _answer(commit: Awaitable[Committed | Conflict]) -> Committed | Conflict | SampanError:
    try:
        return await commit
    except SampanError as refused:
        return refused
