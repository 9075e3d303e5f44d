"""NodeResourcesFit and NodeResourcesBalancedAllocation: enough of everything, and evenly used."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sampan.scheduler.requests import CPU, MEMORY, PODS, Demand
from sampan.scheduler.table import Bools, Mask, NodeTable, Numbers

TOO_MANY_PODS: Final = "Too many pods"
_HALF: Final = 50


def filter_nodes(demand: Demand, nodes: NodeTable) -> Mask:
    """Every resource asked for must be free; `Too many pods` and `Insufficient …` otherwise."""
    passes = np.ones(nodes.size, dtype=np.bool_)
    reasons: list[tuple[str, Bools]] = []
    for resource, amount in demand.amounts.items():
        if amount == 0:
            continue
        short = amount > nodes.allocatable(resource) - nodes.requested(resource)
        if short.any():
            passes &= ~short
            reasons.append((TOO_MANY_PODS if resource == PODS else f"Insufficient {resource}", short))
    return Mask(passes, tuple(reasons))


def score_least_allocated(demand: Demand, nodes: NodeTable) -> Numbers:
    """The free share of CPU and memory after placing the pod, 0..100; what a node has none of is left out."""
    total = np.zeros(nodes.size, dtype=np.int64)
    counted = np.zeros(nodes.size, dtype=np.int64)
    for used, offered in (
        (nodes.scored_cpu + demand.scored_cpu, nodes.allocatable(CPU)),
        (nodes.scored_memory + demand.scored_memory, nodes.allocatable(MEMORY)),
    ):
        total += np.maximum(offered - used, 0) * 100 // np.maximum(offered, 1)
        counted += offered > 0
    return total // np.maximum(counted, 1)


def score_balanced(demand: Demand, nodes: NodeTable) -> Numbers | None:
    """How much the pod evens out the used shares of CPU and memory: 50 for not at all, up to 100.

    None for a pod that asks for neither, which changes nothing anywhere.
    """
    if demand.best_effort:
        return None
    after = _evenness(nodes, demand.amounts.get(CPU, 0), demand.amounts.get(MEMORY, 0))
    before = _evenness(nodes, 0, 0)
    # Go's division, which upstream uses, cuts towards zero; the sum is never negative.
    return _HALF + (_HALF + after - before) // 2


def _evenness(nodes: NodeTable, cpu: int, memory: int) -> Numbers:
    """How alike both shares are, 0..100; 100 where the node has only one of the two."""
    shares: list[NDArray[np.float64]] = []
    both = np.ones(nodes.size, dtype=np.bool_)
    for resource, more in ((CPU, cpu), (MEMORY, memory)):
        offered = nodes.allocatable(resource)
        shares.append(np.minimum((nodes.requested(resource) + more) / np.maximum(offered, 1), 1.0))
        both &= offered > 0
    spread = np.where(both, np.abs(shares[0] - shares[1]) / 2, 0.0)
    even: Numbers = ((1 - spread) * 100).astype(np.int64)
    return even
