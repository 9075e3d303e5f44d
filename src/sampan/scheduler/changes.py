"""Which rows of the table changed since somebody last looked. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Changes that are remembered; who comes later than that looks at every row.
MOST_CHANGES: Final = 8192

RowIndex = NDArray[np.intp]
# Rows to look at: some, or all of them (`ALL`), which numpy slices without a copy.
Rows = RowIndex | slice
ALL: Final = slice(None)


class ChangeLog:
    """Rows in the order of their changes. A reader keeps a position and asks for what came after it."""

    def __init__(self) -> None:
        self.position = 0
        self._first = 0
        self._rows: list[int] = []

    def note(self, row: int) -> None:
        self._rows.append(row)
        self.position += 1
        if len(self._rows) > 2 * MOST_CHANGES:
            del self._rows[:MOST_CHANGES]
            self._first += MOST_CHANGES

    def since(self, position: int) -> Rows | None:
        """The rows that changed after `position`; None for none, ALL where that is too long ago."""
        if position == self.position:
            return None
        if position < self._first:
            return ALL
        rows = self._rows[position - self._first :]
        if len(rows) == 1:
            return np.array(rows, dtype=np.intp)
        return np.array(list(set(rows)), dtype=np.intp)

    def rewind(self, position: int) -> None:
        """Forget what was noted after `position`: it has been undone."""
        while self.position > position:
            self._rows.pop()
            self.position -= 1


def count_of(rows: Rows, size: int) -> int:
    """How many rows are meant, of a table with `size` of them."""
    return size if isinstance(rows, slice) else len(rows)
