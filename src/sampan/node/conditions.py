"""The pod conditions that the node owns, with their transition times kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from sampan.base.clock import kube_time
from sampan.node.model import PodState, Role, SandboxPhase
from sampan.schema import api

OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def conditions(state: PodState, status: api.PodStatus, now: datetime) -> list[api.PodCondition]:
    """The conditions for `status`, each with the time of its last change of status."""
    containers = _containers_ready(state, status)
    wanted = [
        _ready_to_start(state),
        _initialized(state, status),
        _ready(state, containers),
        containers,
        api.PodCondition(type="PodScheduled", status="True"),
    ]
    if state.ending is not None and state.ending.disruption:
        told = state.ending.message
        reason = "TerminationByKubelet"
        wanted.append(api.PodCondition(type="DisruptionTarget", status="True", reason=reason, message=told))
    before = {c.type: c for c in state.pod.status.conditions}
    if state.reported is not None:
        before |= {c.type: c for c in state.reported.conditions}
    generation, changed_at = state.pod.metadata.generation, kube_time(now)
    for condition in wanted:
        condition.observedGeneration = generation
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status and old.lastTransitionTime is not None
        condition.lastTransitionTime = old.lastTransitionTime if same and old else changed_at
    return wanted


def _ready_to_start(state: PodState) -> api.PodCondition:
    up = state.sandbox is not None and state.sandbox.phase is SandboxPhase.READY
    return api.PodCondition(type="PodReadyToStartContainers", status="True" if up else "False")


def _initialized(state: PodState, status: api.PodStatus) -> api.PodCondition:
    kind = "Initialized"
    inits = state.pod.spec.initContainers
    if not inits:
        return api.PodCondition(type=kind, status="True")
    if status.phase == "Succeeded":
        return api.PodCondition(type=kind, status="True", reason="PodCompleted")
    if any(r.role is Role.MAIN and r.current is not None for r in state.containers.values()):
        return api.PodCondition(type=kind, status="True")
    known = {s.name: s for s in status.initContainerStatuses}
    incomplete = []
    for container in inits:
        one = known.get(container.name)
        sidecar = container.restartPolicy == "Always"
        if one is None or not (bool(one.started) if sidecar else one.ready):
            incomplete.append(container.name)
    if not incomplete:
        return api.PodCondition(type=kind, status="True")
    message = f"containers with incomplete status: {_names(incomplete)}"
    return api.PodCondition(type=kind, status="False", reason="ContainersNotInitialized", message=message)


def _containers_ready(state: PodState, status: api.PodStatus) -> api.PodCondition:
    kind = "ContainersReady"
    if status.phase == "Succeeded":
        return api.PodCondition(type=kind, status="False", reason="PodCompleted")
    if status.phase == "Failed":
        return api.PodCondition(type=kind, status="False", reason="PodFailed")
    known = {s.name: s for s in (*status.initContainerStatuses, *status.containerStatuses)}
    sidecars = [c for c in state.pod.spec.initContainers if c.restartPolicy == "Always"]
    wanted = [c.name for c in (*sidecars, *state.pod.spec.containers)]
    unready = [name for name in wanted if name not in known or not known[name].ready]
    if unready:
        message = f"containers with unready status: {_names(unready)}"
        return api.PodCondition(type=kind, status="False", reason="ContainersNotReady", message=message)
    return api.PodCondition(type=kind, status="True")


def _ready(state: PodState, containers: api.PodCondition) -> api.PodCondition:
    ready = replace(containers, type="Ready")
    if ready.status != "True" or not state.pod.spec.readinessGates:
        return ready
    gates = {c.type: c.status for c in state.pod.status.conditions}
    complaints = []
    for gate in state.pod.spec.readinessGates:
        value = gates.get(gate.conditionType)
        if value is None:
            complaints.append(
                f'corresponding condition of pod readiness gate "{gate.conditionType}" does not exist.'
            )
        elif value != "True":
            complaints.append(
                f'the status of pod readiness gate "{gate.conditionType}" is not "True", but {value}'
            )
    if complaints:
        return api.PodCondition(
            type="Ready", status="False", reason="ReadinessGatesNotReady", message=", ".join(complaints)
        )
    return ready


def _names(names: Iterable[str]) -> str:
    return f"[{' '.join(names)}]"
