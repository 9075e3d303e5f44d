"""What NODE and ROOM plugins say of one shape of pods on every row, brought up to date row by row. Pure.

After a placement one row has changed, so that the next pod of the shape costs one row's work, however many
nodes there are. What NODE plugins say is kept apart: a pod that comes or goes cannot change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sampan.scheduler.changes import ALL, RowIndex, Rows
from sampan.scheduler.framework import AS_IS, NODE, Plugin
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools, Numbers
from sampan.scheduler.world import World

# Up to so many changed rows are asked about one by one: arrays of a few cost more than they save.
ONE_BY_ONE: Final = 8
# The rank of a row that will not do: below every sum of scores.
OUT: Final = -(2**62)

_Filter = tuple[Plugin, Any]
_Scorer = tuple[Plugin, int, Any]


class Kept:
    """`mask` are the rows that will do, `ranks` the weighted sums of what scores them without scaling, `OUT`
    elsewhere. `raw` are the scores of the `scaling` plugins, which depend on who else passes; None for those
    that are zero everywhere."""

    def __init__(
        self, filters: Sequence[_Filter], scorers: Sequence[tuple[Plugin, int]], pod: PodInfo, world: World
    ) -> None:
        size = world.table.size
        summed: list[_Scorer] = []
        scaling: list[_Scorer] = []
        for plugin, weight in scorers:
            state = plugin.prepare_score(pod, world)
            if state is not None:
                (summed if plugin.scaling == AS_IS else scaling).append((plugin, weight, state))
        self.scaling = tuple(scaling)
        self.raw: list[Numbers | None] = [None] * len(scaling)
        self.mask: Bools = np.zeros(size, dtype=np.bool_)
        self.ranks: Numbers = np.full(size, OUT, dtype=np.int64)
        self._node_filters = tuple(f for f in filters if f[0].reach == NODE)
        self.room_filters = tuple(f for f in filters if f[0].reach != NODE)
        self._node_scorers = tuple(s for s in summed if s[0].reach == NODE)
        self._room_scorers = tuple(s for s in summed if s[0].reach != NODE)
        self.node_mask: Bools = np.zeros(size, dtype=np.bool_)
        self._node_scores = np.zeros(size if self._node_scorers else 0, dtype=np.int64)
        self._at = self._specs_at = -1

    @property
    def is_scaled(self) -> bool:
        """Whether any score depends on which rows pass."""
        return any(raw is not None for raw in self.raw)

    def refresh(self, world: World) -> None:
        """Bring everything up to date with the world."""
        table = world.table
        if self._at == table.usage.position:
            return
        if self._at < 0:
            self._look_at_nodes(world, ALL)
            self._look_at_rooms(world, ALL)
        else:
            specs = table.specs.since(self._specs_at)
            if specs is not None:
                self._look_at_nodes(world, specs)
            usage = table.usage.since(self._at)
            if usage is not None:
                self._look_at_rooms(world, usage)
        self._at, self._specs_at = table.usage.position, table.specs.position

    def _look_at_nodes(self, world: World, rows: Rows) -> None:
        self.node_mask[rows] = _passing(self._node_filters, world, rows, world.table.live[rows])
        if self._node_scorers:
            self._node_scores[rows] = _sum(self._node_scorers, world, rows, 0)
        for at, (plugin, _, state) in enumerate(self.scaling):
            self.raw[at] = _merged(self.raw[at], plugin.score(state, world, rows), rows, world.table.size)

    def _look_at_rooms(self, world: World, rows: Rows) -> None:
        if not isinstance(rows, slice) and len(rows) <= ONE_BY_ONE:
            for row in rows.tolist():
                self._look_at_room(world, row)
            return
        mask = _passing(self.room_filters, world, rows, self.node_mask[rows])
        scores = _sum(self._room_scorers, world, rows, self._node_scores[rows] if self._node_scorers else 0)
        self.mask[rows] = mask
        self.ranks[rows] = np.where(mask, scores, OUT)

    def _look_at_room(self, world: World, row: int) -> None:
        """The same for one row, without arrays."""
        self.mask[row] = False
        self.ranks[row] = OUT
        if not self.node_mask[row] or not all(p.passes(s, world, row) for p, s in self.room_filters):
            return
        score = self._node_scores.item(row) if self._node_scorers else 0
        for plugin, weight, state in self._room_scorers:
            score += weight * plugin.score_one(state, world, row)
        self.mask[row] = True
        self.ranks[row] = score


def _passing(filters: Sequence[_Filter], world: World, rows: Rows, so_far: Bools) -> Bools:
    mask: Bools = so_far.copy()
    for plugin, state in filters:
        verdict = plugin.filter(state, world, rows)
        if verdict is not None:
            mask &= ~verdict.refused
    return mask


def _sum(scorers: Sequence[_Scorer], world: World, rows: Rows, so_far: Any) -> Any:
    for plugin, weight, state in scorers:
        scores = plugin.score(state, world, rows)
        if scores is not None:
            so_far = so_far + weight * scores
    return so_far


def _merged(kept: Numbers | None, fresh: Numbers | None, rows: Rows, size: int) -> Numbers | None:
    """The kept raw scores with those of some rows anew. None is all zeros."""
    if isinstance(rows, slice):
        return fresh
    if kept is None and fresh is None:
        return None
    if kept is None:
        kept = np.zeros(size, dtype=np.int64)
    kept[rows] = fresh if fresh is not None else 0
    return kept


def best_rows(ranks: Numbers) -> RowIndex | None:
    """The rows of the highest rank; None where no row will do."""
    top = ranks.max()
    return np.flatnonzero(ranks == top) if top != OUT else None
