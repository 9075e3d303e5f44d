"""NodePorts: two pods on one node cannot have the same host port."""

from __future__ import annotations

import numpy as np

from sampan.scheduler.requests import HostPort
from sampan.scheduler.table import Mask, NodeTable

REASON = "node(s) didn't have free ports for the requested pod ports"


def filter_nodes(wanted: tuple[HostPort, ...], nodes: NodeTable) -> Mask | None:
    """None where the pod takes no host port."""
    if not wanted:
        return None
    passes = np.ones(nodes.size, dtype=np.bool_)
    for row in nodes.live_rows():
        taken = nodes.ports[row]
        passes[row] = not any(port.clashes(other) for port in wanted for other in taken)
    return Mask(passes, ((REASON, ~passes),))
