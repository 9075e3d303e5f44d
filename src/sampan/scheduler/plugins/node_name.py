"""NodeName: a pod that names its node runs there or nowhere."""

from __future__ import annotations

import numpy as np

from sampan.scheduler.table import Mask, NodeTable
from sampan.schema import api

REASON = "node(s) didn't match the requested node name"


def filter_nodes(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """None where the pod names no node."""
    if not pod.spec.nodeName:
        return None
    passes = np.zeros(nodes.size, dtype=np.bool_)
    row = nodes.rows.get(pod.spec.nodeName)
    if row is not None:
        passes[row] = True
    return Mask(passes, ((REASON, ~passes),))
