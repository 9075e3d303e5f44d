"""The scratch pad of one step of the pod state machine: the state as it changes, the orders as they come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from sampan.node.messages import Instruction, Note
from sampan.node.model import (
    ContainerRecord,
    PodState,
    Retry,
    Role,
)
from sampan.node.names import as_container
from sampan.node.runtimes.runtime import State
from sampan.schema import api


class Turn:
    """One step in the making. Mutable, lives for one call of `machine.step`."""

    def __init__(self, state: PodState, now: datetime) -> None:
        self.state = state
        self.now = now
        self.orders: list[Instruction] = []
        self.wake_at: datetime | None = None

    def change(self, **changes: Any) -> None:
        """Replace fields of the state."""
        self.state = replace(self.state, **changes)

    def record(self, name: str) -> ContainerRecord:
        return self.state.containers[name]

    def change_container(self, name: str, **changes: Any) -> None:
        """Replace fields of one container's record."""
        records = dict(self.state.containers)
        records[name] = replace(records[name], **changes)
        self.change(containers=records)

    def records(self, *roles: Role) -> list[ContainerRecord]:
        """The records in the order of the spec, of these roles or of all."""
        records = self.state.containers.values()
        return [r for r in records if r.role in roles] if roles else list(records)

    def wake(self, at: datetime) -> None:
        """Ask for a Tick no later than `at`."""
        if self.wake_at is None or at < self.wake_at:
            self.wake_at = at

    def note(self, type_: str, reason: str, message: str, container: str = "") -> None:
        self.orders.append(Note(type_, reason, message, container))

    def do(self, instruction: Instruction) -> None:
        """Order a keyed instruction unless it is under way or its next try is not due yet."""
        key = instruction.key
        if key in self.state.doing:
            return
        retry = self.state.retries.get(key)
        if retry is not None and retry.at > self.now:
            self.wake(retry.at)
            return
        self.change(doing=self.state.doing | {key})
        self.orders.append(instruction)

    def finished(self, key: str) -> bool:
        """Take `key` off what is under way; False where nobody waits for it."""
        if key not in self.state.doing:
            return False
        self.change(doing=self.state.doing - {key})
        return True

    def failed(self, key: str, first_s: float, most_s: float) -> Retry:
        """Note a failure under `key`: the next try is due after a delay that doubles up to `most_s`."""
        before = self.state.retries.get(key)
        count = before.count + 1 if before else 1
        delay_s = min(first_s * 2 ** min(count - 1, 16), most_s)
        retry = Retry(count, self.now + timedelta(seconds=delay_s))
        self.change(retries={**self.state.retries, key: retry})
        return retry

    def succeeded(self, key: str) -> None:
        """Forget the failures under `key`."""
        if key in self.state.retries:
            self.change(retries={k: v for k, v in self.state.retries.items() if k != key})


def spec_of(pod: api.Pod, name: str) -> api.Container | None:
    """The container of this name, whichever list it is in; ephemeral ones in ordinary form."""
    for container in (*pod.spec.containers, *pod.spec.initContainers):
        if container.name == name:
            return container
    for ephemeral in pod.spec.ephemeralContainers:
        if ephemeral.name == name:
            return as_container(ephemeral)
    return None


def is_running(record: ContainerRecord) -> bool:
    """Whether an instance holds resources of the runtime as a live process may."""
    return record.current is not None and record.current.state is not State.EXITED


def has_exited(record: ContainerRecord) -> bool:
    return record.current is not None and record.current.state is State.EXITED
