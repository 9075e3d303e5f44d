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

    `words` are for the condition ScalingActive, `event` for a warning where there is one. `failed` are the
    warnings before it: one for each metric that failed.
    """

    replicas: int | None
    metric: str
    statuses: tuple[Any, ...]
    words: Words
    event: Words
    failed: tuple[Words, ...] = ()


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
    first = ""
    for spec, reading in zip(hpa.spec.metrics, readings, strict=True):
        try:
            single = _single(hpa, spec, reading, current, pods, now)
        except MetricError as problem:
            errors.append((_FAILED.get(spec.type, "InvalidMetricSourceType"), str(problem)))
            first = first or _about(spec, str(problem))
            continue
        statuses.append(single.status)
        if best is None or single.replicas > best.replicas:
            best = single
    if best is None or (errors and best.replicas < current):
        reason, why = errors[0]
        total = len(hpa.spec.metrics)
        told = f"invalid metrics ({len(errors)} invalid out of {total}), first error is: {first}"
        words = (reason, f"the HPA was unable to compute the replica count: {why}")
        event = ("FailedComputeMetricsReplicas", told)
        return Outcome(None, "", tuple(statuses), words, event, tuple(errors))
    found = f"the HPA was able to successfully calculate a replica count from {best.name}"
    words = ("ValidMetricFound", found)
    return Outcome(best.replicas, best.name, tuple(statuses), words, ("", ""), tuple(errors))


def _about(spec: Any, problem: str) -> str:
    """What went wrong with a metric, as it is told of all metrics together."""
    match spec.type:
        case "Resource":
            return f"failed to get {spec.resource.name} resource metric value: {problem}"
        case "ContainerResource":
            return f"failed to get {spec.containerResource.container} container metric value: {problem}"
        case "Pods":
            return f"failed to get pods metric value: {problem}"
        case "Object":
            name, by_share = spec.object.metric.name, spec.object.target.averageValue is not None
            inner = f"failed to get {name} object metric: {problem}" if by_share else problem
            return f"failed to get object metric value: {inner}"
        case "External":
            name, by_share = spec.external.metric.name, spec.external.target.averageValue is not None
            which = f"{name} external metric" if by_share else f"external metric {name}"
            return f"failed to get {name} external metric value: failed to get {which}: {problem}"
    return problem


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
            return _whole(hpa, spec, reading, current, pods, tolerance)
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
        raise MetricError(f"unable to get metric {metric.name}: {problem}") from None
    status = api.PodsMetricStatus(metric=metric, current=_shown(measured))
    return _Single(
        f"pods metric {metric.name}", measured.replicas, api.MetricStatus(type=spec.type, pods=status)
    )


def _whole(
    hpa: Any, spec: Any, reading: Reading, current: int, pods: Sequence[api.Pod], tolerance: Tolerance
) -> _Single:
    """Object and external metrics: one amount for the whole target."""
    is_object = spec.type == "Object"
    source = spec.object if is_object else spec.external
    metric, target = source.metric, source.target
    if reading.error or reading.amount_m is None:
        problem = reading.error or "no value"
        if not is_object:
            where = f"{hpa.metadata.namespace}/{metric.name}/{_selector(metric.selector)}"
            raise MetricError(f"unable to get external metric {where}: {problem}")
        about = source.describedObject
        where = f"{about.kind} {hpa.metadata.namespace}/{about.name}"
        raise MetricError(f"unable to get metric {metric.name} on {where}: {problem}")
    if target.averageValue is not None:
        asked_m = target.averageValue.milli()
        measured = calculate.by_share(current, asked_m, reading.amount_m, tolerance)
    else:
        ready = sum(pod.status.phase == "Running" and podutil.is_ready(pod) for pod in pods)
        measured = calculate.by_value(current, target.value.milli(), reading.amount_m, ready, tolerance)
    shown = _shown(measured)
    if is_object:
        told = api.ObjectMetricStatus(metric=metric, describedObject=source.describedObject, current=shown)
        name = f"{source.describedObject.kind} metric {metric.name}"
        return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, object=told))
    outside = api.ExternalMetricStatus(metric=metric, current=shown)
    name = f"external metric {metric.name}"
    return _Single(name, measured.replicas, api.MetricStatus(type=spec.type, external=outside))


def _demand(reading: Reading) -> None:
    if reading.error:
        raise MetricError(reading.error)


def _selector(selector: Any) -> str:
    """A selector as Go prints it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{name}: {value}," for name, value in sorted(selector.matchLabels.items()))
    rules = "".join(
        "LabelSelectorRequirement"
        f"{{Key:{one.key},Operator:{one.operator},Values:[{' '.join(one.values or ())}],}},"
        for one in selector.matchExpressions
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )


def _shown(measured: Measured) -> Any:
    return api.MetricValueStatus(
        averageUtilization=measured.utilization,
        averageValue=_amount(measured.average_m),
        value=_amount(measured.value_m),
    )


def _amount(amount_m: int | None) -> Any:
    return None if amount_m is None else quantity(f"{amount_m}m")
