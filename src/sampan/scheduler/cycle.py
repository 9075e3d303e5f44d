"""The scheduling cycle, pure: one pod and the table of nodes in, one decision out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from sampan.scheduler.plugins import (
    node_affinity,
    node_name,
    node_ports,
    node_resources,
    node_unschedulable,
    taint_toleration,
)
from sampan.scheduler.requests import Demand
from sampan.scheduler.table import Bools, Mask, NodeTable, Numbers
from sampan.schema import api

Filter = Callable[[api.Pod, Demand, NodeTable], Mask | None]
Score = Callable[[api.Pod, Demand, NodeTable], Numbers | None]

# In kube-scheduler's order: a node is told the reason of the first filter that refuses it.
FILTERS: Final[tuple[tuple[str, Filter], ...]] = (
    ("NodeUnschedulable", lambda pod, _, nodes: node_unschedulable.filter_nodes(pod, nodes)),
    ("NodeName", lambda pod, _, nodes: node_name.filter_nodes(pod, nodes)),
    ("TaintToleration", lambda pod, _, nodes: taint_toleration.filter_nodes(pod, nodes)),
    ("NodeAffinity", lambda pod, _, nodes: node_affinity.filter_nodes(pod, nodes)),
    ("NodePorts", lambda _, demand, nodes: node_ports.filter_nodes(demand.ports, nodes)),
    ("NodeResourcesFit", lambda _, demand, nodes: node_resources.filter_nodes(demand, nodes)),
)
# Plugin, weight (kube-scheduler's), function.
SCORES: Final[tuple[tuple[str, int, Score], ...]] = (
    ("TaintToleration", 3, lambda pod, _, nodes: taint_toleration.score_nodes(pod, nodes)),
    ("NodeAffinity", 2, lambda pod, _, nodes: node_affinity.score_nodes(pod, nodes)),
    ("NodeResourcesFit", 1, lambda _, demand, nodes: node_resources.score_least_allocated(demand, nodes)),
    (
        "NodeResourcesBalancedAllocation",
        1,
        lambda _, demand, nodes: node_resources.score_balanced(demand, nodes),
    ),
)


class Decision(msgspec.Struct, frozen=True):
    """Where a pod goes (`node` set), or why it cannot go anywhere.

    `reasons` are (how many nodes, why) and `refused_by` the plugins behind them, which tell what would have
    to change before another try is worth it.
    """

    node: str = ""
    row: int = -1
    nodes: int = 0
    reasons: tuple[tuple[int, str], ...] = ()
    refused_by: frozenset[str] = frozenset()

    @property
    def message(self) -> str:
        """The text of the PodScheduled condition, worded as kube-scheduler's."""
        if self.nodes == 0:
            return "0/0 nodes are available: no nodes available to schedule pods."
        why = ", ".join(sorted(f"{count} {reason}" for count, reason in self.reasons))
        return f"0/{self.nodes} nodes are available: {why}."


def schedule(
    pod: api.Pod, demand: Demand, nodes: NodeTable, choose: Callable[[Sequence[int]], int]
) -> Decision:
    """Decide for one pod. `choose` picks among rows of the same best score."""
    candidates, reasons, refused_by = filter_all(pod, demand, nodes)
    if not candidates.any():
        counted = tuple((count, reason) for reason, count in reasons.items())
        return Decision(nodes=nodes.count, reasons=counted, refused_by=frozenset(refused_by))
    rows = np.flatnonzero(candidates)
    if len(rows) > 1:
        totals = score_all(pod, demand, nodes)[rows]
        best = rows[totals == totals.max()]
        row = int(best[0]) if len(best) == 1 else choose(best.tolist())
    else:
        row = int(rows[0])
    node = nodes.nodes[row]
    assert node is not None
    return Decision(node.metadata.name or "", row, nodes.count)


def filter_all(pod: api.Pod, demand: Demand, nodes: NodeTable) -> tuple[Bools, dict[str, int], set[str]]:
    """Rows that every filter lets through; how many nodes each reason stopped; which plugins did."""
    candidates = nodes.live.copy()
    reasons: dict[str, int] = {}
    refused_by: set[str] = set()
    for name, run in FILTERS:
        mask = run(pod, demand, nodes)
        if mask is None:
            continue
        for reason, where in mask.reasons:
            count = int(np.count_nonzero(candidates & where))
            if count:
                reasons[reason] = reasons.get(reason, 0) + count
                refused_by.add(name)
        candidates &= mask.passes
        if not candidates.any():
            break
    return candidates, reasons, refused_by


def score_all(pod: api.Pod, demand: Demand, nodes: NodeTable) -> Numbers:
    """The weighted sum of all scores, for every row."""
    total = np.zeros(nodes.size, dtype=np.int64)
    for _, weight, run in SCORES:
        scores = run(pod, demand, nodes)
        if scores is not None:
            total += weight * scores
    return total


def explain(pod: api.Pod, demand: Demand, nodes: NodeTable) -> Iterable[tuple[str, str, str]]:
    """For each node: its name, the plugin that refuses it ("" for none) and why."""
    for name, row in nodes.rows.items():
        for plugin, run in FILTERS:
            mask = run(pod, demand, nodes)
            if mask is not None and not mask.passes[row]:
                why = ", ".join(reason for reason, where in mask.reasons if where[row])
                yield name, plugin, why
                break
        else:
            yield name, "", ""
