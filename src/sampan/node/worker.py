"""One pod's worker: feeds the machine, starts what it orders, brings back the outcomes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from msgspec.structs import replace

from sampan.client.errors import ApiError, is_lost
from sampan.node import shortcut
from sampan.node.carry_out import CarryOut
from sampan.node.eager import begin
from sampan.node.errors import ConfigError, VolumeError
from sampan.node.finisher import Finisher
from sampan.node.machine import advance, conclude, is_echo, new_state
from sampan.node.messages import (
    Done,
    Event,
    Failed,
    FinishDeletion,
    Forget,
    Instruction,
    Note,
    PodGone,
    PodSeen,
    Probed,
    Relist,
    ReportStatus,
    SetTimer,
    StartProbe,
    StopContainer,
    StopProbe,
    Tick,
)
from sampan.node.model import NodeFacts, PodState
from sampan.node.probe_runner import ProbeRunner
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.node.status_writer import StatusWriter
from sampan.node.timers import Timer, Timers
from sampan.schema import api

_log = logging.getLogger(__name__)


class Home(Protocol):
    """What a worker needs around it."""

    timers: Timers
    probes: ProbeRunner
    statuses: StatusWriter
    carry_out: CarryOut
    # None where each deletion is a request of its own.
    finisher: Finisher | None

    def now(self) -> Any: ...

    def record(self, pod: api.Pod, type_: str, reason: str, message: str, container: str) -> None: ...

    def look_at(self, uid: str) -> None:
        """Look at the pod's part of the runtime soon."""
        ...

    async def observe(self, uid: str) -> None:
        """Look at it now."""
        ...

    def own(self, runtime_id: str, uid: str) -> None:
        """The runtime's container or sandbox belongs to this pod."""
        ...

    def forget(self, worker: PodWorker) -> None: ...


class PodWorker:
    """Serial by construction: `handle` never runs inside itself, and everything runs on one event loop."""

    def __init__(self, home: Home, pod: api.Pod, node: NodeFacts) -> None:
        self.state: PodState = new_state(pod, node)
        self._home = home
        self._inbox: list[Event] = []
        self._busy = False
        self._timer: Timer | None = None
        # The last status of a pod that was deleted without it.
        self._unsaid: api.PodStatus | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pod(self) -> api.Pod:
        return self.state.pod

    @property
    def node(self) -> NodeFacts:
        return self.state.node

    @property
    def uid(self) -> str:
        return self.state.key.uid

    def handle(self, event: Event) -> None:
        """Step the machine with `event` and start what it orders.

        What the orders answer at once is taken in too before the status is reported.
        """
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox:
                events, self._inbox = self._inbox, []
                self.state, orders, wake_at = advance(self.state, events, self._home.now())
                for order in orders:
                    self._start(order)
                if not self._inbox:
                    self.state, orders = conclude(self.state, wake_at, self._home.now())
                    self._start_all(orders)
        finally:
            self._busy = False

    def seen(self, pod: api.Pod) -> None:
        """The API has the pod like this."""
        if not self._busy and is_echo(self.state, pod):
            self.state = replace(self.state, pod=pod)
        else:
            self.handle(PodSeen(pod))

    def leap(self, state: PodState, notes: Iterable[Note]) -> None:
        """Be in `state` without the steps that lead there, tell what they would have told, and conclude."""
        self.state, orders = conclude(state, None, self._home.now())
        self._start_all((*notes, *orders))

    def gone(self) -> None:
        """The API has the pod no more."""
        if not self._busy and shortcut.is_left(self.state):
            self.state = shortcut.gone(self.state)
            self._home.forget(self)
        else:
            self.handle(PodGone())

    @property
    def rests(self) -> bool:
        """Whether no event is being handled."""
        return not self._busy

    def still_there(self) -> None:
        """The pod was deleted without a last status, and something holds it after all: say the status."""
        if self._unsaid is not None:
            status, self._unsaid = self._unsaid, None
            self._home.statuses.put(self.state.key, self.pod.status, status)

    def note(self, type_: str, reason: str, message: str, container: str = "") -> None:
        self._home.record(self.pod, type_, reason, message, container)

    def close(self) -> None:
        """Drop everything under way; the runtime keeps what it has."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _start_all(self, orders: Iterable[Instruction]) -> None:
        """Start what concludes a step.

        Of a pod that goes at once with its last status nobody would see that, where nothing holds it and its
        runtime is a pretended one; so it is not written.
        """
        orders = list(orders)
        if any(isinstance(order, FinishDeletion) for order in orders) and self._goes_unseen():
            for order in orders:
                if isinstance(order, ReportStatus):
                    self._unsaid = order.status
            orders = [order for order in orders if not isinstance(order, ReportStatus)]
        for order in orders:
            self._start(order)

    def _goes_unseen(self) -> bool:
        return self._home.carry_out.pretends and not self.pod.metadata.finalizers

    def _start(self, order: Instruction) -> None:
        match order:
            case Note(type_, reason, message, container):
                self.note(type_, reason, message, container)
            case ReportStatus(status):
                starting = any(key.startswith("start/") for key in self.state.doing)
                self._home.statuses.put(self.state.key, self.pod.status, status, passing=starting)
            case SetTimer(at):
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._home.timers.at(at, self._tick) if at is not None else None
            case StartProbe():
                self._home.probes.start(self.pod, order, lambda ok, output: self._probed(order, ok, output))
            case StopProbe():
                self._home.probes.stop(order.container_id, order.kind)
            case Relist():
                self._home.look_at(self.uid)
            case Forget():
                self._home.forget(self)
            case FinishDeletion() if self._home.finisher and not self._home.statuses.waits(self.uid):
                self._home.finisher.put(self.state.key, self._let_go)
            case _:
                work: Coroutine[Any, Any, None] | None = self._carry_out(order)
                if work is not None and self._home.carry_out.answers_at_once(self.pod, order):
                    work = begin(work)
                if work is not None:
                    task = asyncio.get_running_loop().create_task(work)
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    def _tick(self) -> None:
        self._timer = None
        self.handle(Tick())

    def _let_go(self, error: Exception | None) -> None:
        """The pod's object was deleted, or was not."""
        key = FinishDeletion().key
        if error is not None and not is_lost(error):
            self.handle(Failed(key, "", str(error) or type(error).__name__))
        elif not self._busy and shortcut.is_left(self.state):
            self.state = shortcut.let_go(self.state)
        elif not self.state.forgotten:
            self.handle(Done(key, None))

    def _probed(self, order: StartProbe, ok: bool, output: str) -> None:
        self.handle(Probed(order.container, order.container_id, order.kind, ok, output))

    async def _carry_out(self, order: Instruction) -> None:
        try:
            result = await self._home.carry_out.run(self, order)
            if isinstance(order, StopContainer):
                await self._home.observe(self.uid)  # how it exited, before the machine has to guess
        except RuntimeFailure as failure:
            self.handle(Failed(order.key, failure.reason, str(failure)))
        except ConfigError as error:
            self.handle(Failed(order.key, ConfigError.reason, str(error)))
        except VolumeError as error:
            self.handle(Failed(order.key, "FailedMount", str(error)))
        except (ApiError, OSError, TimeoutError, ValueError) as error:
            self.handle(Failed(order.key, "", str(error) or type(error).__name__))
        except Exception as error:
            _log.exception("%s of pod %s failed unexpectedly", type(order).__name__, self.state.key)
            self.handle(Failed(order.key, "InternalError", f"{type(error).__name__}: {error}"))
        else:
            runtime_id = getattr(result, "id", "")
            if runtime_id:
                self._home.own(runtime_id, self.uid)
            self.handle(Done(order.key, result))
