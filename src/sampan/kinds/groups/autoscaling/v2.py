"""HorizontalPodAutoscaler: autoscaling/v2, the version it is stored in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.core.cells import NONE, UNSET
from sampan.kinds.groups import checks
from sampan.kinds.groups.autoscaling import validation
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import names
from sampan.schema import api

_CPU_UTILIZATION_PERCENT: Final = 80
_SHOWN_MAX: Final = 2
_UNKNOWN: Final = "<unknown>"
# The member of a MetricSpec for each of its types.
_MEMBERS: Final = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}
_POLICY_PERIOD_S: Final = 15


def default(obj: Any) -> None:
    """What pkg/apis/autoscaling/v2 fills: one replica at least, and 80% of the CPU where nothing is asked."""
    spec = obj.spec
    spec.scaleTargetRef = spec.scaleTargetRef or api.CrossVersionObjectReferenceV2()
    spec.minReplicas = 1 if spec.minReplicas is None else spec.minReplicas
    if not spec.metrics:
        target = api.MetricTarget(type="Utilization", averageUtilization=_CPU_UTILIZATION_PERCENT)
        resource = api.ResourceMetricSource(name="cpu", target=target)
        spec.metrics = [api.MetricSpec(type="Resource", resource=resource)]
    if spec.behavior is not None:
        _default_behavior(spec.behavior)


def _default_behavior(behavior: Any) -> None:
    up = behavior.scaleUp = behavior.scaleUp or api.HPAScalingRules()
    up.stabilizationWindowSeconds = up.stabilizationWindowSeconds or 0
    up.selectPolicy = "Max" if up.selectPolicy is None else up.selectPolicy
    up.policies = up.policies or [_policy("Pods", 4), _policy("Percent", 100)]
    down = behavior.scaleDown = behavior.scaleDown or api.HPAScalingRules()
    down.selectPolicy = "Max" if down.selectPolicy is None else down.selectPolicy
    down.policies = down.policies or [_policy("Percent", 100)]


def _policy(type: str, value: int) -> Any:
    return api.HPAScalingPolicy(type=type, value=value, periodSeconds=_POLICY_PERIOD_S)


def _reference(obj: Any) -> str:
    target = obj.spec.scaleTargetRef
    return f"{target.kind}/{target.name}" if target is not None else ""


def _targets(obj: Any) -> str:
    return targets(obj.spec.metrics, obj.status.currentMetrics)


def targets(specs: Sequence[Any], statuses: Sequence[Any]) -> str:
    """The TARGETS cell, `cpu: 10%/80%`: what is measured beside what is asked, metric by metric."""
    if not specs:
        return NONE
    cells = [
        _target(spec, statuses[position] if position < len(statuses) else None)
        for position, spec in enumerate(specs)
    ]
    text = ", ".join(cells[:_SHOWN_MAX])
    more = len(cells) - _SHOWN_MAX
    return f"{text} + {more} more..." if more > 0 else text


def _target(spec: Any, status: Any) -> str:
    member = _MEMBERS.get(spec.type)
    source = getattr(spec, member) if member is not None else None
    if member is None or source is None or source.target is None:
        return "<unknown type>"
    measured = getattr(status, member) if status is not None else None
    current = measured.current if measured is not None else None
    target = source.target
    if spec.type in ("Resource", "ContainerResource"):
        return f"{source.name}: {_resource_target(target, current)}"
    if target.averageValue is not None:
        suffix = "" if spec.type == "Pods" else " (avg)"
        return f"{_measured(current, 'averageValue')}/{target.averageValue}{suffix}"
    return f"{_measured(current, 'value')}/{target.value or 0}"


def _resource_target(target: Any, current: Any) -> str:
    if target.averageValue is not None:
        return f"{_measured(current, 'averageValue')}/{target.averageValue}"
    utilization = _measured(current, "averageUtilization")
    shown = utilization if utilization == _UNKNOWN else f"{utilization}%"
    asked = "<auto>" if target.averageUtilization is None else f"{target.averageUtilization}%"
    return f"{shown}/{asked}"


def _measured(current: Any, name: str) -> str:
    value = getattr(current, name) if current is not None else None
    return _UNKNOWN if value is None else str(value)


def _min_pods(obj: Any) -> str:
    return UNSET if obj.spec.minReplicas is None else str(obj.spec.minReplicas)


COLUMNS: Final[tuple[Column, ...]] = (
    NAME,
    column("Reference", _reference, description="What is scaled."),
    column("Targets", _targets, description="What is measured, beside what is asked."),
    column("MinPods", _min_pods),
    column("MaxPods", lambda hpa: hpa.spec.maxReplicas),
    column("Replicas", lambda hpa: hpa.status.currentReplicas or 0),
    AGE,
)

KIND: Final = Kind(
    api_version="autoscaling/v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short=("hpa",),
    categories=("all",),
    status=True,
    generation=True,
    default=default,
    validate=validation.validate,
    validate_status_update=validation.validate_status_update,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=COLUMNS,
)
