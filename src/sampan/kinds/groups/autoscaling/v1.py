"""HorizontalPodAutoscaler in autoscaling/v1: one CPU target, and annotations for all the rest of v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.kinds.groups import checks
from sampan.kinds.groups.autoscaling import v2, validation
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import Kind
from sampan.machinery import names
from sampan.machinery.field import FieldError
from sampan.schema import api, codec

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
_METRICS: Final = f"{_PREFIX}metrics"
_CURRENT_METRICS: Final = f"{_PREFIX}current-metrics"
_CONDITIONS: Final = f"{_PREFIX}conditions"
_BEHAVIOR: Final = f"{_PREFIX}behavior"
_ANNOTATIONS: Final = (_METRICS, _CURRENT_METRICS, _CONDITIONS, _BEHAVIOR)


def default(obj: Any) -> None:
    """One replica at least; the rest is filled once it is a v2 object."""
    obj.spec.scaleTargetRef = obj.spec.scaleTargetRef or api.CrossVersionObjectReference()
    obj.spec.minReplicas = 1 if obj.spec.minReplicas is None else obj.spec.minReplicas


def to_hub(obj: Any) -> Any:
    """A v1 object as v2: the CPU target becomes the first metric, annotations become fields again.

    Annotations that cannot be read are dropped, as kube-apiserver drops them.
    """
    meta = codec.copy(obj.metadata)
    written = {key: meta.annotations.pop(key, "") for key in _ANNOTATIONS}
    spec, status = obj.spec, obj.status
    percent = spec.targetCPUUtilizationPercentage
    metrics = [] if percent is None else [_cpu_metric(percent)]
    current_percent = status.currentCPUUtilizationPercentage
    current = [] if current_percent is None else [_cpu_status(current_percent)]
    target = spec.scaleTargetRef
    return api.HorizontalPodAutoscalerV2(
        apiVersion="autoscaling/v2",
        kind="HorizontalPodAutoscaler",
        metadata=meta,
        spec=api.HorizontalPodAutoscalerSpecV2(
            scaleTargetRef=None if target is None else _reference(target, api.CrossVersionObjectReferenceV2),
            minReplicas=spec.minReplicas,
            maxReplicas=spec.maxReplicas,
            metrics=metrics + _read(written[_METRICS], list[api.MetricSpec], []),
            behavior=_read(written[_BEHAVIOR], api.HorizontalPodAutoscalerBehavior, None),
        ),
        status=api.HorizontalPodAutoscalerStatusV2(
            currentReplicas=status.currentReplicas,
            desiredReplicas=status.desiredReplicas,
            lastScaleTime=status.lastScaleTime,
            observedGeneration=status.observedGeneration,
            currentMetrics=current + _read(written[_CURRENT_METRICS], list[api.MetricStatus], []),
            conditions=_read(written[_CONDITIONS], list[api.HorizontalPodAutoscalerCondition], []),
        ),
    )


def from_hub(obj: Any) -> Any:
    """A v2 object as v1: what v1 has no field for goes into annotations."""
    meta = codec.copy(obj.metadata)
    spec, status = obj.spec, obj.status
    percent, metrics = _split_cpu(spec.metrics, "target")
    current_percent, current = _split_cpu(status.currentMetrics, "current")
    for key, value in (
        (_METRICS, metrics),
        (_CURRENT_METRICS, current),
        (_CONDITIONS, status.conditions),
        (_BEHAVIOR, spec.behavior),
    ):
        if value:
            meta.annotations[key] = codec.encode(value).decode()
    target = spec.scaleTargetRef
    return api.HorizontalPodAutoscaler(
        apiVersion="autoscaling/v1",
        kind="HorizontalPodAutoscaler",
        metadata=meta,
        spec=api.HorizontalPodAutoscalerSpec(
            scaleTargetRef=None if target is None else _reference(target, api.CrossVersionObjectReference),
            minReplicas=spec.minReplicas,
            maxReplicas=spec.maxReplicas,
            targetCPUUtilizationPercentage=percent,
        ),
        status=api.HorizontalPodAutoscalerStatus(
            currentReplicas=status.currentReplicas or 0,
            desiredReplicas=status.desiredReplicas,
            lastScaleTime=status.lastScaleTime,
            observedGeneration=status.observedGeneration,
            currentCPUUtilizationPercentage=current_percent,
        ),
    )


def _reference(target: Any, struct: type[Any]) -> Any:
    return struct(apiVersion=target.apiVersion, kind=target.kind, name=target.name)


def _cpu_metric(percent: int) -> Any:
    target = api.MetricTarget(type="Utilization", averageUtilization=percent)
    return api.MetricSpec(type="Resource", resource=api.ResourceMetricSource(name="cpu", target=target))


def _cpu_status(percent: int) -> Any:
    current = api.MetricValueStatus(averageUtilization=percent)
    return api.MetricStatus(type="Resource", resource=api.ResourceMetricStatus(name="cpu", current=current))


def _split_cpu(metrics: Sequence[Any], member: str) -> tuple[int | None, list[Any]]:
    """The first CPU utilization, which v1 has a field for, and the metrics beside it."""
    rest: list[Any] = []
    percent: int | None = None
    for metric in metrics:
        source = metric.resource if metric.type == "Resource" else None
        value = getattr(source, member) if source is not None and source.name == "cpu" else None
        if percent is None and value is not None and value.averageUtilization is not None:
            percent = value.averageUtilization
        else:
            rest.append(metric)
    return percent, rest


def _read(text: str, kind: Any, otherwise: Any) -> Any:
    if not text:
        return otherwise
    try:
        return codec.decode(text.encode(), kind)
    except (msgspec.MsgspecError, RecursionError):
        return otherwise


def _targets(obj: Any) -> str:
    hub = to_hub(obj)
    return v2.targets(hub.spec.metrics, hub.status.currentMetrics)


def _validate(obj: Any) -> list[FieldError]:
    return validation.validate(to_hub(obj))


KIND: Final = Kind(
    api_version="autoscaling/v1",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    stored_as=v2.KIND.gvk,
    short=("hpa",),
    categories=("all",),
    status=True,
    generation=True,
    default=default,
    validate=_validate,
    validate_status_update=validation.validate_status_update,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        *v2.COLUMNS[:2],
        column("Targets", _targets, description="What is measured, beside what is asked."),
        *v2.COLUMNS[3:],
    ),
)
