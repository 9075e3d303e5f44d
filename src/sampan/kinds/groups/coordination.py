"""The kinds of coordination.k8s.io/v1: Lease."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import names
from sampan.machinery.field import FieldError


def default(obj: Any) -> None:
    """Elections that the server decides are beta and off: what they go by is dropped without a word."""
    obj.spec.strategy = obj.spec.preferredHolder = None


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateLeaseSpec."""
    spec = obj.spec
    errors = checks.positive(spec.leaseDurationSeconds, SPEC["leaseDurationSeconds"])
    errors += checks.non_negative(spec.leaseTransitions, SPEC["leaseTransitions"])
    return errors


LEASE: Final = Kind(
    api_version="coordination.k8s.io/v1",
    kind="Lease",
    plural="leases",
    default=default,
    validate=validate,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Holder", lambda lease: lease.spec.holderIdentity or ""),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (LEASE,)
