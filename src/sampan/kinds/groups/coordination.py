"""The kinds of coordination.k8s.io/v1: Lease."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateLeaseSpec."""
    spec = obj.spec
    errors = checks.positive(spec.leaseDurationSeconds, SPEC["leaseDurationSeconds"])
    errors += checks.non_negative(spec.leaseTransitions, SPEC["leaseTransitions"])
    if spec.strategy is not None:
        errors += checks.named(spec.strategy, names.qualified_name(spec.strategy), SPEC["strategy"])
    if spec.preferredHolder and not spec.strategy:
        detail = "may only be specified if `strategy` is defined"
        errors.append(field.forbidden(SPEC["preferredHolder"], detail))
    return errors


LEASE: Final = Kind(
    api_version="coordination.k8s.io/v1",
    kind="Lease",
    plural="leases",
    validate=validate,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Holder", lambda lease: lease.spec.holderIdentity or ""),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (LEASE,)
