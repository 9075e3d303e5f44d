"""Pods that name a scheduler of which nothing is heard: an event says so, for else nobody would.

As upstream, such a pod has no condition: that is for its own scheduler to write. But who misspelt a name
would wait for good without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from sampan.base.clock import Clock
from sampan.client.cache import Cache, key_of
from sampan.client.effects import Emit
from sampan.client.events import Recorder
from sampan.kinds.core.phases import is_finished
from sampan.scheduler.podinfo import Key
from sampan.scheduler.telling import ref
from sampan.schema import api

# How long a scheduler that runs elsewhere has for its first word.
PATIENCE_S: Final = 60.0
REASON: Final = "UnknownScheduler"
_GATED: Final = "SchedulingGated"


class Unclaimed:
    """Waits for the other scheduler's word on each pod, once. `served` are the names that are served here."""

    def __init__(
        self, pods: Cache[api.Pod], served: Collection[str], clock: Clock, recorder: Recorder
    ) -> None:
        self._pods = pods
        self._served = served
        self._clock = clock
        self._recorder = recorder
        # When each is told of, the earliest first: all wait for the same time.
        self._due: dict[tuple[Key, str], float] = {}
        self._something = asyncio.Event()

    def seen(self, pod: api.Pod) -> None:
        """A pod that this scheduler leaves alone is there, or has changed."""
        if not self._is_unclaimed(pod):
            return
        named = key_of(pod), pod.metadata.uid or ""
        if named not in self._due:
            self._due[named] = self._clock.monotonic_s() + PATIENCE_S
            self._something.set()

    async def run(self) -> None:
        """Tell of them when they are due, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._due:
                (key, uid), due_s = next(iter(self._due.items()))
                await self._clock.sleep(max(due_s - self._clock.monotonic_s(), 0))
                self._due.pop((key, uid), None)
                pod = self._pods.get(*key)
                if pod is not None and pod.metadata.uid == uid and self._is_unclaimed(pod):
                    self._tell(pod)

    def _is_unclaimed(self, pod: api.Pod) -> bool:
        return (
            pod.spec.schedulerName not in self._served
            and not pod.spec.nodeName
            and not pod.spec.schedulingGates
            and not pod.status.nominatedNodeName
            and pod.metadata.deletionTimestamp is None
            and not is_finished(pod)
            and all(c.type != "PodScheduled" or c.reason == _GATED for c in pod.status.conditions)
        )

    def _tell(self, pod: api.Pod) -> None:
        own = " or ".join(sorted(self._served))
        message = (
            f"nothing has been heard of a scheduler named {pod.spec.schedulerName!r} for {PATIENCE_S:.0f} s: "
            f"run it, or make the pod anew with schedulerName {own}"
        )
        self._recorder.emit(Emit(ref(pod), "Warning", REASON, message, "Scheduling"))
