"""Taints of nodes by what they mean, and for how long tolerations stand against them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sampan.machinery import tolerations as matching
from sampan.machinery.tolerations import tolerates
from sampan.schema import api

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
NO_SCHEDULE: Final = "NoSchedule"
NO_EXECUTE: Final = matching.NO_EXECUTE

# (condition, status) -> the taint that it puts on the node.
OF_CONDITIONS: Final = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
MANAGED_NO_SCHEDULE: Final = frozenset({*OF_CONDITIONS.values(), UNSCHEDULABLE})
MANAGED_NO_EXECUTE: Final = frozenset({NOT_READY, UNREACHABLE})


def condition_status(node: api.Node, type: str) -> str:
    """The status of a node's condition; Unknown where it has none."""
    return next((c.status for c in node.status.conditions if c.type == type), "Unknown") or "Unknown"


def is_ready(node: api.Node) -> bool:
    return condition_status(node, "Ready") == "True"


def tolerated_s(taint: api.Taint, tolerations: Iterable[api.Toleration]) -> float | None:
    """For how many seconds the taint is tolerated: 0 not at all, None for ever."""
    matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
    if not matching:
        return 0.0
    limits = [t.tolerationSeconds for t in matching if t.tolerationSeconds is not None]
    return float(max(min(limits), 0)) if limits else None
