"""NodeResourcesBalancedAllocation: nodes whose resources are used evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import ROOM, Plugin, nobody
from sampan.scheduler.plugins.node_resources import asked_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.requests import CPU, MEMORY
from sampan.scheduler.table import Numbers
from sampan.scheduler.world import World

_HALF: Final = 50


class NodeResourcesBalancedAllocation(Plugin):
    """How much the pod evens out the used shares: 50 for not at all, up to 100."""

    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    reach: ClassVar[str] = ROOM

    def __init__(self, resources: Sequence[str] = (CPU, MEMORY)) -> None:
        self._weights = tuple((name, 1) for name in resources)

    def prepare_score(self, pod: PodInfo, world: World) -> list[tuple[str, int]] | None:
        if pod.demand.best_effort:  # it changes nothing anywhere
            return None
        return [(name, amount) for name, amount, _ in asked_of(self._weights, pod.demand, scored=False)]

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        after = _evenness(world, rows, state)
        before = _evenness(world, rows, [(name, 0) for name, _ in state])
        # Go's division, which upstream uses, cuts towards zero; the sum is never negative.
        return _HALF + (_HALF + after - before) // 2

    def score_one(self, state: Any, world: World, row: int) -> int:
        after = _evenness_of(world, row, state)
        before = _evenness_of(world, row, [(name, 0) for name, _ in state])
        return _HALF + (_HALF + after - before) // 2


def _evenness(world: World, rows: Rows, more: Sequence[tuple[str, int]]) -> Numbers:
    """How alike the used shares are, 0..100: 100 less their standard deviation."""
    size = len(nobody(world, rows))
    count = np.zeros(size, dtype=np.int64)
    total, squares = np.zeros(size), np.zeros(size)
    shares = []
    for resource, amount in more:
        offered = world.table.allocatable(resource)[rows]
        share = np.minimum((world.table.requested(resource)[rows] + amount) / np.maximum(offered, 1), 1.0)
        present = offered > 0
        shares.append((share, present))
        count += present
        total += np.where(present, share, 0.0)
    if len(shares) == 2:
        (first, here), (second, there) = shares
        spread = np.where(here & there, np.abs(first - second) / 2, 0.0)
    else:
        mean = total / np.maximum(count, 1)
        for share, present in shares:
            squares += np.where(present, (share - mean) ** 2, 0.0)
        spread = np.where(count > 1, np.sqrt(squares / np.maximum(count, 1)), 0.0)
    even: Numbers = ((1 - spread) * 100).astype(np.int64)
    return even


def _evenness_of(world: World, row: int, more: Sequence[tuple[str, int]]) -> int:
    """The same for one node: after a placement one row has changed, and arrays of one are slow to make."""
    shares = []
    for resource, amount in more:
        offered = world.table.offers(resource, row)
        if offered > 0:
            shares.append(min((world.table.takes(resource, row) + amount) / offered, 1.0))
    if len(shares) < 2:
        spread = 0.0
    elif len(more) == 2:
        spread = abs(shares[0] - shares[1]) / 2
    else:
        mean = sum(shares) / len(shares)
        apart = [share - mean for share in shares]
        spread = math.sqrt(sum(one * one for one in apart) / len(shares))
    return int((1 - spread) * 100)
