"""The kinds of networking.k8s.io/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.networking import addresses, ingress, ingressclass, networkpolicy
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    ingressclass.KIND,
    ingress.KIND,
    addresses.IP_ADDRESS,
    networkpolicy.KIND,
    addresses.SERVICE_CIDR,
)
