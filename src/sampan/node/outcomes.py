"""What the end of an instruction, or the result of a probe, changes in a pod's state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from sampan.node.messages import (
    ContainerUp,
    Failed,
    ImageReady,
    Probed,
    SandboxUp,
)
from sampan.node.model import (
    ContainerRecord,
    Doom,
    Instance,
    ProbeKind,
    SandboxPhase,
    SandboxRecord,
    Tally,
    Trouble,
    Volumes,
)
from sampan.node.names import container_hash
from sampan.node.probes import probe_of, tally
from sampan.node.restarts import next_backoff_s, next_pull_retry
from sampan.node.runtimes.runtime import State
from sampan.node.turn import Turn, spec_of
from sampan.schema import api

# (first, most) seconds between tries of what failed.
VOLUME_RETRY_S: Final = (0.5, 15.0)
SANDBOX_RETRY_S: Final = (1.0, 30.0)
START_RETRY_S: Final = (1.0, 10.0)
OTHER_RETRY_S: Final = (1.0, 30.0)

START_ERROR_CODE: Final = 128
KILLED_CODE: Final = 137


def done(turn: Turn, key: str, result: Any) -> None:
    """An instruction was carried out."""
    turn.succeeded(key)
    kind, _, rest = key.partition("/")
    _DONE[kind](turn, rest.partition("/")[0] if kind == "stop" else rest, result)


def _volumes_ready(
    turn: Turn, rest: str, devices: Mapping[str, tuple[api.ResourceStatus, ...]] | None
) -> None:
    turn.change(volumes=Volumes.READY)
    if devices:
        turn.change(devices=devices)


def _volumes_removed(turn: Turn, rest: str, result: Any) -> None:
    turn.change(volumes=Volumes.REMOVED)


def _sandbox_up(turn: Turn, rest: str, up: SandboxUp) -> None:
    before = turn.state.sandbox
    attempt = before.attempt + 1 if before is not None else 0
    if before is not None:
        turn.change(old_sandboxes=(*turn.state.old_sandboxes, before.id))
    record = SandboxRecord(id=up.id, attempt=attempt, phase=SandboxPhase.READY, ips=up.ips, known_at=turn.now)
    turn.change(sandbox=record)


def _image_ready(turn: Turn, name: str, ready: ImageReady) -> None:
    turn.change_container(name, image_ref=ready.reference, pull_retry=None, trouble=None)
    if ready.volumes:
        turn.change(image_volumes={**turn.state.image_volumes, **ready.volumes})


def _container_up(turn: Turn, name: str, up: ContainerUp) -> None:
    record, pod = turn.record(name), turn.state.pod
    spec = spec_of(pod, name)
    before = record.current
    image = (spec.image if spec is not None else None) or ""
    hooked = spec is not None and spec.lifecycle is not None and spec.lifecycle.postStart is not None
    instance = Instance(
        id=up.id,
        attempt=before.attempt + 1 if before is not None else 0,
        state=State.EXITED if up.start_error else State.RUNNING,
        image=image,
        image_ref=up.image_ref,
        hash=container_hash(name, image),
        started_at=up.started_at,
        finished_at=turn.now if up.start_error else None,
        exit_code=START_ERROR_CODE if up.start_error else 0,
        reason="StartError" if up.start_error else "",
        message=up.start_error,
        known_at=turn.now,
        resources=up.resources,
        sandbox_id=turn.state.sandbox.id if turn.state.sandbox is not None else "",
    )
    _supersede(turn, record)
    turn.change_container(
        name,
        current=instance,
        previous=before or record.previous,
        image_ref="",
        trouble=None,
        hook_done=not hooked,
        force_restart=False,
        doom=None,
        stale=False,
        stop_by=None,
        tallies={},
        probing=frozenset(),
        ready=False,
        started=False,
        backoff_told=False,
    )
    if before is not None and not record.stale and not record.force_restart:
        turn.change_container(name, backoff_s=next_backoff_s(record), backoff_at=turn.now)
    if up.start_error:
        turn.note("Warning", "Failed", f"Error: {up.start_error}", name)


def _supersede(turn: Turn, record: ContainerRecord) -> None:
    """The instance before the last is nobody's last state any more."""
    before = record.previous
    if before is not None and record.current is not None and before.id and not before.removed:
        turn.change(old_containers=(*turn.state.old_containers, before.id))


def _hook_over(turn: Turn, container_id: str, result: Any) -> None:
    record = _by_id(turn, container_id)
    if record is not None:
        turn.change_container(record.name, hook_done=True)


def _stopped(turn: Turn, container_id: str, result: Any) -> None:
    """The runtime says that it has exited; if no listing has told how, call it killed until one does."""
    record = _by_id(turn, container_id)
    if record is None or record.current is None or record.current.state is State.EXITED:
        return
    exited = replace(
        record.current,
        state=State.EXITED,
        finished_at=turn.now,
        exit_code=KILLED_CODE,
        reason="Error",
        guessed=True,
    )
    turn.change_container(record.name, current=exited, ready=False, started=False, stop_by=None)


def _removed(turn: Turn, container_id: str, result: Any) -> None:
    turn.change(old_containers=tuple(i for i in turn.state.old_containers if i != container_id))
    for record in turn.records():
        for field in ("current", "previous"):
            instance: Instance | None = getattr(record, field)
            if instance is not None and instance.id == container_id:
                turn.change_container(record.name, **{field: replace(instance, removed=True)})


def _sandbox_stopped(turn: Turn, sandbox_id: str, result: Any) -> None:
    sandbox = turn.state.sandbox
    if sandbox is not None and sandbox.id == sandbox_id:
        turn.change(sandbox=replace(sandbox, phase=SandboxPhase.STOPPED))


def _sandbox_removed(turn: Turn, sandbox_id: str, result: Any) -> None:
    turn.change(old_sandboxes=tuple(i for i in turn.state.old_sandboxes if i != sandbox_id))


def _resized(turn: Turn, container_id: str, result: Any) -> None:
    record = _by_id(turn, container_id)
    if record is not None and record.current is not None:
        turn.change_container(record.name, current=replace(record.current, resources=result))


def _deletion_done(turn: Turn, rest: str, result: Any) -> None:
    turn.change(deletion_done=True)


_DONE: Final[dict[str, Callable[[Turn, str, Any], None]]] = {
    "volumes": _volumes_ready,
    "volumes-remove": _volumes_removed,
    "sandbox": _sandbox_up,
    "image": _image_ready,
    "start": _container_up,
    "post-start": _hook_over,
    "stop": _stopped,
    "remove": _removed,
    "stop-sandbox": _sandbox_stopped,
    "remove-sandbox": _sandbox_removed,
    "resize": _resized,
    "finish-deletion": _deletion_done,
}


def _by_id(turn: Turn, container_id: str) -> ContainerRecord | None:
    for record in turn.records():
        if record.current is not None and record.current.id == container_id:
            return record
    return None


def failed(turn: Turn, event: Failed) -> None:
    """An instruction could not be carried out: say so, and when to try again."""
    kind, _, rest = event.key.partition("/")
    if kind == "image":
        _pull_failed(turn, rest, event)
    elif kind == "start":
        turn.failed(event.key, *START_RETRY_S)
        turn.change_container(rest, trouble=Trouble(event.reason, event.message))
        turn.note("Warning", "Failed", f"Error: {event.message}", rest)
    elif kind == "post-start":
        _hook_failed(turn, rest, event)
    elif kind == "volumes":
        turn.failed(event.key, *VOLUME_RETRY_S)
        turn.note("Warning", event.reason or "FailedMount", event.message)
    elif kind == "sandbox":
        turn.failed(event.key, *SANDBOX_RETRY_S)
        message = f"Failed to create pod sandbox: {event.message}"
        turn.note("Warning", "FailedCreatePodSandBox", message)
    else:
        turn.failed(event.key, *OTHER_RETRY_S)
        if kind in ("stop", "stop-sandbox"):
            turn.note("Warning", "FailedKillPod", f"error killing pod: {event.message}")


def _pull_failed(turn: Turn, name: str, event: Failed) -> None:
    spec = spec_of(turn.state.pod, name)
    image = (spec.image if spec is not None else None) or ""
    retry = next_pull_retry(turn.record(name).pull_retry, turn.now)
    turn.change_container(name, pull_retry=retry, trouble=Trouble(event.reason, event.message))
    if event.reason == "ErrImagePull":
        turn.note("Warning", "Failed", f'Failed to pull image "{image}": {event.message}', name)
        turn.note("Warning", "Failed", "Error: ErrImagePull", name)
    else:
        turn.note("Warning", event.reason, event.message, name)
        turn.note("Warning", "Failed", f"Error: {event.reason}", name)


def _hook_failed(turn: Turn, container_id: str, event: Failed) -> None:
    record = _by_id(turn, container_id)
    if record is None or record.current is None or record.current.state is State.EXITED:
        return
    # What the hook said may be secret.
    turn.note("Warning", "FailedPostStartHook", "PostStartHook failed", record.name)
    turn.change_container(record.name, doom=Doom("FailedPostStartHook"))


def probed(turn: Turn, event: Probed) -> None:
    """Count a probe's result; results for instances that are gone are void."""
    record = turn.state.containers.get(event.name)
    spec = spec_of(turn.state.pod, event.name)
    if record is None or spec is None or record.current is None or event.kind not in record.probing:
        return
    if record.current.id != event.container_id or record.current.state is not State.RUNNING:
        return
    probe = probe_of(spec, event.kind)
    if probe is None:
        return
    title = event.kind.value.capitalize()
    if not event.ok:
        turn.note("Warning", "Unhealthy", f"{title} probe failed: {event.output}", event.name)
    counted = tally(record.tallies.get(event.kind, Tally()), event.ok, probe)
    turn.change_container(event.name, tallies={**record.tallies, event.kind: counted})
    if event.kind is ProbeKind.READINESS:
        turn.change_container(event.name, ready=record.started and bool(counted.healthy))
    elif counted.healthy is False and record.doom is None:
        message = f"Container {event.name} failed {event.kind.value} probe, will be restarted"
        turn.change_container(event.name, doom=Doom(message, probe.terminationGracePeriodSeconds))
    elif event.kind is ProbeKind.STARTUP and counted.healthy:
        turn.change_container(event.name, started=True)
