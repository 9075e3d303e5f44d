"""The status that a pod's state amounts to, as kubelet writes it. Pure."""

from __future__ import annotations

from datetime import datetime

from sampan.base.clock import kube_time
from sampan.kinds.core.phases import FINISHED
from sampan.node.conditions import conditions
from sampan.node.image_volumes import resolved
from sampan.node.model import (
    ContainerRecord,
    EndKind,
    Instance,
    NodeFacts,
    PodState,
    Role,
    Trouble,
)
from sampan.node.observe import LOST_EXIT_CODE, LOST_MESSAGE, LOST_REASON
from sampan.node.restarts import init_done, restart_due, will_run_again
from sampan.node.runtimes.runtime import State
from sampan.node.turn import has_exited, is_running, spec_of
from sampan.schema import api


def pod_status(state: PodState, now: datetime) -> api.PodStatus:
    """What the API should say of the pod: phase, conditions, addresses, container statuses."""
    phase, reason, message = _phase_and_reason(state)
    sandbox = state.sandbox
    ips = sandbox.ips if sandbox is not None else ()
    if state.pod.spec.hostNetwork and sandbox is not None:
        ips = state.node.ips
    if not ips and state.reported is not None:
        ips = tuple(p.ip for p in state.reported.podIPs)
    mains: list[api.ContainerStatus] = []
    inits: list[api.ContainerStatus] = []
    ephemeral: list[api.ContainerStatus] = []
    listed = {Role.MAIN: mains, Role.INIT: inits, Role.SIDECAR: inits, Role.EPHEMERAL: ephemeral}
    for record in state.containers.values():
        listed[record.role].append(_container_status(state, record, phase, now))
    status = api.PodStatus(
        phase=phase,
        reason=reason or None,
        message=message or None,
        hostIP=state.node.ips[0] if state.node.ips else None,
        hostIPs=[api.HostIP(ip=ip) for ip in state.node.ips],
        podIP=ips[0] if ips else None,
        podIPs=[api.PodIP(ip=ip) for ip in ips],
        startTime=kube_time(state.start_time) if state.start_time else None,
        qosClass=state.pod.status.qosClass,
        observedGeneration=state.pod.metadata.generation,
        containerStatuses=mains,
        initContainerStatuses=inits,
        ephemeralContainerStatuses=ephemeral,
    )
    if state.rejected is not None:  # kubelet says nothing of the containers of a pod it refused
        status.hostIP, status.hostIPs = None, []
        status.containerStatuses, status.initContainerStatuses = [], []
    status.conditions = conditions(state, status, now)
    return status


def _by_role(state: PodState, *roles: Role) -> list[ContainerRecord]:
    return [r for r in state.containers.values() if r.role in roles]


def _over(state: PodState) -> bool:
    return state.ending is not None and not any(is_running(r) for r in state.containers.values())


def _phase_and_reason(state: PodState) -> tuple[str, str, str]:
    if state.rejected is not None:
        return "Failed", state.rejected.reason, state.rejected.message
    before = state.reported
    if before is not None and before.phase in FINISHED:
        return before.phase or "", before.reason or "", before.message or ""
    ending = state.ending
    if ending is not None and ending.kind is EndKind.FAILED:
        return "Failed", ending.reason, ending.message
    phase = _phase(state)
    kept = state.pod.status
    return phase, (kept.reason or ""), (kept.message or "")


def _phase(state: PodState) -> str:
    policy = state.pod.spec.restartPolicy or "Always"
    if _over(state):
        return _final_phase(state)
    inits = _by_role(state, Role.INIT, Role.SIDECAR)
    mains = _by_role(state, Role.MAIN)
    started = any(r.current for r in mains)
    for record in inits:
        spec = spec_of(state.pod, record.name)
        failed = record.role is Role.INIT and has_exited(record) and not init_done(record)
        if failed and not will_run_again(record, spec, policy):
            return "Failed" if not any(is_running(r) for r in inits) else "Pending"
    if inits and not started and not all(init_done(r) for r in inits):
        return "Pending"
    if any(r.current is None or r.current.state is State.CREATED for r in mains):
        return "Pending"
    if any(is_running(r) for r in mains) or not mains:
        return "Running"
    if any(will_run_again(r, spec_of(state.pod, r.name), policy) for r in mains):
        return "Running"
    if any(is_running(r) for r in inits):
        return "Running"
    return _final_phase(state)


def _final_phase(state: PodState) -> str:
    mains = _by_role(state, Role.MAIN)
    succeeded = all(r.current is not None and r.current.exit_code == 0 for r in mains)
    return "Succeeded" if succeeded else "Failed"


def _container_status(
    state: PodState, record: ContainerRecord, phase: str, now: datetime
) -> api.ContainerStatus:
    spec = spec_of(state.pod, record.name) or api.Container(name=record.name)
    current = record.current
    run, last = _states(state, record, spec, phase, now)
    running = run.running is not None
    images = resolved(state)
    shown = current if current is not None and (current.id or current.image_ref) else None
    status = api.ContainerStatus(
        name=record.name,
        state=run,
        lastState=last,
        ready=_is_ready(record, running),
        started=running and record.started,
        restartCount=current.attempt if current else 0,
        image=(current.image if current and current.image else None) or spec.image or "",
        imageID=shown.image_ref if shown else "",
        containerID=_container_id(state.node, current),
        volumeMounts=[_mount_status(m, images.get(m.name)) for m in spec.volumeMounts] if current else [],
    )
    if running and current is not None and current.resources is not None:
        status.resources = current.resources
        status.allocatedResources = current.resources.requests
    if record.role is Role.MAIN and record.name in state.devices:
        status.allocatedResourcesStatus = list(state.devices[record.name])
    return status


def _mount_status(mount: api.VolumeMount, image: str | None) -> api.VolumeMountStatus:
    shown = api.VolumeStatus(image=api.ImageVolumeStatus(imageRef=image)) if image else None
    return api.VolumeMountStatus(
        name=mount.name,
        mountPath=mount.mountPath,
        readOnly=mount.readOnly or None,
        recursiveReadOnly="Disabled" if mount.readOnly else None,
        volumeStatus=shown,
    )


def _is_ready(record: ContainerRecord, running: bool) -> bool:
    if record.role is Role.INIT:
        return init_done(record)
    return running and record.ready and record.role is not Role.EPHEMERAL


def _states(
    state: PodState, record: ContainerRecord, spec: api.Container, phase: str, now: datetime
) -> tuple[api.ContainerState, api.ContainerState | None]:
    """The container's state and lastState."""
    current = record.current
    last = _terminated_state(state.node, record.previous)
    if current is None:
        if phase in FINISHED and state.observed and _never_ran(state, record):
            lost = api.ContainerStateTerminated(
                exitCode=LOST_EXIT_CODE, reason=LOST_REASON, message=LOST_MESSAGE
            )
            return api.ContainerState(terminated=lost), None
        trouble = record.trouble or _default_wait(state)
        return api.ContainerState(waiting=_waiting(trouble)), None
    if current.state is State.RUNNING and record.hook_done:
        started_at = kube_time(current.started_at) if current.started_at else None
        return api.ContainerState(running=api.ContainerStateRunning(startedAt=started_at)), last
    if current.state is not State.EXITED:
        return api.ContainerState(waiting=_waiting(_default_wait(state))), last
    if state.ending is None and will_run_again(record, spec, state.pod.spec.restartPolicy or "Always"):
        waits_for = record.trouble or _crash_loop(state, record, now)
        if waits_for is not None:
            return api.ContainerState(waiting=_waiting(waits_for)), _terminated_state(state.node, current)
    exited = _terminated_state(state.node, current)
    return exited or api.ContainerState(), last


def _never_ran(state: PodState, record: ContainerRecord) -> bool:
    """Whether a container without an instance, in a pod that is over, is said to have ended.

    As kubelet does: those that had to wait for an init container which never ended well go on "waiting", so
    that nobody takes them for started. Of the init containers the first of all is said to have ended.
    """
    if state.rejected is not None or record.role is Role.EPHEMERAL:
        return False
    inits = _by_role(state, Role.INIT, Role.SIDECAR)
    if record.role is Role.MAIN:
        begun = any(r.current is not None for r in _by_role(state, Role.MAIN))
        return begun or not inits or init_done(inits[-1])
    later = inits[inits.index(record) + 1 :]
    return record is inits[0] or any(r.current is not None for r in later)


def _default_wait(state: PodState) -> Trouble:
    return Trouble("PodInitializing" if state.pod.spec.initContainers else "ContainerCreating", "")


def _crash_loop(state: PodState, record: ContainerRecord, now: datetime) -> Trouble | None:
    due = restart_due(record)
    if due is None or due <= now:
        return None
    return Trouble("CrashLoopBackOff", crash_message(state, record))


def crash_message(state: PodState, record: ContainerRecord) -> str:
    """kubelet's sentence for a container that waits to be restarted."""
    delay = duration(record.backoff_s)
    return f"back-off {delay} restarting failed container={record.name} pod={state.key.long}"


def duration(seconds: float) -> str:
    """Whole seconds as Go writes a time.Duration: `10s`, `2m40s`, `5m0s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _waiting(trouble: Trouble) -> api.ContainerStateWaiting:
    return api.ContainerStateWaiting(reason=trouble.reason or None, message=trouble.message or None)


def _terminated_state(node: NodeFacts, instance: Instance | None) -> api.ContainerState | None:
    if instance is None or instance.state is not State.EXITED:
        return None
    started_at, finished_at = instance.started_at, instance.finished_at
    return api.ContainerState(
        terminated=api.ContainerStateTerminated(
            exitCode=instance.exit_code,
            reason=instance.reason or None,
            message=instance.message or None,
            startedAt=kube_time(started_at) if started_at else None,
            finishedAt=kube_time(finished_at) if finished_at else None,
            containerID=_container_id(node, instance),
        )
    )


def _container_id(node: NodeFacts, instance: Instance | None) -> str | None:
    return f"{node.runtime}://{instance.id}" if instance is not None and instance.id else None
