"""The shell around the cycle: keeps the world, decides pod by pod, binds, and says why pods wait.

The world counts a pod from the moment it is decided for, not from when its binding is seen, so that no
two decisions ever share the same room; a binding that fails gives the room back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.base.ids import Ids
from sampan.base.waiting import first_done
from sampan.client.cache import key_of
from sampan.client.client import Client
from sampan.client.effects import Emit, Ref
from sampan.client.errors import ApiError
from sampan.client.events import Recorder
from sampan.client.informer import SharedInformers
from sampan.scheduler import extended
from sampan.scheduler.binding import preempt
from sampan.scheduler.configuration import Configuration
from sampan.scheduler.cycle import Engine
from sampan.scheduler.deadlines import rank_of
from sampan.scheduler.decision import Decision
from sampan.scheduler.extenders import Extenders
from sampan.scheduler.framework import Refused
from sampan.scheduler.ganging import Ganging, Hands, held_back_word, whole_groups
from sampan.scheduler.gangs import group_of
from sampan.scheduler.placing import Parts, Placing
from sampan.scheduler.plugins.dynamic_resources import DynamicResources, movable
from sampan.scheduler.plugins.gang_scheduling import GangScheduling
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.preemption import Outcome, Preemption, Victims
from sampan.scheduler.profile import Profile, without
from sampan.scheduler.queue import FIRST_BACKOFF_S, Queue, Waiting
from sampan.scheduler.registry import DEFAULT_NAME, default_profile
from sampan.scheduler.telling import FAILED, Teller, Word, ref
from sampan.scheduler.unclaimed import Unclaimed
from sampan.scheduler.watching import KINDS, Watching
from sampan.scheduler.world import World
from sampan.schema import api

NAME: Final = DEFAULT_NAME
# Decisions between two turns of the event loop: keeps watches flowing under a burst.
DECISIONS_A_TURN: Final = 16

_log = logging.getLogger(__name__)


class Scheduler:
    """Schedules the pods that name one of its profiles. One runs at a time in a cluster."""

    def __init__(
        self,
        client: Client,
        informers: SharedInformers,
        clock: Clock,
        ids: Ids,
        *,
        configuration: Configuration | None = None,
        chance: random.Random | None = None,
        device_claims: bool = True,
        device_taint_rules: bool = True,
        pod_groups: bool = False,
        events_delay_s: float = 0.0,
    ) -> None:
        """Without `device_claims` the server has no resource.k8s.io/v1 (before Kubernetes 1.34), without
        `device_taint_rules` no such kind in it (before 1.37); with `pod_groups` it has
        scheduling.k8s.io/v1beta1, and pods of a group are scheduled together. Events are written
        `events_delay_s` late."""
        chosen = configuration or Configuration((default_profile(),))
        profiles = chosen.profiles
        if not device_claims:
            profiles = tuple(without(p, DynamicResources) for p in profiles)
        if not pod_groups:
            profiles = tuple(without(p, GangScheduling) for p in profiles)
        more = [
            kind for p in profiles for plugin in p.all_plugins for kind in plugin.kinds if kind not in KINDS
        ]
        if not device_taint_rules:
            more = [kind for kind in more if kind is not api.DeviceTaintRule]
        others = {kind: informers.of(kind) for kind in (*KINDS, *more)}
        self._extenders = Extenders(chosen.extenders) if chosen.extenders else None
        self.queue = Queue(first_backoff_s=chosen.first_backoff_s, max_backoff_s=chosen.max_backoff_s)
        self.world = World({kind: informer.cache for kind, informer in others.items()})
        self.engines = {p.name: Engine(p, self.world) for p in profiles}
        self._preemptions = {
            p.name: Preemption(self.engines[p.name], share=p.preemption_share, least=p.preemption_least)
            for p in profiles
            if p.preempts
        }
        self._client = client
        self._clock = clock
        self._chance = chance or random.Random()
        self._others = others
        self._recorders = {
            name: Recorder(client, clock, name, delay_s=events_delay_s) for name in self.engines
        }
        self._wake = asyncio.Event()
        self._ran_before = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching = Watching(informers, self.queue, self.engines, self.world, self._wake.set, self._rank)
        self._pods = self._watching.pods
        self._teller = Teller(client, clock, self._pods.cache, self._recorder)
        self._placing = Placing(self._parts())
        self._unclaimed = Unclaimed(self._pods.cache, self.engines, clock, self._recorder(""))
        self._watching.left_alone = self._unclaimed.seen
        for kind in (api.PersistentVolumeClaim, api.PersistentVolume):
            others[kind].on_change(lambda old, new: self._placing.volumes_changed())
        if api.ResourceClaim in others:
            others[api.ResourceClaim].on_change(lambda old, new: self._placing.claims_changed())
        self._watching.pod_seen = self._placing.pod_seen
        self._watching.nodes.on_change(lambda old, new: self._placing.volumes_changed())
        self._watching.told = self._teller.forget
        self._watching.held_back = lambda pod, why: self._teller.tell(key_of(pod), held_back_word(pod, why))
        self._ganging = Ganging(self._hands(), client, clock) if pod_groups else None
        self._watching.budgets_changed = self._budgets_changed
        self._watching.start()
        for kind, informer in others.items():
            self._watching.listen(kind, informer, frees=kind in more)

    @property
    def kinds(self) -> tuple[type[Any], ...]:
        """What it looks at beside pods and nodes: of that what the server has."""
        return tuple(self._others)

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """What it decides by."""
        return tuple(engine.profile for engine in self.engines.values())

    async def run(self) -> None:
        """Schedule until cancelled; may be run again, and then goes by what the cluster holds by then."""
        for informer in (self._watching.nodes, *self._others.values(), self._pods):
            await informer.synced()
        self._watching.start_over()
        if self._ran_before:
            self._watching.believe(await self._read_pods())
            await self._placing.reserving.settle()
        self._ran_before = True
        self._placing.begin()
        self.world.promises.clear()
        self._teller.clear()
        work = [
            self._teller.run(),
            self._unclaimed.run(),
            *(recorder.run() for recorder in self._recorders.values()),
        ]
        helpers = [asyncio.create_task(each) for each in work]
        try:
            while True:
                self._wake.clear()
                await self._drain()
                await self._sleep()
        finally:
            ending = [*helpers, *self._tasks]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            if self._extenders is not None:
                await self._extenders.close()

    async def _read_pods(self) -> list[api.Pod]:
        """All pods as they are now: watches may be behind what an earlier run or another scheduler bound."""
        while True:
            try:
                return (await self._client.list(api.Pod)).items
            except (ApiError, ConnectionError, TimeoutError) as problem:
                _log.warning("the pods cannot be read, and nothing is scheduled until they are: %s", problem)
                await self._clock.sleep(FIRST_BACKOFF_S)

    def explain(self, pod: api.Pod) -> list[tuple[str, str, str]]:
        """For each node: its name, the plugin that refuses the pod there ("" for none), and why."""
        engine = self.engines.get(pod.spec.schedulerName or "") or next(iter(self.engines.values()))
        return engine.explain(self.world.infos.of(pod))

    async def _drain(self) -> None:
        done = 0
        while (waiting := self.queue.pop(self._clock.monotonic_s())) is not None:
            try:
                await self._try(waiting)
            except Exception as problem:  # one pod that cannot be decided for must not stop the others
                self._failed(waiting, problem)
            done += 1
            if done % DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)

    async def _sleep(self) -> None:
        """Wait for an event, or for the next pod to come out of back-off."""
        due_s = self.queue.next_due_s()
        if due_s is None:
            await self._wake.wait()
            return
        left_s = max(due_s - self._clock.monotonic_s(), 0)
        await first_done(self._wake.wait(), self._clock.sleep(left_s))

    async def _try(self, waiting: Waiting) -> None:
        pod = self._pods.cache.get(*waiting.key)
        if pod is None or pod.metadata.uid != waiting.uid or not self._watching.is_mine(pod):
            self.queue.remove(waiting.key, waiting.uid)
            return
        if self._ganging is not None and pod.spec.schedulingGroup is not None:
            group = group_of(pod)
            if group is not None and self._watching.is_ganged(pod):
                await self._ganging.attempt(waiting, pod, group)
                return
        info = self.world.infos.of(pod)
        engine = self.engines[pod.spec.schedulerName or ""]
        lost: frozenset[str] = frozenset()
        if self._extenders is not None and self._extenders.concern(info):
            decision, lost = await self._ask_extenders(self._extenders, engine, info)
        else:
            decision = engine.decide(info, self._chance.choice)
        if not decision.node:
            await self._refused(waiting, info, decision, lost)
            return
        self._teller.forget(waiting.key)
        work = self._reserve(waiting, info, engine, decision)
        if work is None:
            return
        await self._placing.place(waiting, info, decision.node, work)

    def _reserve(
        self, waiting: Waiting, pod: PodInfo, engine: Engine, decision: Decision
    ) -> list[Any] | None:
        """What is to be done before the pod is bound; None where a plugin turned it down after all."""
        try:
            return engine.reserve(pod, decision.row)
        except Exception as problem:
            self._placing.unreserve(pod, decision.node)
            if not isinstance(problem, Refused):
                raise
            self.queue.park(waiting, frozenset({problem.plugin}), self._clock.monotonic_s())
            self._teller.tell(waiting.key, Word(pod.pod, str(problem)))
            return None

    async def _ask_extenders(
        self, extenders: Extenders, engine: Engine, pod: PodInfo
    ) -> tuple[Decision, frozenset[str]]:
        found = await extended.decide(engine, extenders, pod, self._chance.choice)
        return found.decision, found.lost

    def _is_asked_about(self, pod: PodInfo) -> bool:
        return self._extenders is not None and self._extenders.concern(pod)

    async def _ask(self, engine: Engine, pod: PodInfo) -> Decision:
        if self._extenders is None or not self._extenders.concern(pod):
            return engine.decide(pod, self._chance.choice)
        return (await self._ask_extenders(self._extenders, engine, pod))[0]

    async def _refused(
        self, waiting: Waiting, pod: PodInfo, decision: Decision, lost: frozenset[str] = frozenset()
    ) -> None:
        """No node will do: see whether less important pods can make room, and say what came of it."""
        name = pod.spec.schedulerName or ""
        preemption = self._preemptions.get(name)
        outcome = Outcome()
        if preemption is not None and decision.nodes:
            outcome = await self._find_victims(preemption, pod, lost)
        nominated: str | None = None
        if outcome.victims is not None:
            nominated = outcome.victims.node
            self._promise(pod, whole_groups(self.world, outcome.victims))
        elif self.world.nomination(pod.key) and "terminating" not in outcome.message:
            nominated = ""
            self.world.nominate(pod, "")
        self.queue.park(waiting, decision.refused_by, self._clock.monotonic_s())
        uses_devices = pod.spec.resourceClaims or self.world.devices.extended
        if uses_devices and (claim := movable(pod, self.world)) is not None:
            self._start(self._placing.reserving.give_back(claim, pod))
        told = msgspec.structs.replace(decision, after=outcome.message)
        self._teller.tell(waiting.key, Word(pod.pod, told.message, nominated=nominated))

    async def _find_victims(self, preemption: Preemption, pod: PodInfo, lost: frozenset[str]) -> Outcome:
        engine = self.engines[pod.spec.schedulerName or ""]
        found = engine.diagnose(pod)
        extended.forget_lost(engine, found, lost)
        if self._extenders is not None and self._extenders.preempt(pod):
            return await extended.victims(preemption, self._extenders, pod, found, self._offset)
        return preemption.find(pod, found, self._offset)

    def _offset(self, count: int) -> int:
        return self._chance.randrange(count) if count else 0

    def _promise(self, pod: PodInfo, victims: Victims) -> None:
        """Promise the node to the pod and send its victims away; less important promises end."""
        for other in list(self.world.nominated.get(victims.node, {}).values()):
            if other.priority < pod.priority:
                self.world.nominate(other, "")
                self._teller.tell_nomination(other.pod, "")
        self.world.nominate(pod, victims.node)
        for victim in victims.pods:
            self._start(self._send_away(victim, pod, victims.node))

    async def _send_away(self, victim: PodInfo, pod: PodInfo, node: str) -> None:
        name = pod.spec.schedulerName or ""
        message = f"Preempted by pod {pod.uid} on node {node}"
        try:
            if not victim.terminating:
                await preempt(self._client, self._clock, victim, name)
        except Exception as problem:  # the pod is tried again and finds the victim still there
            _log.warning("preempting %s/%s failed: %s", *victim.key, problem)
            self.world.nominate(pod, "")
            self.queue.activate(pod.key)
            self._wake.set()
            return
        about: Ref = ref(victim.pod)
        self._recorder(name).emit(Emit(about, "Normal", "Preempted", message, "Preempting"))

    def _rank(self, pod: api.Pod) -> float:
        engine = self.engines.get(pod.spec.schedulerName or "")
        return rank_of(pod) if engine is not None and engine.profile.by_deadline else 0.0

    def _budgets_changed(self) -> None:
        for preemption in self._preemptions.values():
            preemption.budgets_version += 1

    def _failed(self, waiting: Waiting, problem: Exception) -> None:
        _log.error("deciding for %s/%s failed and is tried again", *waiting.key, exc_info=problem)
        self.queue.retry_later(waiting, self._clock.monotonic_s())
        pod = self._pods.cache.get(*waiting.key)
        if pod is not None and pod.metadata.uid == waiting.uid:
            self._teller.tell(waiting.key, Word(pod, str(problem) or type(problem).__name__, FAILED))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _recorder(self, name: str) -> Recorder:
        return self._recorders.get(name) or next(iter(self._recorders.values()))

    def _parts(self) -> Parts:
        """What those need who carry a decision out."""
        return Parts(
            client=self._client,
            clock=self._clock,
            world=self.world,
            queue=self.queue,
            engines=self.engines,
            watching=self._watching,
            teller=self._teller,
            extenders=self._extenders,
            recorder=self._recorder,
            start=self._start,
            wake=self._wake.set,
        )

    def _hands(self) -> Hands:
        """What the cycle of pod groups needs of this one."""
        return Hands(
            world=self.world,
            queue=self.queue,
            engines=self.engines,
            preemptions=self._preemptions,
            watching=self._watching,
            teller=self._teller,
            choose=self._chance.choice,
            offset=self._offset,
            is_asked_about=self._is_asked_about,
            ask=self._ask,
            failed=self._failed,
            refused=self._refused,
            start=self._start,
            preempt=self._promise,
            make_ready=self._placing.make_ready,
            bind_ready=self._placing.bind_ready,
            give_back=self._placing.give_back,
            unreserve=self._placing.unreserve,
        )
