"""Validation of HorizontalPodAutoscalers: pkg/apis/autoscaling/validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.kinds.core.resources import container_resource_name_errors
from sampan.kinds.groups import checks
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.quantity import Quantity

_STABILIZATION_WINDOW_MAX_S: Final = 3600
_POLICY_PERIOD_MAX_S: Final = 1800
_SELECTS: Final = frozenset({"Max", "Min", "Disabled"})
_POLICIES: Final = ("Percent", "Pods")
_TARGETS: Final = ("Utilization", "Value", "AverageValue")
_MEMBERS: Final = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "External": "external",
}


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: validateHorizontalPodAutoscalerSpec."""
    spec, errors = obj.spec, []
    if spec.minReplicas is not None and spec.maxReplicas < spec.minReplicas:
        detail = "must be greater than or equal to `minReplicas`"
        errors.append(field.invalid(SPEC["maxReplicas"], spec.maxReplicas, detail))
    errors += _reference_errors(spec.scaleTargetRef, SPEC["scaleTargetRef"], _group_errors)
    for position, metric in enumerate(spec.metrics):
        errors += _metric_errors(metric, SPEC["metrics"][position])
    if spec.minReplicas == 0 and not any(metric.type in ("Object", "External") for metric in spec.metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        errors.append(field.forbidden(SPEC["metrics"], detail))
    if spec.behavior is not None:
        for name in ("scaleUp", "scaleDown"):
            errors += _rules_errors(getattr(spec.behavior, name), SPEC["behavior"][name])
    return errors + _least_errors(spec)


def _least_errors(spec: Any) -> list[FieldError]:
    # Kubernetes generates these, and says them after all others.
    errors: list[FieldError] = []
    if spec.minReplicas is not None and spec.minReplicas < 0:
        errors.append(field.invalid(SPEC["minReplicas"], spec.minReplicas, checks.NEGATIVE))
    if not spec.maxReplicas:
        errors.append(field.required(SPEC["maxReplicas"]))
    elif spec.maxReplicas < 1:
        detail = "must be greater than or equal to 1"
        errors.append(field.invalid(SPEC["maxReplicas"], spec.maxReplicas, detail))
    return errors


def validate_status_update(new: Any, _old: Any) -> list[FieldError]:
    """Counts of replicas are not negative."""
    return checks.non_negatives(new.status, STATUS, "currentReplicas", "desiredReplicas")


def _group_errors(api_version: str, path: Path) -> list[FieldError]:
    if api_version.count("/") > 1:
        return [field.invalid(path, api_version, f"unexpected GroupVersion string: {api_version}")]
    group = api_version.partition("/")[0] if "/" in api_version else ""
    return [] if group else [field.invalid(path, api_version, "apiVersion must specify API group")]


def _reference_errors(
    reference: Any, path: Path, version_errors: Callable[[str, Path], list[FieldError]] | None = None
) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("kind", "name"):
        value = (getattr(reference, name) if reference is not None else "") or ""
        errors += checks.required_name(value, names.path_segment_name, path[name])
    if version_errors is not None:
        version = (reference.apiVersion if reference is not None else "") or ""
        errors += version_errors(version, path["apiVersion"])
    return errors


def _metric_errors(metric: Any, path: Path) -> list[FieldError]:
    if not metric.type:
        missing = field.required(path["type"], "must specify a metric source type")
        return [missing, field.not_supported(path["type"], "", set(_MEMBERS))]
    if metric.type not in _MEMBERS:
        return [field.not_supported(path["type"], metric.type, set(_MEMBERS))]
    present = [name for name in _MEMBERS.values() if getattr(metric, name) is not None]
    errors: list[FieldError] = []
    if len(present) == 1:
        errors += _source_errors(present[0], getattr(metric, present[0]), path[present[0]])
    expected = _MEMBERS[metric.type]
    if expected not in present:
        detail = "must populate information for the given metric source"
        errors.append(field.required(path[expected], detail))
    if present != [expected]:
        detail = "must populate the given metric source only"
        errors += [field.forbidden(path[name], detail) for name in present if name != expected]
    return errors


def _source_errors(member: str, source: Any, path: Path) -> list[FieldError]:
    if member in ("resource", "containerResource"):
        return _resource_errors(member, source, path)
    errors: list[FieldError] = []
    if member == "object":
        errors += _reference_errors(source.describedObject, path["describedObject"])
    errors += _identifier_errors(source.metric, path["metric"])
    errors += _target_errors(source.target, path["target"])
    target = source.target
    average = target.averageValue if target is not None else None
    value = target.value if target is not None else None
    if member == "pods":
        if average is None:
            detail = "must specify a positive target averageValue"
            errors.append(field.required(path["target"]["averageValue"], detail))
    elif average is None and value is None:
        detail = "must set either a target value for metric or a per-pod target"
        if member == "object":
            detail = "must set either a target value or averageValue"
        errors.append(field.required(path["target"]["averageValue"], detail))
    elif member == "external" and average is not None and value is not None:
        detail = "may not set both a target value for metric and a per-pod target"
        errors.append(field.forbidden(path["target"]["value"], detail))
    return errors


def _resource_errors(member: str, source: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not source.name:
        errors.append(field.required(path["name"], "must specify a resource name"))
    elif member == "containerResource":
        errors += checks.named(source.name, container_resource_name_errors(source.name), path["name"])
    if member == "containerResource":
        if source.container:
            errors += checks.named(source.container, names.dns1123_label(source.container), path["container"])
        else:
            errors.append(field.required(path["container"], "must specify a container"))
    errors += _target_errors(source.target, path["target"])
    target, path = source.target, path["target"]
    if target is None:
        return errors
    if target.averageUtilization is None and target.averageValue is None:
        detail = "must set either a target raw value or a target utilization"
        errors.append(field.required(path["averageUtilization"], detail))
    if target.averageUtilization is not None and target.averageValue is not None:
        detail = "may not set both a target raw value and a target utilization"
        errors.append(field.forbidden(path["averageValue"], detail))
    return errors


def _identifier_errors(metric: Any, path: Path) -> list[FieldError]:
    name = (metric.name if metric is not None else "") or ""
    if not name:
        errors = [field.required(path["name"], "must specify a metric name")]
    else:
        errors = checks.named(name, names.path_segment_name(name), path["name"])
    return errors


def _target_errors(target: Any, path: Path) -> list[FieldError]:
    type = (target.type if target is not None else "") or ""
    errors = [] if type else [field.required(path["type"], "must specify a metric target type")]
    if type not in _TARGETS:
        detail = "must be either Utilization, Value, or AverageValue"
        errors.append(field.invalid(path["type"], type, detail))
    if target is None:
        return errors
    errors += _positive_errors(target.value, path["value"])
    errors += _positive_errors(target.averageValue, path["averageValue"])
    if target.averageUtilization is not None and target.averageUtilization < 1:
        detail = "must be greater than 0"
        errors.append(field.invalid(path["averageUtilization"], target.averageUtilization, detail))
    return errors


def _positive_errors(value: Quantity | None, path: Path) -> list[FieldError]:
    if value is None or value.value > 0:
        return []
    return [field.invalid(path, value, "must be positive")]


def _rules_errors(rules: Any, path: Path) -> list[FieldError]:
    if rules is None:
        return []
    errors: list[FieldError] = []
    window = rules.stabilizationWindowSeconds
    if window is not None and window < 0:
        detail = "must be greater than or equal to zero"
        errors.append(field.invalid(path["stabilizationWindowSeconds"], window, detail))
    if window is not None and window > _STABILIZATION_WINDOW_MAX_S:
        detail = f"must be less than or equal to {_STABILIZATION_WINDOW_MAX_S}"
        errors.append(field.invalid(path["stabilizationWindowSeconds"], window, detail))
    errors += checks.one_of(rules.selectPolicy, _SELECTS, path["selectPolicy"])
    if not rules.policies:
        errors.append(field.required(path["policies"], "must specify at least one Policy"))
    for position, policy in enumerate(rules.policies):
        errors += _policy_errors(policy, path["policies"][position])
    if rules.tolerance is not None and rules.tolerance.value < 0:
        detail = "must be greater than or equal to 0"
        errors.append(field.invalid(path["tolerance"], rules.tolerance, detail))
    return errors


def _policy_errors(policy: Any, path: Path) -> list[FieldError]:
    errors = checks.one_of(policy.type, _POLICIES, path["type"])
    for name in ("value", "periodSeconds"):
        if getattr(policy, name) <= 0:
            errors.append(field.invalid(path[name], getattr(policy, name), "must be greater than zero"))
    if policy.periodSeconds > _POLICY_PERIOD_MAX_S:
        detail = f"must be less than or equal to {_POLICY_PERIOD_MAX_S}"
        errors.append(field.invalid(path["periodSeconds"], policy.periodSeconds, detail))
    return errors
