"""What a pod that is to run still needs: volumes, sandbox, images, containers in order, probes. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from sampan.node import rundown
from sampan.node.messages import (
    EnsureImage,
    PostStart,
    PrepareVolumes,
    RemoveContainer,
    RemoveSandbox,
    ResizeContainer,
    RunSandbox,
    StartContainer,
    StartProbe,
    StopProbe,
    StopSandbox,
)
from sampan.node.model import (
    ContainerRecord,
    Doom,
    EndKind,
    Role,
    SandboxPhase,
    Trouble,
    Volumes,
)
from sampan.node.names import container_hash
from sampan.node.probes import wanted
from sampan.node.restarts import init_done, is_over, restart_due, will_run_again
from sampan.node.runtimes.runtime import State
from sampan.node.turn import Turn, has_exited, is_running, spec_of
from sampan.schema import api

# How long a failed pull is shown as ErrImagePull before it shows as ImagePullBackOff.
PULL_ERROR_SHOWN_S: Final = 1.0
PULL_FIRST_BACKOFF_S: Final = 10.0


def advance(turn: Turn) -> None:
    """Order whatever brings the pod nearer to running as its spec says."""
    _settle_health(turn)
    if _is_complete(turn):
        rundown.end(turn, EndKind.COMPLETED, rundown.pod_grace_s(turn.state.pod))
        return
    if turn.state.volumes is Volumes.NONE:
        turn.do(PrepareVolumes())
    sandbox_ready = _ensure_sandbox(turn)
    _doom_changed(turn)
    for record in turn.records():
        if is_running(record) and not record.hook_done and record.doom is None and record.current is not None:
            turn.do(PostStart(record.name, record.current.id, _probe_ips(turn)))
        if record.doom is not None and is_running(record):
            rundown.stop(turn, record, record.doom.grace_s, record.doom.message)
    for record in _candidates(turn):
        _start(turn, record, sandbox_ready)
    _resize(turn)


def _policy(turn: Turn) -> str:
    return turn.state.pod.spec.restartPolicy or "Always"


def _is_complete(turn: Turn) -> bool:
    """Whether nothing of the pod will run again: all main containers are over, or initialising failed."""
    pod, policy = turn.state.pod, _policy(turn)
    for record in turn.records(Role.INIT):
        if (
            has_exited(record)
            and not init_done(record)
            and is_over(record, spec_of(pod, record.name), policy)
        ):
            return True
    mains = list(turn.records(Role.MAIN))
    return bool(mains) and all(is_over(r, spec_of(pod, r.name), policy) for r in mains)


def _ensure_sandbox(turn: Turn) -> bool:
    """Whether the sandbox is ready; if not, the next thing towards it is ordered.

    A sandbox that died takes its containers along: they are stopped, then it is replaced, and everything
    starts from the first init container on.
    """
    sandbox = turn.state.sandbox
    if sandbox is None:
        turn.do(RunSandbox(0))
        return False
    if sandbox.phase is SandboxPhase.READY:
        return True
    running = [r for r in turn.records() if is_running(r)]
    for record in running:
        rundown.stop(turn, record, None, f"Stopping container {record.name}")
    if running or any(key.startswith("start/") for key in turn.state.doing):
        return False
    if sandbox.phase is SandboxPhase.DEAD:
        turn.do(StopSandbox(sandbox.id))
        return False
    if "sandbox" not in turn.state.doing and "sandbox" not in turn.state.retries:
        turn.note("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        for record in turn.records():
            turn.change_container(record.name, stale=True)
    turn.do(RunSandbox(sandbox.attempt + 1))
    return False


def _candidates(turn: Turn) -> list[ContainerRecord]:
    """The containers that should be running (or run) now and are not, in the order of the spec."""
    policy, pod = _policy(turn), turn.state.pod
    found = [r for r in turn.records(Role.EPHEMERAL) if r.current is None]
    mains_started = any(r.current is not None and not r.stale for r in turn.records(Role.MAIN))
    for record in turn.records(Role.INIT, Role.SIDECAR):
        if init_done(record):
            continue
        if not is_running(record):
            found.append(record)
        if record.role is Role.INIT or not mains_started:
            return found
    held_up = False
    for record in turn.records(Role.MAIN):
        spec = spec_of(pod, record.name)
        waits = record.current is None or (has_exited(record) and will_run_again(record, spec, policy))
        if waits and not held_up:
            found.append(record)
        # A postStart hook holds up the containers after it: people use it to order their containers.
        has_hook = spec is not None and spec.lifecycle is not None and spec.lifecycle.postStart is not None
        if (has_hook and record.current is None) or (is_running(record) and not record.hook_done):
            held_up = True
    return found


def _start(turn: Turn, record: ContainerRecord, sandbox_ready: bool) -> None:
    spec = spec_of(turn.state.pod, record.name)
    sandbox = turn.state.sandbox
    if spec is None or f"start/{record.name}" in turn.state.doing:
        return
    if has_exited(record):
        due = restart_due(record)
        if due is not None and due > turn.now:
            _tell_backoff(turn, record)
            turn.wake(due)
            return
    if not record.image_ref:
        _ensure_image(turn, record, spec)
        return
    if sandbox is None or not sandbox_ready or turn.state.volumes is not Volumes.READY:
        return
    attempt = record.current.attempt + 1 if record.current is not None else 0
    ips = turn.state.node.ips if turn.state.pod.spec.hostNetwork else sandbox.ips
    target = _target(turn, record)
    if target is not None:
        turn.do(StartContainer(record.name, attempt, sandbox.id, record.image_ref, ips, target))


def _target(turn: Turn, record: ContainerRecord) -> str | None:
    """The running instance that an ephemeral container targets, "" for no target; None while it is down."""
    if record.role is not Role.EPHEMERAL:
        return ""
    wanted = next(
        (e.targetContainerName for e in turn.state.pod.spec.ephemeralContainers if e.name == record.name), ""
    )
    if not wanted:
        return ""
    current = turn.record(wanted).current if wanted in turn.state.containers else None
    return current.id if current is not None and current.state is State.RUNNING else None


def _tell_backoff(turn: Turn, record: ContainerRecord) -> None:
    if record.backoff_told:
        return
    turn.change_container(record.name, backoff_told=True)
    message = f"Back-off restarting failed container {record.name} in pod {turn.state.key.long}"
    turn.note("Warning", "BackOff", message, record.name)


def _ensure_image(turn: Turn, record: ContainerRecord, spec: api.Container) -> None:
    retry = record.pull_retry
    image = spec.image or ""
    if retry is None or retry.at <= turn.now:
        turn.do(EnsureImage(record.name, image, pull_policy(spec)))
        return
    turn.wake(retry.at)
    if record.trouble is None or record.trouble.reason != "ErrImagePull":
        return
    delay_s = min(PULL_FIRST_BACKOFF_S * 2 ** (retry.count - 1), 300.0)
    shown_until = retry.at - timedelta(seconds=delay_s - PULL_ERROR_SHOWN_S)
    if turn.now < shown_until:
        turn.wake(shown_until)
        return
    message = f'Back-off pulling image "{image}": {record.trouble.reason}: {record.trouble.message}'
    turn.change_container(record.name, trouble=Trouble("ImagePullBackOff", message))
    turn.note("Normal", "BackOff", f'Back-off pulling image "{image}"', record.name)
    turn.note("Warning", "Failed", "Error: ImagePullBackOff", record.name)


def pull_policy(spec: api.Container) -> str:
    """The container's imagePullPolicy, or the default for its image."""
    return spec.imagePullPolicy or default_pull_policy(spec.image or "")


def default_pull_policy(image: str) -> str:
    """Always for `:latest` and untagged, else IfNotPresent."""
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    return "Always" if ":" not in name or name.endswith(":latest") else "IfNotPresent"


def _doom_changed(turn: Turn) -> None:
    """A running container whose image was changed in the spec is replaced, whatever the restart policy."""
    for record in turn.records(Role.MAIN, Role.SIDECAR):
        spec, current = spec_of(turn.state.pod, record.name), record.current
        if spec is None or current is None or not is_running(record) or record.doom is not None:
            continue
        if current.hash and current.hash != container_hash(spec.name, spec.image or ""):
            message = f"Container {record.name} definition changed, will be restarted"
            turn.change_container(record.name, doom=Doom(message), force_restart=True)


def _resize(turn: Turn) -> None:
    """Running containers get the resources that the spec asks for, in place or by a restart."""
    for record in turn.records(Role.MAIN, Role.SIDECAR):
        spec, current = spec_of(turn.state.pod, record.name), record.current
        if spec is None or current is None or current.state is not State.RUNNING or record.doom is not None:
            continue
        if current.resources is None:  # found after a restart of the agent: takes the spec's word for it
            turn.change_container(record.name, current=replace(current, resources=spec.resources))
        elif current.resources != spec.resources:
            if _needs_restart(spec, current.resources):
                message = f"Container {record.name} resize requires restart"
                turn.change_container(record.name, doom=Doom(message), force_restart=True)
                rundown.stop(turn, turn.record(record.name), None, message)
            else:
                turn.do(ResizeContainer(record.name, current.id, spec.resources))


def _needs_restart(spec: api.Container, applied: api.ResourceRequirements) -> bool:
    for policy in spec.resizePolicy:
        name = policy.resourceName
        before = (applied.requests.get(name), applied.limits.get(name))
        after = (spec.resources.requests.get(name), spec.resources.limits.get(name))
        if policy.restartPolicy == "RestartContainer" and before != after:
            return True
    return False


def _settle_health(turn: Turn) -> None:
    """A running container without the probe in question is started, and ready, by running."""
    for record in turn.records(Role.MAIN, Role.SIDECAR):
        spec, current = spec_of(turn.state.pod, record.name), record.current
        if spec is None or current is None or current.state is not State.RUNNING or not record.hook_done:
            continue
        started = record.started or spec.startupProbe is None
        ready = record.ready or (started and spec.readinessProbe is None)
        if (started, ready) != (record.started, record.ready):
            turn.change_container(record.name, started=started, ready=ready)


def reconcile_probes(turn: Turn) -> None:
    """Start the probes that ought to run and stop those that ought not to."""
    ending = turn.state.ending is not None
    for record in turn.records():
        spec, current = spec_of(turn.state.pod, record.name), record.current
        if spec is None or current is None:
            continue
        kinds = wanted(record, spec, ending)
        if kinds == record.probing:
            continue
        ips = _probe_ips(turn)
        for kind in sorted(record.probing - kinds):
            turn.orders.append(StopProbe(record.name, current.id, kind))
        for kind in sorted(kinds - record.probing):
            started_at = current.started_at or turn.now
            turn.orders.append(StartProbe(record.name, current.id, kind, started_at, ips))
        turn.change_container(record.name, probing=kinds)


def _probe_ips(turn: Turn) -> tuple[str, ...]:
    if turn.state.pod.spec.hostNetwork:
        return turn.state.node.ips
    return turn.state.sandbox.ips if turn.state.sandbox is not None else ()


def remove_old(turn: Turn) -> None:
    """Remove dead containers and sandboxes that nobody needs; containers go before their sandbox."""
    for record in turn.records():
        before = record.previous
        # One dead container is kept of each, for who wants to know how it ended.
        if before is not None and before.id and not before.removed and has_exited(record):
            turn.do(RemoveContainer(before.id))
    for container_id in turn.state.old_containers:
        turn.do(RemoveContainer(container_id))
    if turn.state.old_containers:
        return
    for sandbox_id in turn.state.old_sandboxes:
        turn.do(RemoveSandbox(sandbox_id))
