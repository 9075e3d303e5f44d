"""The kinds of admissionregistration.k8s.io/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.admissionregistration import bindings, policies, webhooks
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    policies.MUTATING,
    bindings.MUTATING,
    webhooks.MUTATING,
    policies.VALIDATING,
    bindings.VALIDATING,
    webhooks.VALIDATING,
)
