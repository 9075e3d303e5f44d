"""How a pod is wound down: containers within their grace, then sandbox, volumes, and the API object. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from sampan.node.messages import (
    FinishDeletion,
    Forget,
    RemoveVolumes,
    StopContainer,
    StopSandbox,
)
from sampan.node.model import (
    ContainerRecord,
    Ending,
    EndKind,
    PodState,
    Role,
    SandboxPhase,
    Volumes,
)
from sampan.node.turn import Turn, is_running, spec_of
from sampan.schema import api

DEFAULT_GRACE_S: Final = 30
# Even a forced deletion gives a process this long between TERM and KILL.
LEAST_GRACE_S: Final = 1
# Sidecars get this much even when the main containers used up the pod's grace.
LEAST_SIDECAR_GRACE_S: Final = 2
DEADLINE_REASON: Final = "DeadlineExceeded"
DEADLINE_MESSAGE: Final = "Pod was active on the node longer than the specified deadline"
# A deletion repeated with a grace shorter by at least this much speeds up a stop that is under way.
HURRY_S: Final = 1.0


def pod_grace_s(pod: api.Pod) -> int:
    """The grace that the pod's spec asks for, in seconds."""
    grace_s = pod.spec.terminationGracePeriodSeconds
    return DEFAULT_GRACE_S if grace_s is None else grace_s


def check(turn: Turn) -> None:
    """End the pod if it was deleted or its activeDeadlineSeconds are over."""
    state, meta = turn.state, turn.state.pod.metadata
    if state.api_gone or meta.deletionTimestamp is not None:
        grace_s = meta.deletionGracePeriodSeconds
        end(turn, EndKind.DELETED, pod_grace_s(state.pod) if grace_s is None else grace_s)
    limit_s = state.pod.spec.activeDeadlineSeconds
    if limit_s is None or turn.state.ending is not None or state.start_time is None or state.rejected:
        return
    over_at = state.start_time + timedelta(seconds=limit_s)
    if turn.now < over_at:
        turn.wake(over_at)
        return
    end(turn, EndKind.FAILED, pod_grace_s(state.pod), DEADLINE_REASON, DEADLINE_MESSAGE)
    turn.note("Normal", DEADLINE_REASON, DEADLINE_MESSAGE)


def end(
    turn: Turn, kind: EndKind, grace_s: int, reason: str = "", message: str = "", *, disruption: bool = False
) -> None:
    """Begin to wind the pod down, or (a deletion after anything else, a shorter grace) do so sooner."""
    before = turn.state.ending
    grace_s = max(grace_s, LEAST_GRACE_S)
    deadline = turn.now + timedelta(seconds=grace_s)
    if before is None:
        ending = Ending(
            kind=kind,
            deadline=deadline,
            grace_s=grace_s,
            reason=reason,
            message=message,
            disruption=disruption,
        )
        turn.change(ending=ending)
        return
    if kind is not EndKind.DELETED or (before.kind is kind and grace_s >= before.grace_s):
        return
    sooner = min(deadline, before.deadline)
    turn.change(ending=replace(before, kind=kind, deadline=sooner, grace_s=min(grace_s, before.grace_s)))


def advance(turn: Turn) -> None:
    """Order the next things on the way out."""
    _stop_containers(turn)
    if any(is_running(r) for r in turn.records()) or _is_starting(turn.state):
        return
    sandbox = turn.state.sandbox
    if sandbox is not None and sandbox.phase is not SandboxPhase.STOPPED:
        turn.do(StopSandbox(sandbox.id))
        return
    if "volumes" not in turn.state.doing and turn.state.volumes is not Volumes.REMOVED:
        turn.do(RemoveVolumes())
    if turn.state.ending is not None and turn.state.ending.kind is EndKind.DELETED:
        _discard(turn)
        _forget(turn)


def _is_starting(state: PodState) -> bool:
    return any(key == "sandbox" or key.startswith("start/") for key in state.doing)


def _stop_containers(turn: Turn) -> None:
    """All but the sidecars at once; then the sidecars, the last first, one after the other."""
    first = [r for r in turn.records() if is_running(r) and r.role is not Role.SIDECAR]
    for record in first:
        stop(turn, record, None, f"Stopping container {record.name}")
    if first or any(key.startswith("start/") for key in turn.state.doing):
        return
    sidecars = [r for r in turn.records(Role.SIDECAR) if is_running(r)]
    if sidecars:
        stop(turn, sidecars[-1], None, f"Stopping container {sidecars[-1].name}")


def stop(turn: Turn, record: ContainerRecord, grace_s: int | None, message: str) -> None:
    """Stop a running container: preStop, TERM, and KILL when its grace is over."""
    current = record.current
    if current is None:
        return
    left_s = _grace_left_s(turn, record, grace_s)
    stop_by = turn.now + timedelta(seconds=left_s)
    hurry = 0
    if f"stop/{current.id}" in turn.state.doing:
        if record.stop_by is None or stop_by + timedelta(seconds=HURRY_S) > record.stop_by:
            return
        hurry = int(left_s) + 1
    spec = spec_of(turn.state.pod, record.name)
    hooked = spec is not None and spec.lifecycle is not None and spec.lifecycle.preStop is not None
    ips = turn.state.sandbox.ips if turn.state.sandbox is not None else ()
    if turn.state.pod.spec.hostNetwork:
        ips = turn.state.node.ips
    order = StopContainer(
        record.name, current.id, left_s, hooked and record.hook_done and not hurry, ips, hurry
    )
    if order.key not in turn.state.doing and order.key not in turn.state.retries and not hurry:
        turn.note("Normal", "Killing", message, record.name)
    turn.change_container(record.name, stop_by=stop_by)
    turn.do(order)


def _grace_left_s(turn: Turn, record: ContainerRecord, grace_s: int | None) -> float:
    ending = turn.state.ending
    if ending is None:
        return max(pod_grace_s(turn.state.pod) if grace_s is None else grace_s, LEAST_GRACE_S)
    least_s = LEAST_SIDECAR_GRACE_S if record.role is Role.SIDECAR else LEAST_GRACE_S
    return max((ending.deadline - turn.now).total_seconds(), least_s)


def _discard(turn: Turn) -> None:
    """Everything that a deleted pod has in the runtime is old now."""
    known = set(turn.state.old_containers)
    ids = list(turn.state.old_containers)
    for record in turn.records():
        for instance in (record.current, record.previous):
            if instance is not None and instance.id and instance.id not in known and not instance.removed:
                known.add(instance.id)
                ids.append(instance.id)
    sandbox = turn.state.sandbox
    if sandbox is not None:
        turn.change(sandbox=None, old_sandboxes=(*turn.state.old_sandboxes, sandbox.id))
    turn.change(old_containers=tuple(ids))


def may_finish(state: PodState) -> bool:
    """Whether the API object may go: nothing of the pod runs and its volumes are gone."""
    ending = state.ending
    if ending is None or ending.kind is not EndKind.DELETED or state.api_gone or state.deletion_done:
        return False
    if state.pod.metadata.deletionTimestamp is None or state.volumes is not Volumes.REMOVED:
        return False
    stopped = state.sandbox is None or state.sandbox.phase is SandboxPhase.STOPPED
    return stopped and not any(is_running(r) for r in state.containers.values())


def finish(turn: Turn) -> None:
    """Delete the API object."""
    turn.do(FinishDeletion())


def _forget(turn: Turn) -> None:
    state = turn.state
    left = state.old_containers or state.old_sandboxes or state.doing & {"volumes", "finish-deletion"}
    if state.api_gone and not left and state.volumes is Volumes.REMOVED and not state.forgotten:
        turn.change(forgotten=True)
        turn.orders.append(Forget())
