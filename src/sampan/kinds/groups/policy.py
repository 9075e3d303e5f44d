"""The kinds of policy/v1: PodDisruptionBudget. Evictions are a subresource of Pods."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError

_UNHEALTHY_POLICIES: Final = ("AlwaysAllow", "IfHealthyBudget")
_COUNTS: Final = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
_ABSENT: Final = "N/A"


def default(obj: Any) -> None:
    """Counts that Go writes even where they are zero."""
    for name in _COUNTS:
        setattr(obj.status, name, getattr(obj.status, name) or 0)


def prepare_create(obj: Any) -> None:
    """What a client says of the status of something new is forgotten."""
    checks.clear_status(obj)
    default(obj)


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidatePodDisruptionBudgetSpec."""
    spec, errors = obj.spec, []
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        detail = "minAvailable and maxUnavailable cannot be both set"
        errors.append(field.invalid(SPEC, spec, detail))
    for name in ("minAvailable", "maxUnavailable"):
        errors += checks.int_or_percent(getattr(spec, name), SPEC[name])
        errors += checks.at_most_100_percent(getattr(spec, name), SPEC[name])
    errors += meta.validate_label_selector(spec.selector, SPEC["selector"])
    policy = spec.unhealthyPodEvictionPolicy
    return errors + checks.one_of(policy, _UNHEALTHY_POLICIES, SPEC["unhealthyPodEvictionPolicy"])


def validate_status_update(new: Any, _old: Any) -> list[FieldError]:
    """No count is negative."""
    return checks.non_negatives(new.status, STATUS, *_COUNTS)


def _shown(value: int | str | None) -> str:
    return _ABSENT if value is None else str(value)


POD_DISRUPTION_BUDGET: Final = Kind(
    api_version="policy/v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short=("pdb",),
    status=True,
    generation=True,
    default=default,
    validate=validate,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    # kube-apiserver asks of its name no more than of every object's.
    name_errors=names.path_segment_name,
    columns=(
        NAME,
        column("Min Available", lambda pdb: _shown(pdb.spec.minAvailable)),
        column("Max Unavailable", lambda pdb: _shown(pdb.spec.maxUnavailable)),
        column("Allowed Disruptions", lambda pdb: pdb.status.disruptionsAllowed or 0, type="integer"),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (POD_DISRUPTION_BUDGET,)
