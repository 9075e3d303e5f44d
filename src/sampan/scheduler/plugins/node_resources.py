"""NodeResourcesFit and NodeResourcesBalancedAllocation: enough of everything, and evenly used."""

from __future__ import annotations

import numpy as np

from sampan.scheduler.requests import CPU, MEMORY, PODS, Demand
from sampan.scheduler.table import Bools, Mask, NodeTable, Numbers


def filter_nodes(demand: Demand, nodes: NodeTable) -> Mask:
    """Every resource asked for must be free; `Too many pods` and `Insufficient …` otherwise."""
    passes = np.ones(nodes.size, dtype=np.bool_)
    reasons: list[tuple[str, Bools]] = []
    for resource, amount in demand.amounts.items():
        if amount == 0:
            continue
        short = nodes.requested(resource) + amount > nodes.allocatable(resource)
        if short.any():
            passes &= ~short
            reason = "Too many pods" if resource == PODS else f"Insufficient {resource}"
            reasons.append((reason, short))
    return Mask(passes, tuple(reasons))


def score_least_allocated(demand: Demand, nodes: NodeTable) -> Numbers:
    """The free share of CPU and memory after placing the pod, 0..100."""
    total = np.zeros(nodes.size, dtype=np.int64)
    for used, offered in _after(demand, nodes):
        free = np.maximum(offered - used, 0)
        total += np.where(offered > 0, free * 100 // np.maximum(offered, 1), 0)
    return total // 2


def score_balanced(demand: Demand, nodes: NodeTable) -> Numbers:
    """How alike the used shares of CPU and memory are, 0..100."""
    shares = [np.minimum(used / np.maximum(offered, 1), 1.0) for used, offered in _after(demand, nodes)]
    spread = np.abs(shares[0] - shares[1]) / 2
    balanced: Numbers = ((1 - spread) * 100).astype(np.int64)
    return balanced


def _after(demand: Demand, nodes: NodeTable) -> tuple[tuple[Numbers, Numbers], ...]:
    return (
        (nodes.scored_cpu + demand.scored_cpu, nodes.allocatable(CPU)),
        (nodes.scored_memory + demand.scored_memory, nodes.allocatable(MEMORY)),
    )
