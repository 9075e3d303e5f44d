"""Deployment."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core import known_specs
from sampan.kinds.core.pod_warnings import workload_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.cells import column, container_columns, selector_text
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import AGE, NAME, Kind, Scale
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_COUNTS: Final = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
# Specs that were found valid: what changes in one is mostly an image, or how many replicas it asks for.
_KNOWN: Final = known_specs.KnownSpecs()


def default(obj: Any) -> None:
    """What pkg/apis/apps/v1 SetDefaults_Deployment fills."""
    spec = obj.spec
    workloads.default_template(spec.template)
    workloads.leave_out_zeros(spec, "minReadySeconds", "paused")
    spec.replicas = 1 if spec.replicas is None else spec.replicas
    spec.revisionHistoryLimit = 10 if spec.revisionHistoryLimit is None else spec.revisionHistoryLimit
    spec.progressDeadlineSeconds = (
        600 if spec.progressDeadlineSeconds is None else spec.progressDeadlineSeconds
    )
    strategy = spec.strategy = spec.strategy or api.DeploymentStrategy()
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate = strategy.rollingUpdate or api.RollingUpdateDeployment()
        rolling.maxUnavailable = "25%" if rolling.maxUnavailable is None else rolling.maxUnavailable
        rolling.maxSurge = "25%" if rolling.maxSurge is None else rolling.maxSurge


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateDeploymentSpec."""
    spec = obj.spec
    errors = checks.non_negative(spec.replicas, SPEC["replicas"])
    shape = workloads.shape(spec)
    if shape not in _KNOWN:
        wrong = _spec_errors(spec)
        if not wrong:
            _KNOWN.add(shape)
        errors += wrong
    return errors


def _spec_errors(spec: Any) -> list[FieldError]:
    """What is wrong beside the replicas."""
    errors = workloads.selector_errors(spec.selector, SPEC["selector"], "deployment")
    errors += workloads.replica_template_errors(spec, SPEC["template"])
    errors += _strategy_errors(spec.strategy, SPEC["strategy"])
    errors += checks.non_negatives(spec, SPEC, "minReadySeconds", "revisionHistoryLimit")
    if spec.progressDeadlineSeconds is not None:
        path = SPEC["progressDeadlineSeconds"]
        errors += checks.non_negative(spec.progressDeadlineSeconds, path)
        if spec.progressDeadlineSeconds <= (spec.minReadySeconds or 0):
            detail = "must be greater than minReadySeconds"
            errors.append(field.invalid(path, spec.progressDeadlineSeconds, detail))
    return errors


def _strategy_errors(strategy: Any, path: Path) -> list[FieldError]:
    if strategy.type == "Recreate":
        if strategy.rollingUpdate is None:
            return []
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [field.forbidden(path["rollingUpdate"], detail)]
    if strategy.type != "RollingUpdate":
        shown = workloads.strategy_shown(strategy, "maxUnavailable", "maxSurge")
        return [field.not_supported(path, shown, ("Recreate", "RollingUpdate"))]
    if strategy.rollingUpdate is None:
        return [field.required(path["rollingUpdate"], "this should be defaulted and never be nil")]
    return _rolling_errors(strategy.rollingUpdate, path["rollingUpdate"])


def _rolling_errors(rolling: Any, path: Path) -> list[FieldError]:
    unavailable = rolling.maxUnavailable
    errors = checks.int_or_percent(unavailable, path["maxUnavailable"])
    errors += checks.int_or_percent(rolling.maxSurge, path["maxSurge"])
    if checks.amount(unavailable) == 0 and checks.amount(rolling.maxSurge) == 0:
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(field.invalid(path["maxUnavailable"], unavailable, detail))
    return errors + checks.at_most_100_percent(unavailable, path["maxUnavailable"])


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """The selector is for life."""
    return checks.immutable_printed(new.spec.selector, old.spec.selector, SPEC["selector"])


def validate_status_update(new: Any, old: Any) -> list[FieldError]:
    """ValidateDeploymentStatus, and collisionCount only grows."""
    status = new.status
    errors = checks.non_negatives(status, STATUS, "observedGeneration", *_COUNTS, "collisionCount")
    total, ready = status.replicas or 0, status.readyReplicas or 0
    available = status.availableReplicas or 0
    for name, count in (
        ("updatedReplicas", status.updatedReplicas or 0),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ):
        if count > total:
            errors.append(field.invalid(STATUS[name], count, "cannot be greater than status.replicas"))
    if available > ready:
        detail = "cannot be greater than readyReplicas"
        errors.append(field.invalid(STATUS["availableReplicas"], available, detail))
    return errors + workloads.collision_errors(status, old.status)


def prepare_update(new: Any, old: Any) -> None:
    """Annotations are copied to ReplicaSets: a change of them counts as well."""
    if new.metadata.annotations != old.metadata.annotations:
        new.metadata.generation = (old.metadata.generation or 0) + 1


KIND: Final = Kind(
    api_version="apps/v1",
    kind="Deployment",
    plural="deployments",
    short=("deploy",),
    categories=("all",),
    status=True,
    generation=True,
    prepare_update=prepare_update,
    scale=Scale(
        get_replicas=workloads.replicas,
        set_replicas=workloads.set_replicas,
        status_replicas=workloads.status_replicas,
        selector=workloads.scale_selector,
    ),
    default=default,
    warnings=workload_warnings,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column(
            "Ready",
            lambda d: f"{d.status.readyReplicas or 0}/{workloads.replicas(d)}",
            description="Number of the pod with ready state",
        ),
        column("Up-to-date", lambda d: d.status.updatedReplicas or 0),
        column("Available", lambda d: d.status.availableReplicas or 0),
        AGE,
        *container_columns(lambda d: d.spec.template.spec),
        column("Selector", lambda d: selector_text(d.spec.selector), wide=True),
    ),
)
