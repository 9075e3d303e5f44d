"""How many replicas one metric calls for: what podautoscaler/replica_calculator.go, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.controllers.horizontalpodautoscaler.readings import PodReading
from sampan.controllers.runtime import pods as podutil
from sampan.schema import api

# A pod's CPU counts only once it has started up: kube-controller-manager's defaults.
CPU_INITIALIZATION_S: Final = 300.0
INITIAL_READINESS_S: Final = 30.0
TOLERANCE: Final = 0.1


class MetricError(Exception):
    """Why a metric gives no number of replicas, in Kubernetes' words."""


class Tolerance(msgspec.Struct, frozen=True):
    """How far from 1 the ratio of usage to target may be before anything is scaled."""

    up: float = TOLERANCE
    down: float = TOLERANCE

    def holds(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class Groups(msgspec.Struct, frozen=True):
    """The pods of a target, by what their metrics are worth."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


class Measured(msgspec.Struct, frozen=True):
    """Replicas called for, and what the status shows of the metric."""

    replicas: int
    utilization: int | None = None
    average_m: int | None = None
    value_m: int | None = None


def group(pods: Iterable[api.Pod], readings: Mapping[str, PodReading], is_cpu: bool, now: datetime) -> Groups:
    """Sort pods as groupPods does: those that end count for nothing, those that begin not yet."""
    ready = 0
    unready, missing, ignored = set(), set(), set()
    for pod in pods:
        name = pod.metadata.name or ""
        if pod.metadata.deletionTimestamp is not None or pod.status.phase == "Failed":
            ignored.add(name)
        elif pod.status.phase in (None, "", "Pending"):
            unready.add(name)
        elif name not in readings:
            missing.add(name)
        elif is_cpu and _cpu_unready(pod, readings[name], now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _cpu_unready(pod: api.Pod, reading: PodReading, now: datetime) -> bool:
    condition, started = podutil.condition(pod, "Ready"), pod.status.startTime
    if condition is None or started is None:
        return True
    changed = condition.lastTransitionTime or started
    if started + timedelta(seconds=CPU_INITIALIZATION_S) > now:
        early = reading.at is not None and reading.at < changed + timedelta(seconds=reading.window_s)
        return condition.status == "False" or early
    # Never ready since it began to be looked at.
    return condition.status == "False" and started + timedelta(seconds=INITIAL_READINESS_S) > changed


def requests_m(pods: Sequence[api.Pod], resource: str, container: str = "") -> dict[str, int]:
    """What each pod asks for of a resource. Raises MetricError where a container asks for nothing."""
    found = {}
    for pod in pods:
        total = 0
        matching = [
            c for c in (*pod.spec.containers, *_sidecars(pod)) if not container or c.name == container
        ]
        for one in matching:
            asked = one.resources.requests.get(resource)
            if asked is None:
                raise MetricError(
                    f"missing request for {resource} in container {one.name} of Pod {pod.metadata.name}"
                )
            total += asked.milli()
        if container and not matching:
            raise MetricError(f"container {container} not found in Pod {pod.metadata.name}")
        found[pod.metadata.name or ""] = total
    return found


def _sidecars(pod: api.Pod) -> list[Any]:
    return [c for c in pod.spec.initContainers if c.restartPolicy == "Always"]


def by_utilization(
    current: int,
    target_percent: int,
    readings: Mapping[str, PodReading],
    requests: Mapping[str, int],
    groups: Groups,
    tolerance: Tolerance,
) -> Measured:
    """Usage as a share of requests (Utilization). Raises MetricError."""
    metrics = _counted(readings, groups)
    ratio, utilization, average_m = _utilization(metrics, requests, target_percent)

    def ratio_of(filled: Mapping[str, int]) -> float:
        return _utilization(filled, requests, target_percent)[0]

    def full(pod: str) -> int:
        return requests.get(pod, 0) * max(100, target_percent) // 100

    replicas = _with_gaps(current, ratio, metrics, groups, tolerance, ratio_of, full)
    return Measured(replicas, utilization=utilization, average_m=average_m)


def by_average(
    current: int,
    target_m: int,
    readings: Mapping[str, PodReading],
    groups: Groups,
    tolerance: Tolerance,
) -> Measured:
    """Usage of a pod on average (AverageValue of pods and resources). Raises MetricError."""
    metrics = _counted(readings, groups)
    average_m = sum(metrics.values()) // len(metrics)

    def ratio_of(filled: Mapping[str, int]) -> float:
        return sum(filled.values()) / len(filled) / target_m

    replicas = _with_gaps(
        current, average_m / target_m, metrics, groups, tolerance, ratio_of, lambda _pod: target_m
    )
    return Measured(replicas, average_m=average_m)


def by_value(current: int, target_m: int, amount_m: int, ready: int, tolerance: Tolerance) -> Measured:
    """One amount for the whole target (Value of objects and external metrics)."""
    ratio = amount_m / target_m
    if current == 0:
        return Measured(math.ceil(ratio), value_m=amount_m)
    if tolerance.holds(ratio):
        return Measured(current, value_m=amount_m)
    return Measured(math.ceil(ratio * ready), value_m=amount_m)


def by_share(current: int, target_m: int, amount_m: int, tolerance: Tolerance) -> Measured:
    """One amount shared by all replicas (AverageValue of objects and external metrics)."""
    ratio = amount_m / (target_m * current) if current else math.inf
    replicas = current if tolerance.holds(ratio) else math.ceil(amount_m / target_m)
    return Measured(replicas, average_m=math.ceil(amount_m / current) if current else 0)


def _counted(readings: Mapping[str, PodReading], groups: Groups) -> dict[str, int]:
    left = groups.unready | groups.ignored
    metrics = {pod: reading.amount_m for pod, reading in readings.items() if pod not in left}
    if not metrics:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    return metrics


def _utilization(
    metrics: Mapping[str, int], requests: Mapping[str, int], target_percent: int
) -> tuple[float, int, int]:
    known = [pod for pod in metrics if pod in requests]
    asked = sum(requests[pod] for pod in known)
    if not asked:
        raise MetricError("no metrics returned matched known pods")
    used = sum(metrics[pod] for pod in known)
    utilization = used * 100 // asked
    return utilization / target_percent, utilization, used // len(known)


def _with_gaps(
    current: int,
    ratio: float,
    metrics: dict[str, int],
    groups: Groups,
    tolerance: Tolerance,
    ratio_of: Any,
    full: Any,
) -> int:
    """Replicas by a ratio, where pods that cannot be measured are taken to speak against the change."""
    scales_up_unready = bool(groups.unready) and ratio > 1.0
    if not scales_up_unready and not groups.missing:
        return current if tolerance.holds(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(metrics)
    if ratio < 1.0:
        filled |= {pod: full(pod) for pod in groups.missing}
    elif ratio > 1.0:
        filled |= dict.fromkeys(groups.missing, 0)
    if scales_up_unready:
        filled |= dict.fromkeys(groups.unready, 0)
    again = ratio_of(filled)
    turned = (ratio < 1.0 < again) or (again < 1.0 < ratio)
    if tolerance.holds(again) or turned:
        return current
    replicas = math.ceil(again * len(filled))
    against = (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current)
    return current if against else replicas
