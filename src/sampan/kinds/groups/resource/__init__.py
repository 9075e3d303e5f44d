"""The kinds of resource.k8s.io/v1: dynamic resource allocation."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.resource import claims, devices, slices
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    devices.DEVICE_CLASS,
    devices.TAINT_RULE,
    claims.CLAIM,
    claims.TEMPLATE,
    slices.SLICE,
)
