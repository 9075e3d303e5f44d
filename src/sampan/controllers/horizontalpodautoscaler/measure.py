"""From readings to one recommendation: each metric's own, of which the highest counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.controllers.horizontalpodautoscaler import replicas as calculate
from sampan.controllers.horizontalpodautoscaler.behavior import Words
from sampan.controllers.horizontalpodautoscaler.readings import Reading
from sampan.controllers.horizontalpodautoscaler.replicas import Measured, MetricError, Tolerance
from sampan.controllers.runtime import pods as podutil
from sampan.machinery.quantity import quantity
from sampan.schema import api


class Outcome(msgspec.Struct, frozen=True):
    """What all metrics call for together; `replicas` is None where nothing may be done.

    `words` are for the condition ScalingActive, `event` for a warning where there is one.
    """

    replicas: int | None
    metric: str
    statuses: tuple[Any, ...]
    words: Words
    event: Words


class _Single(msgspec.Struct, frozen=True):
    """One metric: its name in events, what it calls for, and its part of the status."""

    name: str
    replicas: int
    status: Any


_FAILED: Final = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


def measure(
    hpa: Any, current: int, pods: Sequence[api.Pod], readings: Sequence[Reading], now: datetime
) -> Outcome:
    """The highest recommendation. A metric that fails forbids scaling down, and where all fail, anything."""
    best: _Single | None = None
    statuses: list[Any] = []
    errors: list[Words] = []
    for spec, reading in zip(hpa.spec.metrics, readings, strict=True):
        try:
            single = _single(hpa, spec, reading, current, pods, now)
        except MetricError as problem:
            errors.append((_FAILED.get(spec.type, "InvalidMetricSourceType"), str(problem)))
            continue
        statuses.append(single.status)
        if best is None or single.replicas > best.replicas:
            best = single
    if best is None or (errors and best.replicas < current):
        reason, first = errors[0]
        total = len(hpa.spec.metrics)
        told = f"invalid metrics ({len(errors)} invalid out of {total}), first error is: {first}"
        words = (reason, f"the HPA was unable to compute the replica count: {first}")
        return Outcome(None, "", tuple(statuses), words, ("FailedComputeMetricsReplicas", told))
    found = f"the HPA was able to successfully calculate a replica count from {best.name}"
    return Outcome(best.replicas, best.name, tuple(statuses), ("ValidMetricFound", found), ("", ""))


def tolerance_of(hpa: Any) -> Tolerance:
    """The tolerance of each direction: `behavior`'s, or a tenth."""
    behavior = hpa.spec.behavior

    def share(rules: Any) -> float:
        if rules is None or rules.tolerance is None:
            return calculate.TOLERANCE
        return float(rules.tolerance.value)

    if behavior is None:
        return Tolerance()
    return Tolerance(share(behavior.scaleUp), share(behavior.scaleDown))


def _single(
    hpa: Any, spec: Any, reading: Reading, current: int, pods: Sequence[api.Pod], now: datetime
) -> _Single:
    tolerance = tolerance_of(hpa)
    match spec.type:
        case "Resource":
            return _usage(spec, spec.resource, "", reading, current, pods, tolerance, now)
        case "ContainerResource":
            source = spec.containerResource
            return _usage(spec, source, source.container, reading, current, pods, tolerance, now)
        case "Pods":
            return _pods(spec, reading, current, pods, tolerance, now)
        case "Object" | "External":
            return _whole(spec, reading, current, pods, tolerance)
    raise MetricError(f'unknown metric source type "{spec.type}"')


def _usage(
    spec: Any,
    source: Any,
    container: str,
    reading: Reading,
    current: int,
    pods: Sequence[api.Pod],
    tolerance: Tolerance,
    now: datetime,
) -> _Single:
    target, resource = source.target, source.name
    kind = "container resource" if container else "resource"
    try:
        _demand(reading)
        groups = calculate.group(pods, reading.pods, resource == "cpu", now)
        if target.averageUtilization is not None:
            counted = [pod for pod in pods if (pod.metadata.name or "") not in groups.ignored]
            requests = calculate.requests_m(counted, resource, container)
            percent = target.averageUtilization
            measured = calculate.by_utilization(current, percent, reading.pods, requests, groups, tolerance)
            name = f"{resource} {kind} utilization (percentage of request)"
        else:
            asked_m = target.averageValue.milli()
            measured = calculate.by_average(current, asked_m, reading.pods, groups, tolerance)
            name = f"{resource} {kind}"
    except MetricError as problem:
        what = "utilization" if target.averageUtilization is not None else "usage"
        why = f"unable to get metrics for resource {resource}: {problem}" if reading.error else str(problem)
        raise MetricError(f"failed to get {resource} {what}: {why}") from None
    shown = _shown(measured)
    if container:
        status = api.ContainerResourceMetricStatus(name=resource, container=container, current=shown)
        return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, containerResource=status))
    plain = api.ResourceMetricStatus(name=resource, current=shown)
    return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, resource=plain))


def _pods(
    spec: Any,
    reading: Reading,
    current: int,
    pods: Sequence[api.Pod],
    tolerance: Tolerance,
    now: datetime,
) -> _Single:
    metric = spec.pods.metric
    try:
        _demand(reading)
        groups = calculate.group(pods, reading.pods, False, now)
        asked_m = spec.pods.target.averageValue.milli()
        measured = calculate.by_average(current, asked_m, reading.pods, groups, tolerance)
    except MetricError as problem:
        raise MetricError(f"failed to get pods metric value: {_unable(metric, problem)}") from None
    status = api.PodsMetricStatus(metric=metric, current=_shown(measured))
    return _Single(
        f"pods metric {metric.name}", measured.replicas, api.MetricStatus(type=spec.type, pods=status)
    )


def _whole(
    spec: Any, reading: Reading, current: int, pods: Sequence[api.Pod], tolerance: Tolerance
) -> _Single:
    """Object and external metrics: one amount for the whole target."""
    is_object = spec.type == "Object"
    source = spec.object if is_object else spec.external
    metric, target = source.metric, source.target
    if reading.error or reading.amount_m is None:
        kind = "object" if is_object else "external"
        problem = reading.error or "no value"
        raise MetricError(f"failed to get {kind} metric value: {_unable(metric, problem)}")
    if target.averageValue is not None:
        asked_m = target.averageValue.milli()
        measured = calculate.by_share(current, asked_m, reading.amount_m, tolerance)
    else:
        ready = sum(pod.status.phase == "Running" and podutil.is_ready(pod) for pod in pods)
        measured = calculate.by_value(current, target.value.milli(), reading.amount_m, ready, tolerance)
    shown = _shown(measured)
    if is_object:
        about = api.ObjectMetricStatus(metric=metric, describedObject=source.describedObject, current=shown)
        name = f"{source.describedObject.kind} metric {metric.name}"
        return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, object=about))
    outside = api.ExternalMetricStatus(metric=metric, current=shown)
    name = f"external metric {metric.name}"
    return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, external=outside))


def _demand(reading: Reading) -> None:
    if reading.error:
        raise MetricError(reading.error)


def _unable(metric: Any, problem: object) -> str:
    return f"unable to get metric {metric.name}: {problem}"


def _shown(measured: Measured) -> Any:
    return api.MetricValueStatus(
        averageUtilization=measured.utilization,
        averageValue=_amount(measured.average_m),
        value=_amount(measured.value_m),
    )


def _amount(amount_m: int | None) -> Any:
    return None if amount_m is None else quantity(f"{amount_m}m")
