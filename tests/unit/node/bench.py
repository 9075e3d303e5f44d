"""A pod machine with a pretended runtime around it, driven step by step by tests."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from sampan.node.machine import advance, conclude, new_state, step
from sampan.node.messages import (
    ContainerUp,
    Done,
    EnsureImage,
    Event,
    Failed,
    FinishDeletion,
    Forget,
    ImageReady,
    Instruction,
    Note,
    Observed,
    PodGone,
    PodSeen,
    Relist,
    RemoveContainer,
    RemoveSandbox,
    ReportStatus,
    ResizeContainer,
    RunSandbox,
    SandboxUp,
    SetTimer,
    StartContainer,
    StartProbe,
    StopContainer,
    StopProbe,
    StopSandbox,
    Tick,
)
from sampan.node.model import NodeFacts
from sampan.node.names import CONTAINER_HASH, container_hash, key_of, pod_labels
from sampan.node.runtimes.runtime import Container, Sandbox, State
from sampan.node.turn import spec_of
from sampan.schema import api

START = datetime(2026, 1, 1, tzinfo=UTC)
NODE = NodeFacts(
    name="node-1",
    ips=("192.0.2.1",),
    runtime="test",
    allocatable_cpu_milli=4000,
    allocatable_memory_bytes=8 << 30,
)
SILENT = (Note, ReportStatus, SetTimer, Relist, StartProbe, StopProbe, Forget)


class Bench:
    """Holds the machine's state, the pretended runtime, and the orders that nobody has carried out yet."""

    def __init__(self, pod: api.Pod, *, together: bool = False) -> None:
        self.now = START
        # Reports only when told to `conclude`, as who has many events at hand does.
        self.together = together
        self._wake_at: datetime | None = None
        self._inbox: list[Event] = []
        self.pod = pod
        self.sandboxes: dict[str, Sandbox] = {}
        self.containers: dict[str, Container] = {}
        self.pending: list[Instruction] = []
        self.landing: dict[str, tuple[Instruction, object]] = {}
        self.notes: list[Note] = []
        self.statuses: list[api.PodStatus] = []
        self.probes: set[tuple[str, str]] = set()
        self.orders: list[Instruction] = []
        self.timer_at: datetime | None = None
        self.wants_look = False
        self.forgotten = False
        self.in_api = True
        self._ids = itertools.count(1)
        self.state = new_state(pod, NODE)

    # --- time and knowledge ---------------------------------------------------------------------------

    def send(self, event: Event) -> list[Instruction]:
        if self.together:
            self._inbox.append(event)
            return []
        self.state, orders = step(self.state, event, self.now)
        self._take_all(orders)
        return orders

    def take_in(self) -> None:
        """Let the machine have the events since the last time."""
        events, self._inbox = self._inbox, []
        if events:
            self.state, orders, self._wake_at = advance(self.state, events, self.now)
            self._take_all(orders)

    def conclude(self) -> None:
        """Report what came of the events so far."""
        self.take_in()
        if self.together:
            self.state, orders = conclude(self.state, self._wake_at, self.now)
            self._take_all(orders)

    def _take_all(self, orders: list[Instruction]) -> None:
        self.orders += orders
        for order in orders:
            self._take(order)

    def _take(self, order: Instruction) -> None:
        match order:
            case Note():
                self.notes.append(order)
            case ReportStatus(status):
                self.statuses.append(status)
            case SetTimer(at):
                self.timer_at = at
            case Relist():
                self.wants_look = True
            case StartProbe():
                self.probes.add((order.container, order.kind.value))
            case StopProbe():
                self.probes.discard((order.container, order.kind.value))
            case Forget():
                self.forgotten = True
            case _:
                waiting = {p.key for p in self.pending} | set(self.landing)
                assert order.key not in waiting, f"{order.key} was ordered twice"
                self.pending.append(order)

    def look(self) -> None:
        self.wants_look = False
        self.send(Observed(tuple(self.sandboxes.values()), tuple(self.containers.values()), self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the timer going off when it is due."""
        until = self.now + timedelta(seconds=seconds)
        while self.timer_at is not None and self.timer_at <= until:
            self.now = max(self.now, self.timer_at)
            self.timer_at = None
            self.send(Tick())
            self.drain()
        self.now = until

    # --- carrying out ---------------------------------------------------------------------------------

    def drain(self, *, but: type[Instruction] | None = None) -> None:
        """Carry out everything that is ordered, in order, until nothing is left."""
        for order, _ in list(self.landing.values()):
            self.land(order)
        for _ in range(200):
            if not self.pending and not self.wants_look:
                self.take_in()
            if not self.pending and not self.wants_look:
                self.conclude()
            ready = [p for p in self.pending if but is None or not isinstance(p, but)]
            if not ready and not self.wants_look:
                return
            if ready:
                self.carry_out(ready[0])
            if self.wants_look:
                self.look()
        raise AssertionError("the machine does not come to rest")

    def fail(self, order: Instruction, reason: str = "Error", message: str = "no") -> None:
        self.pending.remove(order)
        self.send(Failed(order.key, reason, message))

    def carry_out(self, order: Instruction) -> None:
        self.begin(order)
        self.land(order)

    def begin(self, order: Instruction) -> None:
        """The runtime does it, and the machine has not heard of it yet."""
        self.pending.remove(order)
        self.now += timedelta(milliseconds=1)
        self.landing[order.key] = (order, self._do(order))

    def land(self, order: Instruction) -> None:
        """The machine hears that it is done."""
        _, result = self.landing.pop(order.key)
        if isinstance(order, StopContainer):
            self.look()
        self.now += timedelta(milliseconds=1)
        self.send(Done(order.key, result))
        if isinstance(order, FinishDeletion):
            self.delete_from_api()

    def _do(self, order: Instruction) -> object:
        match order:
            case EnsureImage():
                return ImageReady(f"id-of-{order.image}")
            case RunSandbox():
                return self._run_sandbox(order)
            case StartContainer():
                return self._start(order)
            case StopContainer():
                self.exit(order.container_id, 143)
            case RemoveContainer():
                removed = self.containers.pop(order.container_id, None)
                assert removed is None or removed.state is State.EXITED, "a live container was removed"
            case StopSandbox():
                self._stop_sandbox(order.sandbox_id)
            case RemoveSandbox():
                self._stop_sandbox(order.sandbox_id)
                self.sandboxes.pop(order.sandbox_id, None)
                for id_ in [c.id for c in self.containers.values() if c.sandbox_id == order.sandbox_id]:
                    del self.containers[id_]
            case ResizeContainer():
                return order.resources
        return None

    def _run_sandbox(self, order: RunSandbox) -> SandboxUp:
        assert not any(s.ready for s in self.sandboxes.values()), "two sandboxes at once"
        number = next(self._ids)
        key = key_of(self.pod)
        sandbox = Sandbox(
            id=f"s{number}",
            namespace=key.namespace,
            name=key.name,
            uid=key.uid,
            attempt=order.attempt,
            ready=True,
            created_at=self.now,
            ips=(f"10.0.0.{number}",),
            labels=pod_labels(key),
        )
        self.sandboxes[sandbox.id] = sandbox
        return SandboxUp(sandbox.id, sandbox.ips)

    def _start(self, order: StartContainer) -> ContainerUp | None:
        home = self.sandboxes.get(order.sandbox_id)
        assert not self.running(order.container), f"two instances of {order.container} at once"
        spec = spec_of(self.pod, order.container)
        image = (spec.image if spec else None) or ""
        container = Container(
            id=f"c{next(self._ids)}",
            sandbox_id=order.sandbox_id,
            name=order.container,
            attempt=order.attempt,
            state=State.RUNNING if home is not None and home.ready else State.EXITED,
            image=image,
            image_ref=order.image_ref,
            created_at=self.now,
            started_at=self.now,
            finished_at=None if home is not None and home.ready else self.now,
            labels=pod_labels(key_of(self.pod)),
            annotations={CONTAINER_HASH: container_hash(order.container, image)},
        )
        self.containers[container.id] = container
        return ContainerUp(container.id, self.now, order.image_ref, spec.resources if spec else None)

    def _stop_sandbox(self, sandbox_id: str) -> None:
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        self.sandboxes[sandbox_id] = replace(sandbox, ready=False)
        for container in list(self.containers.values()):
            if container.sandbox_id == sandbox_id:
                self.exit(container.id, 137)

    # --- what happens in the world --------------------------------------------------------------------

    def exit(self, container_id: str, code: int) -> None:
        container = self.containers.get(container_id)
        if container is None or container.state is State.EXITED:
            return
        self.containers[container_id] = replace(
            container,
            state=State.EXITED,
            exit_code=code,
            finished_at=self.now,
            reason="Completed" if code == 0 else "Error",
        )

    def kill_sandbox(self) -> None:
        for sandbox in list(self.sandboxes.values()):
            self._stop_sandbox(sandbox.id)

    def exit_named(self, name: str, code: int = 0) -> None:
        """The running instance exits, and the machine hears of it."""
        for container in self.running(name):
            self.exit(container.id, code)
        self.now += timedelta(milliseconds=1)
        self.look()

    def running(self, name: str = "") -> list[Container]:
        return [c for c in self.containers.values() if c.state is State.RUNNING and name in ("", c.name)]

    def delete_from_api(self) -> None:
        if self.in_api:
            self.in_api = False
            self.send(PodGone())

    def see(self, pod: api.Pod) -> None:
        self.pod = pod
        self.send(PodSeen(pod))

    def mark_deleted(self, grace_s: int = 30) -> None:
        meta = replace(self.pod.metadata, deletionTimestamp=self.now, deletionGracePeriodSeconds=grace_s)
        self.see(replace(self.pod, metadata=meta))

    def restart_agent(self) -> None:
        """The agent dies with all it knew and was doing; a new one reads the API and the runtime."""
        pod = replace(self.pod, status=self.statuses[-1]) if self.statuses else self.pod
        self.pod, self.pending, self.landing, self.timer_at = pod, [], {}, None
        self._inbox = []
        self.probes = set()
        self.state = new_state(pod, NODE)
        if not self.in_api:
            self.send(PodGone())
        self.now += timedelta(seconds=1)
        self.look()

    def check(self) -> None:
        """What must hold at any time."""
        names = [c.name for c in self.running()]
        assert len(names) == len(set(names)), "two instances of a container"
        for record in self.state.containers.values():
            known = self.containers.get(record.current.id) if record.current is not None else None
            if known is not None and record.current is not None:
                assert known.attempt == record.current.attempt, "the restart count is wrong"

    # --- looking --------------------------------------------------------------------------------------

    @property
    def status(self) -> api.PodStatus:
        return self.statuses[-1]

    def keys(self) -> list[str]:
        return [p.key for p in self.pending]

    def reasons(self) -> list[str]:
        return [n.reason for n in self.notes]

    def one(self, name: str = "app") -> api.ContainerStatus:
        for listed in (
            self.status.containerStatuses,
            self.status.initContainerStatuses,
            self.status.ephemeralContainerStatuses,
        ):
            for one in listed:
                if one.name == name:
                    return one
        raise AssertionError(f"no status of {name}")

    def describe(self, name: str = "app") -> str:
        """The container's state in one word: running, the waiting reason, or reason/exit code."""
        state = self.one(name).state
        assert state is not None
        if state.running is not None:
            return "running"
        if state.waiting is not None:
            return state.waiting.reason or ""
        if state.terminated is not None:
            return f"{state.terminated.reason}/{state.terminated.exitCode}"
        return ""

    def condition(self, type_: str) -> api.PodCondition:
        return next(c for c in self.status.conditions if c.type == type_)


def started(pod: api.Pod) -> Bench:
    """A bench on which the pod has been seen and everything that was ordered is carried out."""
    bench = Bench(pod)
    bench.look()
    bench.drain()
    return bench
