"""Evicts what is planned, every so often, through the eviction API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.effects import Emit, Evict, Plan, Ref
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.client.executor import Executor
from sampan.descheduler.planning import plan
from sampan.descheduler.policy import Policy
from sampan.descheduler.trial import Eviction
from sampan.scheduler.profile import Profile
from sampan.simulation.asking import snapshot_to_simulate

NAME: Final = "sampan-descheduler"

_log = logging.getLogger(__name__)


class Descheduler:
    """One runs at a time in a cluster. It remembers nothing from one run to the next."""

    def __init__(
        self, client: Client, clock: Clock, policy: Policy, profiles: Sequence[Profile] = ()
    ) -> None:
        """`profiles` are the scheduler's, which say where successors would go."""
        self._client = client
        self._clock = clock
        self._policy = policy
        self._profiles = profiles
        self._recorder = Recorder(client, clock, NAME)
        self._executor = Executor(client, clock, recorder=self._recorder)

    async def run(self) -> None:
        """Run until cancelled; the first time after one interval, when a fresh cluster has come to rest."""
        telling = asyncio.create_task(self._recorder.run())
        try:
            while True:
                await self._clock.sleep(self._policy.interval_s)
                try:
                    await self.once()
                except (ApiError, ConnectionError, TimeoutError) as problem:
                    _log.warning("the cluster could not be looked at, and nothing is evicted: %s", problem)
                except Exception:  # a bug in one run must not take the manager with it
                    _log.exception("descheduling failed")
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def once(self) -> tuple[Eviction, ...]:
        """Plan and evict once; gives what was evicted. Raises ApiError or ConnectionError while it reads."""
        snapshot = await snapshot_to_simulate(self._client, self._profiles)
        planned = plan(snapshot, self._policy, self._profiles, self._clock.now())
        return tuple([each for each in planned if await self._evict(each)])

    async def _evict(self, eviction: Eviction) -> bool:
        meta = eviction.pod.metadata
        ref = Ref("v1", "Pod", meta.namespace or "", meta.name or "", uid=meta.uid or "")
        where = f"{ref.namespace}/{ref.name} on {eviction.node}"
        text = f"pod eviction from {eviction.node} node: {eviction.why}"
        told = Emit(ref, "Normal", eviction.strategy, text, "Descheduled")
        outcome = await self._executor.carry_out(Plan((Evict(ref), told)))
        if outcome.failure is not None:  # a budget, or nobody knows: the next run sees what came of it
            _log.info("%s is not evicted (%s): %s", where, eviction.strategy, outcome.failure.error)
            return False
        _log.info("evicted %s (%s): %s", where, eviction.strategy, eviction.why)
        return True
