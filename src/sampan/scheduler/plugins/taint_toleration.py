"""TaintToleration: taints keep pods away that do not tolerate them, or make a node less wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from sampan.scheduler.table import Mask, NodeTable, Numbers
from sampan.schema import api

REASON: Final = "node(s) had untolerated taint(s)"
_HARD: Final = ("NoSchedule", "NoExecute")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")


def tolerates(toleration: api.Toleration, taint: api.Taint) -> bool:
    """Whether one toleration covers one taint (core/v1 Toleration.ToleratesTaint)."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    wanted, present = toleration.value or "", taint.value or ""
    if toleration.operator in ("Lt", "Gt"):
        if not _INTEGER.fullmatch(wanted) or not _INTEGER.fullmatch(present):
            return False
        return int(present) < int(wanted) if toleration.operator == "Lt" else int(present) > int(wanted)
    return wanted == present


def tolerated(taint: api.Taint, tolerations: Sequence[api.Toleration]) -> bool:
    """Whether any toleration covers the taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def filter_nodes(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """None where no node has a taint that matters."""
    refused = np.zeros(nodes.size, dtype=np.bool_)
    # Thousands of nodes have a few different taints among them.
    known: dict[tuple[str, str, str], bool] = {}
    for row in np.flatnonzero(nodes.tainted):
        node = nodes.nodes[row]
        assert node is not None
        for taint in node.spec.taints:
            same = (taint.key, taint.value or "", taint.effect)
            refuses = known.get(same)
            if refuses is None:
                refuses = taint.effect in _HARD and not tolerated(taint, pod.spec.tolerations)
                known[same] = refuses
            if refuses:
                refused[row] = True
                break
    return Mask(~refused, ((REASON, refused),)) if refused.any() else None


def score_nodes(pod: api.Pod, nodes: NodeTable) -> Numbers | None:
    """How many PreferNoSchedule taints of each node the pod does not tolerate; None where none has any."""
    if not nodes.less_wanted.any():
        return None
    counts = np.zeros(nodes.size, dtype=np.int64)
    for row in np.flatnonzero(nodes.less_wanted):
        node = nodes.nodes[row]
        assert node is not None
        counts[row] = sum(
            taint.effect == "PreferNoSchedule" and not tolerated(taint, pod.spec.tolerations)
            for taint in node.spec.taints
        )
    return counts
