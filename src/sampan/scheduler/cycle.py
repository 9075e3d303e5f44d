"""The scheduling cycle, pure: one pod and the table of nodes in, one decision out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

# In kube-scheduler's order: a node is told the reason of the first filter that refuses it. What names nodes
# comes before all else, as its PreFilter step does.
FILTERS: Final[tuple[tuple[str, Filter], ...]] = (
    ("NodeAffinity", lambda pod, _, nodes: node_affinity.filter_pinned(pod, nodes)),
    ("NodeUnschedulable", lambda pod, _, nodes: node_unschedulable.filter_nodes(pod, nodes)),
    ("NodeName", lambda pod, _, nodes: node_name.filter_nodes(pod, nodes)),
    ("TaintToleration", lambda pod, _, nodes: taint_toleration.filter_nodes(pod, nodes)),
    ("NodeAffinity", lambda pod, _, nodes: node_affinity.filter_nodes(pod, nodes)),
    ("NodePorts", lambda _, demand, nodes: node_ports.filter_nodes(demand.ports, nodes)),
    ("NodeResourcesFit", lambda _, demand, nodes: node_resources.filter_nodes(demand, nodes)),
)
# What a plugin's raw scores mean: 0..100 as they are, or to be scaled to that over the nodes in question.
AS_IS: Final = "as is"
MORE_IS_BETTER: Final = "more is better"
LESS_IS_BETTER: Final = "less is better"
# Plugin, weight (kube-scheduler's), what its scores mean, function.
SCORES: Final[tuple[tuple[str, int, str, Score], ...]] = (
    ("TaintToleration", 3, LESS_IS_BETTER, lambda pod, _, nodes: taint_toleration.score_nodes(pod, nodes)),
    ("NodeAffinity", 2, MORE_IS_BETTER, lambda pod, _, nodes: node_affinity.score_nodes(pod, nodes)),
    (
        "NodeResourcesFit",
        1,
        AS_IS,
        lambda _, asked, nodes: node_resources.score_least_allocated(asked, nodes),
    ),
    (
        "NodeResourcesBalancedAllocation",
        1,
        AS_IS,
        lambda _, asked, nodes: node_resources.score_balanced(asked, nodes),
    ),
)
NO_NODES: Final = "no nodes available to schedule pods"


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
            return NO_NODES
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
        totals = score_all(pod, demand, nodes, candidates)[rows]
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


def score_all(pod: api.Pod, demand: Demand, nodes: NodeTable, candidates: Bools) -> Numbers:
    """The weighted sum of all scores of the candidates; other rows mean nothing."""
    total = np.zeros(nodes.size, dtype=np.int64)
    for _, weight, meaning, run in SCORES:
        scores = run(pod, demand, nodes)
        if scores is not None:
            total += weight * _scaled(scores, meaning, candidates)
    return total


def _scaled(scores: Numbers, meaning: str, candidates: Bools) -> Numbers:
    """To 0..100, where the most that any candidate has is 100 (or 0, where less is better)."""
    if meaning == AS_IS:
        return scores
    most = int(scores[candidates].max(initial=0))
    shares = scores * 100 // most if most else scores * 0
    return shares if meaning == MORE_IS_BETTER else 100 - shares


def explain(pod: api.Pod, demand: Demand, nodes: NodeTable) -> Iterator[tuple[str, str, str]]:
    """For each node: its name, the plugin that refuses it ("" for none) and why."""
    masks = [(plugin, mask) for plugin, run in FILTERS if (mask := run(pod, demand, nodes)) is not None]
    for name, row in nodes.rows.items():
        plugin, refusal = next(((p, m) for p, m in masks if not m.passes[row]), ("", None))
        why = ", ".join(r for r, where in refusal.reasons if where[row]) if refusal is not None else ""
        yield name, plugin, why
