"""TaintToleration: taints keep pods away that do not tolerate them, or make a node less wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sampan.scheduler.table import Mask, NodeTable, Numbers
from sampan.schema import api

_HARD = ("NoSchedule", "NoExecute")


def tolerates(toleration: api.Toleration, taint: api.Taint) -> bool:
    """Whether one toleration covers one taint (core/v1 Toleration.ToleratesTaint)."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == (taint.value or "")


def tolerated(taint: api.Taint, tolerations: Sequence[api.Toleration]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def filter_nodes(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """None where no node has a taint that matters."""
    if not nodes.tainted.any():
        return None
    passes = np.ones(nodes.size, dtype=np.bool_)
    refused: dict[str, list[int]] = {}
    for row in np.flatnonzero(nodes.tainted & nodes.live):
        node = nodes.nodes[row]
        assert node is not None
        for taint in node.spec.taints:
            if taint.effect in _HARD and not tolerated(taint, pod.spec.tolerations):
                reason = f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"
                refused.setdefault(reason, []).append(int(row))
                passes[row] = False
                break
    if not refused:
        return None
    return Mask(passes, tuple((reason, _rows(rows, nodes.size)) for reason, rows in refused.items()))


def score_nodes(pod: api.Pod, nodes: NodeTable) -> Numbers | None:
    """Fewer untolerated PreferNoSchedule taints score higher; None where there are none at all."""
    counts = np.zeros(nodes.size, dtype=np.int64)
    for row in nodes.live_rows():
        node = nodes.nodes[row]
        assert node is not None
        for taint in node.spec.taints:
            if taint.effect == "PreferNoSchedule" and not tolerated(taint, pod.spec.tolerations):
                counts[row] += 1
    most = int(counts.max(initial=0))
    return None if most == 0 else 100 - counts * 100 // most


def _rows(rows: list[int], size: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    marked = np.zeros(size, dtype=np.bool_)
    marked[rows] = True
    return marked
