"""ReplicaSet."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.pod_warnings import workload_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.cells import column, container_columns, label_selector
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import AGE, NAME, Kind, Scale
from sampan.machinery import field, names
from sampan.machinery.field import FieldError

_COUNTS: Final = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def default(obj: Any) -> None:
    """One replica, and the template's defaults."""
    workloads.default_template(obj.spec.template)
    workloads.leave_out_zeros(obj.spec, "minReadySeconds")
    obj.spec.replicas = 1 if obj.spec.replicas is None else obj.spec.replicas


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateReplicaSetSpec."""
    spec = obj.spec
    errors = checks.non_negatives(spec, SPEC, "replicas", "minReadySeconds")
    errors += workloads.selector_errors(spec.selector, SPEC["selector"], "deployment")
    return errors + workloads.replica_template_errors(spec, SPEC["template"])


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """The selector is for life."""
    return checks.immutable_printed(new.spec.selector, old.spec.selector, SPEC["selector"])


def validate_status_update(new: Any, _old: Any) -> list[FieldError]:
    """ValidateReplicaSetStatus: no count is negative or above what it is part of."""
    status = new.status
    errors = checks.non_negatives(status, STATUS, *_COUNTS, "observedGeneration")
    for name in _COUNTS[1:]:
        count = getattr(status, name) or 0
        if count > status.replicas:
            errors.append(field.invalid(STATUS[name], count, "cannot be greater than status.replicas"))
    if (status.availableReplicas or 0) > (status.readyReplicas or 0):
        detail = "cannot be greater than readyReplicas"
        errors.append(field.invalid(STATUS["availableReplicas"], status.availableReplicas, detail))
    return errors


KIND: Final = Kind(
    api_version="apps/v1",
    kind="ReplicaSet",
    plural="replicasets",
    short=("rs",),
    categories=("all",),
    status=True,
    generation=True,
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
        column("Desired", workloads.replicas, type="integer"),
        column("Current", workloads.status_replicas, type="integer"),
        column("Ready", lambda rs: rs.status.readyReplicas or 0, type="integer"),
        AGE,
        *container_columns(lambda rs: rs.spec.template.spec),
        column("Selector", lambda rs: label_selector(rs.spec.selector), wide=True),
    ),
)
