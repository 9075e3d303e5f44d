"""From a decision to a bound pod: what must be ready first, the binding, and what is given back if it fails.

The room of the pod is taken already when it comes here, and stays taken until it is certain that it is not
bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.effects import Emit
from sampan.client.events import Recorder
from sampan.scheduler.binding import Binder, is_bound
from sampan.scheduler.claims import Work
from sampan.scheduler.cycle import Engine
from sampan.scheduler.devices.ledger import Reserve
from sampan.scheduler.events import pod_event
from sampan.scheduler.extenders import Extenders
from sampan.scheduler.hooks import HookError, Hooks, Turned
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.prebind import PreBind
from sampan.scheduler.queue import Queue, Waiting
from sampan.scheduler.reserving import Reserving, split
from sampan.scheduler.telling import FAILED, UNSCHEDULABLE, Teller, Word, ref
from sampan.scheduler.watching import Watching
from sampan.scheduler.world import World
from sampan.schema import api

# Bindings under way at once; more wait for a place.
BINDINGS: Final = 64

_log = logging.getLogger(__name__)


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What of the scheduler this needs: its state, who tells, who writes. `start` runs what it is given."""

    client: Client
    clock: Clock
    world: World
    queue: Queue
    engines: Mapping[str, Engine]
    watching: Watching
    teller: Teller
    extenders: Extenders | None
    recorder: Callable[[str], Recorder]
    start: Callable[[Coroutine[Any, Any, None]], None]
    wake: Callable[[], None]


class Placing:
    """Makes decided pods ready and binds them, or gives back what was taken for them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._client, self._clock, self._world = parts.client, parts.clock, parts.world
        self._queue, self._watching, self._teller = parts.queue, parts.watching, parts.teller
        self._binder = Binder(parts.client, parts.start)
        self._prebind = PreBind(parts.client, parts.clock, parts.world)
        self.reserving = Reserving(parts.client, parts.clock, parts.world)
        made = {
            name: Hooks(tuple(engine.profile.all_plugins), parts.client, parts.clock, parts.world)
            for name, engine in parts.engines.items()
        }
        self._hooks = {name: hooks for name, hooks in made.items() if hooks}
        self._room = asyncio.Semaphore(BINDINGS)

    def begin(self) -> None:
        """Nothing is under way any more: what was when an earlier run ended has ended with it."""
        self._room = asyncio.Semaphore(BINDINGS)

    # -- what those who are at work wait for ---------------------------------------------------------

    def pod_seen(self) -> None:
        """A pod changed: somebody may wait for that."""
        self._prebind.changed()
        self.reserving.changed()
        for hooks in self._hooks.values():
            hooks.changed()

    def volumes_changed(self) -> None:
        self._prebind.changed()

    def claims_changed(self) -> None:
        self.reserving.changed()

    # -- binding -------------------------------------------------------------------------------------

    async def place(self, waiting: Waiting, pod: PodInfo, node: str, work: Sequence[Any]) -> None:
        """Take the room, and have the pod bound once what is to be done before is done."""
        # Else all that is known of it would change as soon as it is seen there.
        self._world.place(self._world.infos.once_on(pod, self._node(node)), node, assumed=True)
        if work or pod.spec.schedulerName in self._hooks:
            volumes, devices = split(work)
            self._world.promises.make(volumes)
            self._world.devices.promise(devices)
            self._parts.start(self._prepare(waiting, pod, node, volumes, devices))
            return
        await self._room.acquire()
        if self._extenders_bind(pod):
            self._parts.start(self._bind(waiting, pod, node))
        else:  # most pods: no task of their own
            self._binder.send(pod.key, pod.uid, node, partial(self._answered, waiting, pod, node))

    async def _prepare(
        self, waiting: Waiting, pod: PodInfo, node: str, work: Sequence[Work], devices: Sequence[Reserve]
    ) -> None:
        """Bind the pod once its volumes and claims are; who waits for them takes no place from others."""
        done = await self.make_ready(waiting, pod, node, work, devices)
        if done is not None:
            await self.bind_ready(waiting, pod, node, done)

    async def make_ready(
        self, waiting: Waiting, pod: PodInfo, node: str, work: Sequence[Work], devices: Sequence[Reserve]
    ) -> Sequence[Reserve] | None:
        """Do what has to be done before the pod is bound. Gives what was reserved; None where it is tried
        again later."""
        hooks, there = self._hooks.get(pod.spec.schedulerName or ""), self._node(node)
        if hooks is None and not work and not devices:
            return ()

        def is_wanted() -> bool:
            held = self._watching.pods.cache.get(*waiting.key)
            return held is not None and held.metadata.uid == waiting.uid and self._watching.is_mine(held)

        if not self._world.nomination(pod.key):
            self._teller.tell_nomination(pod.pod, node)  # who begins again in between tries this node first
        timeout_s = self._parts.engines[pod.spec.schedulerName or ""].volumes_timeout_s
        doing = "waiting on permit for pod"
        is_started = False
        try:
            if hooks is not None:
                await hooks.permit(pod, there, is_wanted)
            doing = 'running PreBind plugin "VolumeBinding": binding volumes'
            if work:
                await self._prebind.run(work, node, is_wanted, timeout_s)
            doing = 'running PreBind plugin "DynamicResources"'
            is_started = True
            done = await self.reserving.run(devices, pod, is_wanted)
            if hooks is not None:
                await self._pre_bind(hooks, pod, there, done)
        except Exception as problem:
            turned = problem.plugin if isinstance(problem, Turned) else ""
            if hooks is not None:
                hooks.unreserve(pod, there)
            self._unbound(waiting, problem, turned)
            text = str(problem) if isinstance(problem, Turned | HookError) else f"{doing}: {problem}"
            if is_wanted():
                nominated = "" if not self._world.nomination(pod.key) else None
                reason = UNSCHEDULABLE if turned else FAILED
                self._teller.tell(waiting.key, Word(pod.pod, text, reason, nominated=nominated))
            return None
        finally:
            self._world.promises.end(work)
            if not is_started:  # else `run` has told what became of them
                for each in devices:
                    self._world.devices.withdraw(each)
        return done

    async def bind_ready(self, waiting: Waiting, pod: PodInfo, node: str, done: Sequence[Reserve]) -> None:
        hooks, there = self._hooks.get(pod.spec.schedulerName or ""), self._node(node)
        await self._room.acquire()
        await self._bind(waiting, pod, node)
        is_bound = pod.key in self._world.placed
        if done and not is_bound:
            await self.reserving.undo(done, pod)
        if hooks is not None:
            if is_bound:
                await hooks.post_bind(pod, there)
            else:
                hooks.unreserve(pod, there)

    async def _pre_bind(
        self, hooks: Hooks, pod: PodInfo, node: api.Node, reserved: Sequence[Reserve]
    ) -> None:
        try:
            await hooks.pre_bind(pod, node)
        except Exception:
            await self.reserving.undo(reserved, pod)
            raise

    async def give_back(
        self, waiting: Waiting, pod: PodInfo, node: str, done: Sequence[Reserve], problem: Exception
    ) -> None:
        """A pod that was made ready is not bound after all, and is tried again later."""
        self.unreserve(pod, node)
        self._unbound(waiting, problem)
        self._teller.tell(waiting.key, Word(pod.pod, str(problem), FAILED, nominated=""))
        if done:
            await self.reserving.undo(done, pod)

    def unreserve(self, pod: PodInfo, node: str) -> None:
        hooks = self._hooks.get(pod.spec.schedulerName or "")
        if hooks is not None:
            hooks.unreserve(pod, self._node(node))

    def _node(self, name: str) -> api.Node:
        row = self._world.table.rows.get(name)
        node = self._world.table.nodes[row] if row is not None else None
        return node if node is not None else api.Node(metadata=api.ObjectMeta(name=name))

    async def _bind(self, waiting: Waiting, pod: PodInfo, node: str) -> None:
        try:
            problem = await self._post_binding(pod, node)
        except BaseException:
            self._room.release()
            raise
        if problem is None:
            self._answered(waiting, pod, node, None)
        else:
            await self._look_into(waiting, pod, node, problem)

    def _answered(self, waiting: Waiting, pod: PodInfo, node: str, problem: Exception | None) -> None:
        """The answer to a binding."""
        if problem is not None:
            self._parts.start(self._look_into(waiting, pod, node, problem))
            return
        self._room.release()
        self._bound(waiting, pod, node)

    async def _look_into(self, waiting: Waiting, pod: PodInfo, node: str, problem: Exception) -> None:
        """Find out what became of a binding that failed, or whose answer was lost."""
        try:
            if await is_bound(self._client, self._clock, waiting.key, waiting.uid, node, problem):
                self._bound(waiting, pod, node)
            else:
                self._unbound(waiting, problem)
        finally:
            self._room.release()

    def _bound(self, waiting: Waiting, pod: PodInfo, node: str) -> None:
        self._queue.remove(waiting.key, waiting.uid)
        message = f"Successfully assigned {'/'.join(waiting.key)} to {node}"
        recorder = self._parts.recorder(pod.spec.schedulerName or "")
        recorder.emit(Emit(ref(pod.pod), "Normal", "Scheduled", message, "Binding"))

    def _extenders_bind(self, pod: PodInfo) -> bool:
        extenders = self._parts.extenders
        return extenders is not None and extenders.binder(pod) is not None

    async def _post_binding(self, pod: PodInfo, node: str) -> Exception | None:
        if self._parts.extenders is not None and (binder := self._parts.extenders.binder(pod)) is not None:
            return await self._parts.extenders.bind(binder, pod, node)
        return await self._binder.post(pod.key, pod.uid, node)

    def _unbound(self, waiting: Waiting, problem: Exception, refused_by: str = "") -> None:
        """Give the room back; the pod is tried after its back-off, or when `refused_by` may think anew."""
        held = self._watching.pods.cache.get(*waiting.key)
        placed = self._world.placed.get(waiting.key)
        seen = held is not None and held.metadata.uid == waiting.uid and bool(held.spec.nodeName)
        mine = held is not None and self._watching.is_mine(held) and held.metadata.uid == waiting.uid
        frees = placed is not None and placed.pod.uid == waiting.uid and not seen
        if frees:
            self._world.unplace(waiting.key)
        if mine and refused_by:
            self._queue.park(waiting, frozenset({refused_by}), self._clock.monotonic_s())
        if frees and placed is not None:
            self._watching.happened(pod_event(placed.pod.pod, None))  # others may have the room
        if mine and not refused_by:
            _log.warning("binding %s/%s failed and is tried again: %s", *waiting.key, problem)
            self._queue.retry_later(waiting, self._clock.monotonic_s())
        elif not mine:
            self._queue.remove(waiting.key, waiting.uid)
        self._parts.wake()
