"""Carries out what the cycle of a pod group decides: all its pods are bound, or each is told why none is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock, kube_time
from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError
from sampan.scheduler import gangs, groupcycle
from sampan.scheduler.cycle import Choose, Engine
from sampan.scheduler.decision import Decision
from sampan.scheduler.groupcycle import GroupCycle, Taken
from sampan.scheduler.podinfo import Key, PodInfo
from sampan.scheduler.preemption import Outcome, Preemption, Victims
from sampan.scheduler.queue import Queue, Waiting
from sampan.scheduler.telling import FAILED, NOT_READY, UNSCHEDULABLE, Teller, Word
from sampan.scheduler.watching import Watching
from sampan.scheduler.world import World
from sampan.schema import api

SCHEDULED: Final = "PodGroupInitiallyScheduled"
PREEMPTING: Final = "pod group is waiting for preemption to complete"
# Nominations of one group that are written at the same time.
WRITES: Final = 16

_log = logging.getLogger(__name__)


class Member(msgspec.Struct, frozen=True):
    """A pod of the group that is being tried."""

    waiting: Waiting
    pod: PodInfo


class Hands(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler lends to those who schedule groups: its parts, and what it does for single pods."""

    world: World
    queue: Queue
    engines: Mapping[str, Engine]
    preemptions: Mapping[str, Preemption]
    watching: Watching
    teller: Teller
    choose: Choose
    offset: Callable[[int], int]
    is_asked_about: Callable[[PodInfo], bool]
    ask: Callable[[Engine, PodInfo], Awaitable[Decision]]
    failed: Callable[[Waiting, Exception], None]
    refused: Callable[[Waiting, PodInfo, Decision], Awaitable[None]]
    start: Callable[[Coroutine[Any, Any, None]], None]
    preempt: Callable[[PodInfo, Victims], None]
    make_ready: Callable[
        [Waiting, PodInfo, str, Sequence[Any], Sequence[Any]], Awaitable[Sequence[Any] | None]
    ]
    bind_ready: Callable[[Waiting, PodInfo, str, Sequence[Any]], Awaitable[None]]
    give_back: Callable[[Waiting, PodInfo, str, Sequence[Any], Exception], Awaitable[None]]
    unreserve: Callable[[PodInfo, str], None]


class Incomplete(Exception):
    """Another pod of the gang could not be made ready, so that none of them is bound."""


class Ganging:
    """Tries groups for the scheduler, and says in their status what came of it."""

    def __init__(self, hands: Hands, client: Client, clock: Clock) -> None:
        self._hands = hands
        self._world = hands.world
        self._client = client
        self._clock = clock

    async def attempt(self, waiting: Waiting, pod: api.Pod, key: Key) -> None:
        """Try all pods of the group that wait, `waiting` among them. Raises nothing: each pod is told."""
        hands, group = self._hands, self._world.gangs.group(key)
        why = self._world.gangs.waits(key)
        if why or group is None:
            hands.watching.hold_back(pod, why)
            return
        members = self._collect(waiting, key)
        if not members:
            return
        try:
            await self._decide(members, group, key)
        except Exception as problem:  # none of them may stay in flight for good
            for each in members:
                hands.failed(each.waiting, problem)
            self._tell_group(group, False, FAILED, str(problem) or type(problem).__name__)

    def _collect(self, waiting: Waiting, key: Key) -> list[Member]:
        """The group's pods that wait for a node, the most important first."""
        hands, found = self._hands, []
        for own, uid in list(self._world.gangs.members(key).items()):
            pod = hands.watching.pods.cache.get(*own)
            if pod is None or pod.metadata.uid != uid or own in self._world.placed:
                continue
            if not hands.watching.is_mine(pod):
                continue
            entry = waiting if own == waiting.key else hands.queue.take(own)
            if entry is not None and entry.uid == uid:
                found.append(Member(entry, self._world.infos.of(pod)))
        return sorted(found, key=lambda each: (-each.pod.priority, each.waiting.rank))

    async def _decide(self, members: Sequence[Member], group: api.PodGroupV1beta1, key: Key) -> None:
        gangs.check_alike([each.pod.pod for each in members], group)
        engine = self._hands.engines[members[0].pod.spec.schedulerName or ""]
        placed = self._world.placed
        scheduled = [placed[own] for own in self._world.gangs.members(key) if own in placed]
        least, pods = gangs.least_of(group), [each.pod for each in members]
        cycle, why = await self._run(engine, pods, group, least, [each.node for each in scheduled])
        by_key = {each.pod.key: each for each in members}
        if not cycle.succeeded or (gangs.topology_of(group) and not cycle.taken):
            await self._none(cycle, by_key, group, why or cycle.message)
        elif cycle.victims:
            self._preempt(cycle, by_key, group)
        else:
            await self._all(cycle, by_key, group, least, len(scheduled))

    async def _run(
        self, engine: Engine, pods: list[PodInfo], group: api.PodGroupV1beta1, least: int, on: list[str]
    ) -> tuple[GroupCycle, str]:
        choose, unreserve = self._hands.choose, self._hands.unreserve
        label = gangs.topology_of(group)
        if label:
            return groupcycle.run_in_domain(engine, pods, least, on, label, choose, unreserve)
        if any(map(self._hands.is_asked_about, pods)):
            return await self._run_asking(engine, pods, least, len(on)), ""
        preemption = self._hands.preemptions.get(engine.profile.name)
        room = None
        if preemption is not None and gangs.is_gang(group) and group.spec.preemptionPolicy != "Never":
            room = self._make_room(preemption, engine)
        cycle = groupcycle.run(engine, pods, least, len(on), choose, make_room=room, unreserve=unreserve)
        return cycle, ""

    async def _run_asking(
        self, engine: Engine, pods: Sequence[PodInfo], least: int, scheduled: int
    ) -> GroupCycle:
        """The same where extenders have a say; no room is made then. Pods that go meanwhile have no place."""
        cycle = GroupCycle(engine, least, scheduled, len(pods), self._hands.unreserve)
        try:
            for pod in pods:
                if cycle.hopeless:
                    break
                cycle.settle(pod, await self._hands.ask(engine, pod), Outcome())
        except BaseException:
            cycle.undo()
            raise
        cycle.leave_out_gone()
        return cycle

    def _make_room(self, preemption: Preemption, engine: Engine) -> groupcycle.MakeRoom:
        def find(pod: PodInfo) -> Outcome:
            outcome = preemption.find(pod, engine.diagnose(pod), self._hands.offset)
            if outcome.victims is None:
                return outcome
            return Outcome(whole_groups(self._world, outcome.victims), outcome.message)

        return find

    # -- what comes of it ----------------------------------------------------------------------------

    async def _none(
        self, cycle: GroupCycle, members: dict[Key, Member], group: api.PodGroupV1beta1, why: str
    ) -> None:
        """Nobody has a place: every pod waits until something changes for any one of them."""
        cycle.undo()
        reasons = {pod.key: decision for pod, decision in cycle.refused}
        for own, each in members.items():
            nominated = None if cycle.terminating else ""
            if nominated is not None and self._world.nomination(own):
                self._world.nominate(each.pod, "")
            message = reasons[own].message if own in reasons else why
            self._park(each, cycle.refused_by, message, nominated)
        first = next(iter(cycle.refused), None)
        told = f"{why}; {first[0].key[1]}: {first[1].message}" if first is not None else why
        self._tell_group(group, False, UNSCHEDULABLE, told)

    def _preempt(self, cycle: GroupCycle, members: dict[Key, Member], group: api.PodGroupV1beta1) -> None:
        """All have places once their victims have gone: these are sent away, and the places are promised."""
        cycle.undo()
        nodes = {each.pod.key: each.node for each in cycle.taken}
        reasons = {pod.key: decision for pod, decision in cycle.refused}
        # First: it ends less important promises of the node, and members of the gang may be less important.
        for victims in cycle.victims:
            preemptor = next(each.pod for each in cycle.taken if each.node == victims.node)
            self._hands.preempt(preemptor, victims)
        for own, each in members.items():
            node = nodes.get(own, "")
            if node:
                self._world.nominate(each.pod, node)
            message = reasons[own].message if own in reasons else PREEMPTING
            self._park(each, cycle.refused_by, message, node or None)
        self._tell_group(group, False, UNSCHEDULABLE, PREEMPTING)

    async def _all(
        self,
        cycle: GroupCycle,
        members: dict[Key, Member],
        group: api.PodGroupV1beta1,
        least: int,
        scheduled: int,
    ) -> None:
        """Enough have places: these are bound; the others are treated as any pod that no node will do for."""
        hands = self._hands
        for each in cycle.taken:
            hands.teller.forget(each.pod.key)
        if cycle.taken:
            hands.start(self._bind(cycle.taken, members, group, least - scheduled))
        for pod, decision in cycle.refused:
            try:
                await hands.refused(members[pod.key].waiting, pod, decision)
            except Exception as problem:
                hands.failed(members[pod.key].waiting, problem)
        if cycle.taken or scheduled:
            self._tell_group(group, True, "Scheduled", "")
        else:
            why = cycle.refused[0][1].message if cycle.refused else ""
            self._tell_group(group, False, UNSCHEDULABLE, why)

    def _park(self, each: Member, by: frozenset[str], message: str, nominated: str | None) -> None:
        hands = self._hands
        hands.queue.park(each.waiting, by, self._clock.monotonic_s())
        hands.teller.tell(each.pod.key, Word(each.pod.pod, message, nominated=nominated))

    # -- binding -------------------------------------------------------------------------------------

    async def _bind(
        self, taken: Sequence[Taken], members: dict[Key, Member], group: api.PodGroupV1beta1, least: int
    ) -> None:
        """Bind them once enough of them have their volumes and devices; nobody before."""
        hands = self._hands
        if gangs.is_gang(group):
            await self._promise(taken)
        ready = await asyncio.gather(
            *(
                hands.make_ready(members[e.pod.key].waiting, e.pod, e.node, e.volumes, e.devices)
                for e in taken
            )
        )
        those = [(each, done) for each, done in zip(taken, ready, strict=True) if done is not None]
        if len(those) < least:
            problem = Incomplete(f"other pods of pod group {group.metadata.name} could not be made ready")
            for each, done in those:
                await hands.give_back(members[each.pod.key].waiting, each.pod, each.node, done, problem)
            return
        await asyncio.gather(
            *(hands.bind_ready(members[e.pod.key].waiting, e.pod, e.node, done) for e, done in those)
        )

    async def _promise(self, taken: Sequence[Taken]) -> None:
        """Write down where each pod goes: who begins again in mid-gang gives the rest the same places."""
        room = asyncio.Semaphore(WRITES)

        async def write(each: Taken) -> None:
            namespace, name = each.pod.key
            change = {"metadata": {"uid": each.pod.uid}, "status": {"nominatedNodeName": each.node}}
            async with room:
                try:
                    await self._client.patch(
                        api.Pod, name, namespace, change, patch_type=STRATEGIC, subresource="status"
                    )
                except (ApiError, ConnectionError, TimeoutError) as problem:
                    _log.debug("the node of %s/%s could not be written down: %s", namespace, name, problem)

        if len(taken) > 1:
            await asyncio.gather(*map(write, taken))

    # -- the group's status --------------------------------------------------------------------------

    def _tell_group(self, group: api.PodGroupV1beta1, is_true: bool, reason: str, message: str) -> None:
        held = self._world.gangs.group((group.metadata.namespace or "", group.metadata.name or ""))
        change = condition(held, is_true, reason, message, self._now()) if held is not None else None
        if held is not None and change is not None:
            self._hands.start(self._write(held, change))

    async def _write(self, group: api.PodGroupV1beta1, change: dict[str, Any]) -> None:
        meta = group.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [change]}}
        try:
            await self._client.patch(
                api.PodGroupV1beta1,
                meta.name or "",
                meta.namespace or "",
                patch,
                patch_type=STRATEGIC,
                subresource="status",
            )
        except (ApiError, ConnectionError, TimeoutError) as problem:  # said again at the next try
            _log.debug(
                "the status of group %s/%s could not be written: %s", meta.namespace, meta.name, problem
            )

    def _now(self) -> str:
        return kube_time(self._clock.now()).isoformat().replace("+00:00", "Z")


def held_back_word(pod: api.Pod, why: str) -> Word:
    """What is said of a pod that is kept out of the queue."""
    return Word(pod, why, NOT_READY)


def whole_groups(world: World, victims: Victims) -> Victims:
    """The victims, with the other pods of groups that go only all together (disruptionMode all)."""
    found = {pod.key: pod for pod in victims.pods}
    for pod in victims.pods:
        key = gangs.group_of(pod.pod)
        if key is None or not gangs.goes_whole(world.gangs.group(key)):
            continue
        for own in world.gangs.members(key):
            if own in world.placed:
                found.setdefault(own, world.placed[own].pod)
    if len(found) == len(victims.pods):
        return victims
    return msgspec.structs.replace(victims, pods=tuple(found.values()))


def condition(
    group: api.PodGroupV1beta1, is_true: bool, reason: str, message: str, now: str
) -> dict[str, Any] | None:
    """The group's condition, as a patch; None where it says so already. Once it is true, that is for good."""
    known = next((c for c in group.status.conditions if c.type == SCHEDULED), None)
    status = "True" if is_true else "False"
    if known is not None and known.status == "True":
        return None
    if known is not None and (known.status, known.reason, known.message) == (status, reason, message):
        return None
    since = now
    if known is not None and known.status == status and known.lastTransitionTime is not None:
        since = known.lastTransitionTime.isoformat().replace("+00:00", "Z")
    found: dict[str, Any] = {
        "type": SCHEDULED,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }
    if group.metadata.generation:
        found["observedGeneration"] = group.metadata.generation
    return found
