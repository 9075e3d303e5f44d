"""Watches what a node is short of, tells it in the node's conditions, and evicts one pod at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.node.config import AgentConfig
from sampan.node.messages import Evicted
from sampan.node.model import Trouble
from sampan.node.names import log_directory, pod_directory
from sampan.node.pressure import plan
from sampan.node.pressure.measures import amounts, disk_use
from sampan.node.pressure.plan import Amount, Threshold, Use
from sampan.node.runtimes.runtime import Runtime, RuntimeFailure, State, Usage
from sampan.node.turn import is_running
from sampan.node.worker import PodWorker
from sampan.schema import api

# As kubelet: a look every 10 s, and this long for an evicted pod to be gone before the next one is chosen.
CLEANUP_S: Final = 30.0
CLEANUP_CHECK_S: Final = 1.0
# An evicted pod gets no grace of its own.
GRACE_S: Final = 1

_log = logging.getLogger(__name__)


class PressureManager:
    """`reclaim` frees disk without touching pods; `changed` is called when a condition came or went.

    `warn` records an event about the node. Critical pods stay.
    """

    def __init__(
        self,
        workers: Mapping[str, PodWorker],
        runtime: Runtime,
        config: AgentConfig,
        clock: Clock,
        *,
        reclaim: Callable[[], Awaitable[None]],
        changed: Callable[[], None] = lambda: None,
        warn: Callable[[str, str], None] = lambda reason, message: None,
        measure: Callable[[str, str], dict[str, Amount]] = amounts,
    ) -> None:
        self._workers = workers
        self._runtime = runtime
        self._config = config
        self._clock = clock
        self._limits = plan.thresholds(config.eviction_hard)
        self._reclaim = reclaim
        self._changed = changed
        self._warn = warn
        self._measure = measure
        self._seen: dict[str, datetime] = {}

    def conditions(self) -> frozenset[str]:
        """The node conditions that hold: `MemoryPressure`, `DiskPressure`, `PIDPressure`."""
        return frozenset(self._seen)

    def refusal(self, pod: api.Pod) -> Trouble | None:
        """Why the node takes no such pod now; None where it does."""
        return plan.refusal(pod, sorted(self._seen))

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again at the next look."""
        while True:
            try:
                await self.look()
            except (RuntimeFailure, OSError) as error:
                _log.warning("it could not be seen what the node is short of: %s", error)
            await self._clock.sleep(self._config.eviction_period_s)

    async def look(self) -> list[str]:
        """One look; the uids of the pods that had to go. Raises RuntimeFailure and OSError."""
        short, left = await self._short()
        seen = plan.pressing(short, self._seen, self._clock.now(), self._config.pressure_transition_s)
        told, self._seen = seen.keys() != self._seen.keys(), seen
        if told:
            self._changed()
        evicted = await self._evict_greedy()
        if not evicted and short:
            evicted = await self._relieve(short[0], left)
        await self._gone(evicted)
        return evicted

    async def _short(self) -> tuple[list[Threshold], dict[str, Amount]]:
        directory = await self._runtime.image_directory()
        left = await asyncio.to_thread(self._measure, self._config.root_dir, directory)
        return plan.crossed(self._limits, left), left

    async def _evict_greedy(self) -> list[str]:
        """Evict the pods that have more on the disk than their own limits allow."""
        limited = [w for w in self._active() if plan.has_disk_limits(w.pod)]
        if not limited:
            return []
        evicted = []
        usage = await self._usage()
        for worker in limited:
            use = await asyncio.to_thread(self._with_files, worker, self._use(worker, usage))
            why = plan.over_limit(use)
            if why and not plan.is_critical(worker.pod):
                worker.handle(Evicted(plan.REASON, why, GRACE_S))
                evicted.append(worker.uid)
        return evicted

    async def _relieve(self, limit: Threshold, left: Mapping[str, Amount]) -> list[str]:
        """Free what can be freed, and where that is not enough, evict the first of the ranked pods."""
        condition, short_of = plan.SIGNALS[limit.signal]
        self._warn("EvictionThresholdMet", f"Attempting to reclaim {short_of}")
        if condition == "DiskPressure":
            await self._reclaim()
            if not (await self._short())[0]:
                return []
        usage = await self._usage()
        active = {worker.uid: worker for worker in self._active()}
        uses = [self._use(worker, usage) for worker in active.values()]
        if condition == "DiskPressure":  # walking directories helps nobody who is short of memory
            uses = [
                await asyncio.to_thread(self._with_files, worker, use)
                for worker, use in zip(active.values(), uses, strict=True)
            ]
        first = next(iter(plan.ranked(short_of, uses)), None)
        if first is not None:
            worker = active[first.pod.metadata.uid or ""]
            why = plan.message(limit, left[limit.signal], first)
            worker.handle(Evicted(plan.REASON, why, GRACE_S, disruption=True))
            return [worker.uid]
        _log.warning("the node is short of %s, and there is no pod that could be evicted", short_of)
        return []

    async def _gone(self, evicted: list[str]) -> None:
        until_s = self._clock.monotonic_s() + CLEANUP_S
        while self._clock.monotonic_s() < until_s and any(self._is_up(uid) for uid in evicted):
            await self._clock.sleep(CLEANUP_CHECK_S)

    def _is_up(self, uid: str) -> bool:
        worker = self._workers.get(uid)
        return worker is not None and any(is_running(r) for r in worker.state.containers.values())

    # --- what pods use ------------------------------------------------------------------------------------

    def _active(self) -> list[PodWorker]:
        return [w for w in self._workers.values() if w.state.ending is None and w.state.rejected is None]

    async def _usage(self) -> dict[str, Usage]:
        return {usage.container_id: usage for usage in await self._runtime.usage()}

    def _use(self, worker: PodWorker, usage: Mapping[str, Usage]) -> Use:
        """What the runtime says that a pod uses; of its disk that is its containers' own layers."""
        memory, disk = {}, {}
        for name, record in worker.state.containers.items():
            if record.current is None or record.current.state is not State.RUNNING:
                continue
            held = usage.get(record.current.id)
            memory[name] = held.memory_working_set_bytes if held is not None else 0
            disk[name] = held.disk_bytes if held is not None else 0
        return Use(pod=worker.pod, memory=memory, disk=disk)

    def _with_files(self, worker: PodWorker, use: Use) -> Use:
        """The same with what lies in directories: logs and emptyDir volumes. Walks them."""
        logs = Path(log_directory(self._config.log_dir, worker.state.key))
        home = Path(pod_directory(self._config.pods_dir, worker.uid)) / "volumes/kubernetes.io~empty-dir"
        disk, volumes, files = {}, {}, 0
        for name, own_bytes in use.disk.items():
            log_bytes, count = disk_use((logs / name,))
            disk[name] = own_bytes + log_bytes
            files += count
        for volume in worker.pod.spec.volumes:
            if volume.emptyDir is not None and volume.emptyDir.medium != "Memory":
                volumes[volume.name], count = disk_use((home / volume.name,))
                files += count
        return replace(use, disk=disk, volumes=volumes, files=files)
