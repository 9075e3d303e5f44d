"""How events change what is known of a pod. Knowledge only: nothing here decides what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from sampan.node.messages import Observed
from sampan.node.model import (
    ContainerRecord,
    Instance,
    PodState,
    Role,
    SandboxPhase,
    SandboxRecord,
)
from sampan.node.names import CONTAINER_HASH
from sampan.node.runtimes.runtime import Container, Sandbox, State
from sampan.node.turn import Turn
from sampan.schema import api

LOST_EXIT_CODE: Final = 137
LOST_REASON: Final = "ContainerStatusUnknown"
LOST_MESSAGE: Final = "The container could not be located when the pod was terminated"


def learn_pod(turn: Turn, pod: api.Pod) -> None:
    """Take in the API's version of the pod; containers that it adds get a record."""
    changed = turn.state.pod.metadata.generation != pod.metadata.generation or (
        turn.state.pod.metadata.annotations != pod.metadata.annotations
    )
    records = dict(turn.state.containers)
    for name, role in roles(pod):
        if name not in records:
            records[name] = ContainerRecord(name=name, role=role)
    turn.change(pod=pod, containers=records)
    if changed:  # what failed may work now: try again without waiting
        turn.change(retries={})


def roles(pod: api.Pod) -> Iterable[tuple[str, Role]]:
    """Every container of the pod with its role: init containers first, then the others, then ephemeral."""
    for container in pod.spec.initContainers:
        yield container.name, Role.SIDECAR if container.restartPolicy == "Always" else Role.INIT
    for container in pod.spec.containers:
        yield container.name, Role.MAIN
    for ephemeral in pod.spec.ephemeralContainers:
        yield ephemeral.name, Role.EPHEMERAL


def learn_listing(turn: Turn, event: Observed) -> None:
    """Take in what the runtime has of the pod.

    An exit that a listing shows is always true. What a listing lacks is gone only if the listing was
    begun after the thing was known; what it has and we do not know is ours from before a restart of the
    agent, unless its start is under way, when the answer to the start will tell.
    """
    first = not turn.state.observed
    turn.change(observed=True, look_again=False)
    _learn_sandboxes(turn, event)
    by_name: dict[str, list[Container]] = defaultdict(list)
    for container in sorted(event.containers, key=lambda c: c.attempt):
        by_name[container.name].append(container)
    for record in list(turn.records()):
        _learn_container(turn, record, by_name.get(record.name, []), event.as_of)
    if first:
        _recover_from_status(turn)


def _learn_sandboxes(turn: Turn, event: Observed) -> None:
    listed = {s.id: s for s in event.sandboxes}
    known = turn.state.sandbox
    if known is not None:
        seen = listed.get(known.id)
        if seen is None:
            if event.as_of > known.known_at and "sandbox" not in turn.state.doing:
                turn.change(sandbox=replace(known, phase=SandboxPhase.STOPPED))
        elif known.phase is SandboxPhase.READY:
            phase = SandboxPhase.READY if seen.ready else SandboxPhase.DEAD
            turn.change(sandbox=replace(known, phase=phase, ips=seen.ips or known.ips))
    if "sandbox" in turn.state.doing:
        return
    discarded = set(turn.state.old_sandboxes)
    strangers = [s for s in event.sandboxes if s.id not in discarded and (known is None or s.id != known.id)]
    if known is None and strangers:
        newest = max(strangers, key=lambda s: (s.ready, s.attempt, s.created_at))
        turn.change(sandbox=_adopt_sandbox(newest, event.as_of))
        strangers.remove(newest)
    turn.change(old_sandboxes=(*turn.state.old_sandboxes, *(s.id for s in strangers)))


def knows_end(state: PodState, runtime_id: str) -> bool:
    """Whether an exit of that container or sandbox is no news: its end was read, or is our doing."""
    for record in state.containers.values():
        for instance in (record.current, record.previous):
            if instance is not None and instance.id == runtime_id:
                return instance.state is State.EXITED and not instance.guessed
    sandbox = state.sandbox
    if sandbox is not None and sandbox.id == runtime_id:
        return sandbox.phase is SandboxPhase.STOPPED
    if runtime_id in state.old_containers or runtime_id in state.old_sandboxes:
        return True
    # What was ours and is in no record any more was removed; unless we are yet to hear what was started.
    return not any(key == "sandbox" or key.startswith("start/") for key in state.doing)


def _adopt_sandbox(seen: Sandbox, as_of: datetime) -> SandboxRecord:
    phase = SandboxPhase.READY if seen.ready else SandboxPhase.DEAD
    return SandboxRecord(id=seen.id, attempt=seen.attempt, phase=phase, ips=seen.ips, known_at=as_of)


def _learn_container(turn: Turn, record: ContainerRecord, seen: list[Container], as_of: datetime) -> None:
    current = record.current
    listed = {c.id: c for c in seen}
    if current is not None:
        if current.id in listed:
            _learn_instance(turn, record, current, listed[current.id])
        elif current.state is not State.EXITED and as_of > current.known_at:
            lost = replace(
                current,
                state=State.EXITED,
                finished_at=turn.now,
                exit_code=LOST_EXIT_CODE,
                reason=LOST_REASON,
                message="The container could not be located when the pod was deleted.  "
                "The container used to be Running",
            )
            turn.change_container(record.name, current=lost, ready=False, started=False, stop_by=None)
    known = {i.id for i in (current, record.previous) if i} | set(turn.state.old_containers)
    strangers = [c for c in seen if c.id not in known]
    if not strangers:
        return
    if f"start/{record.name}" in turn.state.doing:
        turn.change(look_again=True)
        return
    if current is None:
        _adopt(turn, record, strangers, as_of)
    else:
        turn.change(old_containers=(*turn.state.old_containers, *(c.id for c in strangers)))


def _learn_instance(turn: Turn, record: ContainerRecord, current: Instance, seen: Container) -> None:
    if current.state is State.EXITED and not current.guessed:
        return
    if seen.state is State.EXITED:
        exited = replace(
            current,
            state=State.EXITED,
            image_ref=seen.image_ref or current.image_ref,
            started_at=seen.started_at or current.started_at,
            finished_at=seen.finished_at or turn.now,
            exit_code=seen.exit_code,
            reason=seen.reason or ("Completed" if seen.exit_code == 0 else "Error"),
            message=seen.message,
            guessed=False,
        )
        turn.change_container(record.name, current=exited, ready=False, started=False, stop_by=None)
    elif seen.state is State.RUNNING and current.state is not State.EXITED:
        started_at = seen.started_at or current.started_at
        image_ref = seen.image_ref or current.image_ref
        if (current.state, current.started_at, current.image_ref) != (State.RUNNING, started_at, image_ref):
            running = replace(current, state=State.RUNNING, started_at=started_at, image_ref=image_ref)
            turn.change_container(record.name, current=running)


def _adopt(turn: Turn, record: ContainerRecord, seen: list[Container], as_of: datetime) -> None:
    """The agent was restarted: the newest instance is the current one, the one before its last state."""
    *older, newest = seen
    current = _instance(newest, as_of)
    previous = _instance(older[-1], as_of) if older else None
    # A container that was created and never started is of no use: its start would have followed at once.
    if newest.state is State.CREATED:
        current = replace(
            current,
            state=State.EXITED,
            exit_code=LOST_EXIT_CODE,
            finished_at=turn.now,
            reason="StartError",
            message="the agent was restarted before the container started",
        )
    turn.change_container(record.name, current=current, previous=previous, hook_done=True)
    turn.change(old_containers=(*turn.state.old_containers, *(c.id for c in older[:-1])))
    status = _api_status(turn.state.pod, record.name)
    if status is not None and (status.containerID or "").endswith(newest.id):
        running = current.state is State.RUNNING
        turn.change_container(
            record.name, ready=running and status.ready, started=running and bool(status.started)
        )


def _instance(seen: Container, as_of: datetime) -> Instance:
    exited = seen.state is State.EXITED
    return Instance(
        id=seen.id,
        attempt=seen.attempt,
        state=seen.state,
        image=seen.image,
        image_ref=seen.image_ref,
        hash=seen.annotations.get(CONTAINER_HASH, ""),
        started_at=seen.started_at,
        finished_at=seen.finished_at if exited else None,
        exit_code=seen.exit_code,
        reason=(seen.reason or ("Completed" if seen.exit_code == 0 else "Error")) if exited else "",
        message=seen.message,
        known_at=as_of,
        sandbox_id=seen.sandbox_id,
    )


def _recover_from_status(turn: Turn) -> None:
    """Containers that the API says ran and the runtime has lost (a reboot) count as exited, unseen."""
    status = turn.state.pod.status
    if status.startTime is not None and turn.state.start_time is None:
        turn.change(start_time=status.startTime)
    mains_ran = any(r.current for r in turn.records(Role.MAIN))
    for record in list(turn.records()):
        if record.current is not None:
            continue
        known = _api_status(turn.state.pod, record.name)
        if record.role is Role.INIT and mains_ran:
            turn.change_container(record.name, current=_from_api(turn, record, known, succeeded=True))
        elif known is not None and _has_run(known):
            turn.change_container(record.name, current=_from_api(turn, record, known, succeeded=False))


def _has_run(known: api.ContainerStatus) -> bool:
    state, last = known.state, known.lastState
    return bool((state and (state.running or state.terminated)) or (last and last.terminated))


def _from_api(
    turn: Turn, record: ContainerRecord, known: api.ContainerStatus | None, *, succeeded: bool
) -> Instance:
    ended = known.state.terminated if known is not None and known.state is not None else None
    if ended is None and known is not None and known.lastState and not (known.state and known.state.running):
        ended = known.lastState.terminated
    exit_code = ended.exitCode if ended else (0 if succeeded else LOST_EXIT_CODE)
    return Instance(
        id=(known.containerID or "").rpartition("/")[2] if known else "",
        attempt=known.restartCount if known else 0,
        state=State.EXITED,
        image=known.image if known else "",
        image_ref=known.imageID if known else "",
        started_at=ended.startedAt if ended else None,
        finished_at=(ended.finishedAt if ended else None) or turn.now - timedelta(seconds=1),
        exit_code=exit_code,
        reason=(ended.reason if ended else "") or ("Completed" if exit_code == 0 else LOST_REASON),
        message=(ended.message if ended else None) or ("" if exit_code == 0 or ended else LOST_MESSAGE),
        known_at=turn.now,
    )


def _api_status(pod: api.Pod, name: str) -> api.ContainerStatus | None:
    status = pod.status
    for listed in (status.containerStatuses, status.initContainerStatuses, status.ephemeralContainerStatuses):
        for one in listed:
            if one.name == name:
                return one
    return None
