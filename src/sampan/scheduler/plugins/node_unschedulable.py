"""NodeUnschedulable: cordoned nodes take no pods but those that tolerate it."""

from __future__ import annotations

from sampan.scheduler.plugins.taint_toleration import tolerated
from sampan.scheduler.table import Mask, NodeTable
from sampan.schema import api

_TAINT = api.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
REASON = "node(s) were unschedulable"


def filter_nodes(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """None where every node passes."""
    if not nodes.unschedulable.any() or tolerated(_TAINT, pod.spec.tolerations):
        return None
    return Mask(~nodes.unschedulable, ((REASON, nodes.unschedulable),))
