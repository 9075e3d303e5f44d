"""The table of `kubectl get pods`: printPod of k8s.io/kubernetes/pkg/printers/internalversion."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sampan.kinds.core.cells import NONE, since
from sampan.kinds.core.phases import FINISHED
from sampan.kinds.kind import AGE, NAME, Column
from sampan.schema import api


class Summary:
    """What the table says of a pod: the counts of its containers and the one word for its state."""

    __slots__ = ("last_restart", "ready", "restarts", "total", "word")

    def __init__(self, pod: api.Pod) -> None:
        self.ready = 0
        self.restarts = 0
        self.last_restart: datetime | None = None
        sidecars = {c.name for c in pod.spec.initContainers if c.restartPolicy == "Always"}
        self.total = len(pod.spec.containers) + len(sidecars)
        self.word = _phase_word(pod.status)
        initializing = self._count_init_containers(pod, sidecars)
        if not initializing or _condition(pod.status, "Initialized"):
            # Once initialised, only restarts of what still runs are counted.
            self._forget_init_restarts(pod.status, sidecars)
            self._count_containers(pod.status)
        if pod.metadata.deletionTimestamp is not None:
            if pod.status.reason == "NodeLost":
                self.word = "Unknown"
            elif pod.status.phase not in FINISHED:
                self.word = "Terminating"

    def _count_init_containers(self, pod: api.Pod, sidecars: set[str]) -> bool:
        for position, status in enumerate(pod.status.initContainerStatuses):
            self._count_restarts(status)
            state = status.state or api.ContainerState()
            if state.terminated is not None and state.terminated.exitCode == 0:
                continue
            if status.name in sidecars and status.started:
                self.ready += status.ready
                continue
            if state.terminated is not None:
                self.word = f"Init:{_ending(state.terminated)}"
            elif state.waiting is not None and state.waiting.reason not in (None, "", "PodInitializing"):
                self.word = f"Init:{state.waiting.reason}"
            else:
                self.word = f"Init:{position}/{len(pod.spec.initContainers)}"
            return True
        return False

    def _forget_init_restarts(self, status: api.PodStatus, sidecars: set[str]) -> None:
        self.restarts = 0
        self.last_restart = None
        for init in status.initContainerStatuses:
            if init.name in sidecars:
                self._count_restarts(init)

    def _count_containers(self, pod_status: api.PodStatus) -> None:
        running = False
        for status in reversed(pod_status.containerStatuses):
            self._count_restarts(status)
            state = status.state or api.ContainerState()
            if state.waiting is not None and state.waiting.reason:
                self.word = state.waiting.reason
            elif state.terminated is not None:
                self.word = _ending(state.terminated)
            elif status.ready and state.running is not None:
                running = True
                self.ready += 1
        if self.word == "Completed" and running:
            self.word = "Running" if _condition(pod_status, "Ready") else "NotReady"
        if _condition(pod_status, "AllContainersRestarting"):
            self.word = "RestartingAllContainers"

    def _count_restarts(self, status: api.ContainerStatus) -> None:
        self.restarts += status.restartCount
        last = status.lastState
        if last is None or last.terminated is None or last.terminated.finishedAt is None:
            return
        ended = last.terminated.finishedAt
        if self.last_restart is None or self.last_restart < ended:
            self.last_restart = ended


def _phase_word(status: api.PodStatus) -> str:
    for condition in status.conditions:
        if condition.type == "PodScheduled" and condition.reason == "SchedulingGated":
            return "SchedulingGated"
    return status.reason or status.phase or ""


def _ending(state: api.ContainerStateTerminated) -> str:
    if state.reason:
        return state.reason
    return f"Signal:{state.signal}" if state.signal else f"ExitCode:{state.exitCode}"


def _condition(status: api.PodStatus, name: str) -> bool:
    return any(c.type == name and c.status == "True" for c in status.conditions)


def _restarts(pod: api.Pod, now: datetime) -> str:
    summary = Summary(pod)
    if summary.restarts and summary.last_restart is not None:
        return f"{summary.restarts} ({since(summary.last_restart, now)} ago)"
    return str(summary.restarts)


def _ready(pod: api.Pod, _now: datetime) -> str:
    summary = Summary(pod)
    return f"{summary.ready}/{summary.total}"


def _readiness_gates(pod: api.Pod, _now: datetime) -> str:
    gates = pod.spec.readinessGates
    if not gates:
        return NONE
    true = sum(_condition(pod.status, gate.conditionType) for gate in gates)
    return f"{true}/{len(gates)}"


COLUMNS: Final = (
    NAME,
    Column("Ready", _ready, description="How many of the pod's containers are ready."),
    Column("Status", lambda pod, _now: Summary(pod).word, description="The state of the pod in a word."),
    Column("Restarts", _restarts, description="How often containers of the pod were restarted, and when."),
    AGE,
    Column(
        "IP",
        lambda pod, _now: (pod.status.podIPs[0].ip if pod.status.podIPs else pod.status.podIP) or NONE,
        description="The address of the pod.",
        priority=1,
    ),
    Column(
        "Node",
        lambda pod, _now: pod.spec.nodeName or NONE,
        description="The node that the pod runs on.",
        priority=1,
    ),
    Column(
        "Nominated Node",
        lambda pod, _now: pod.status.nominatedNodeName or NONE,
        description="The node that room is being made on for the pod.",
        priority=1,
    ),
    Column(
        "Readiness Gates",
        _readiness_gates,
        description="How many of the pod's readiness gates are true.",
        priority=1,
    ),
)
