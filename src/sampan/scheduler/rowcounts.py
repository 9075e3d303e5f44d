"""How many of something there are on each row, and under each value of a label. Pure.

A pod that comes or goes changes one row: what was added up by a label's values is brought up to date by that,
not added up anew over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from sampan.scheduler.table import Domains, Numbers

# Changes that are remembered; who comes later than that adds up anew.
MOST_STEPS: Final = 256

Step = tuple[int, int]  # row, by how much


class _Sums:
    """Counts by a label's values, up to a step, as long as no node's value of the label changes."""

    __slots__ = ("at", "counts", "version")

    def __init__(self, counts: Numbers, at: int, version: int) -> None:
        self.counts = counts
        self.at = at
        self.version = version


class RowCounts:
    """`per_row` may be longer or shorter than the table; rows beyond it have none."""

    __slots__ = ("_first", "_steps", "_sums", "per_row")

    def __init__(self, size: int) -> None:
        self.per_row: Numbers = np.zeros(size, dtype=np.int64)
        self._steps: list[Step] = []
        self._first = 0  # the position of the first step that is remembered
        self._sums: dict[str, _Sums] = {}

    @property
    def position(self) -> int:
        """How many steps there have been."""
        return self._first + len(self._steps)

    def grow(self, size: int) -> None:
        if len(self.per_row) < size:
            more = np.zeros(size - len(self.per_row), dtype=np.int64)
            self.per_row = np.concatenate([self.per_row, more])

    def add(self, row: int, amount: int) -> None:
        if len(self.per_row) <= row:
            self.grow(row + 1)
        self.per_row[row] += amount
        self._steps.append((row, amount))
        if len(self._steps) > 2 * MOST_STEPS:
            del self._steps[:MOST_STEPS]
            self._first += MOST_STEPS

    def since(self, position: int) -> Sequence[Step] | None:
        """The steps after a position; None where that is too long ago."""
        return self._steps[position - self._first :] if position >= self._first else None

    def by_place(self, domains: Domains) -> Numbers:
        """How many there are under each place of the label's values (`Domains.places`); 0 at place 0, which
        is that of nodes without the label. Not to be changed."""
        kept = self._sums.get(domains.key)
        steps = self.since(kept.at) if kept is not None and kept.version == domains.version else None
        if kept is None or steps is None:
            size = min(len(self.per_row), len(domains.places))
            places, weights = domains.places[:size], self.per_row[:size]
            counts = np.bincount(places, weights=weights, minlength=domains.count + 1).astype(np.int64)
            counts[0] = 0
            kept = self._sums[domains.key] = _Sums(counts, self.position, domains.version)
        elif steps:
            for row, amount in steps:
                place = domains.places.item(row)
                if place:
                    kept.counts[place] += amount
            kept.at = self.position
        return kept.counts
