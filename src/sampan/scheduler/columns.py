"""Amounts by resource and row: an array for what many rows have, pairs for what few have. Pure.

A cluster may know thousands of resources that one node each offers; an array of each would be mostly zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
# A resource that more rows have is kept as an array; one that comes while the table is small always is.
MOST_PAIRS: Final = 16
SMALL: Final = 64


class Columns:
    """Amounts, zero where nothing was said."""

    __slots__ = ("_arrays", "_pairs")

    def __init__(self) -> None:
        self._arrays: dict[str, Numbers] = {}
        self._pairs: dict[str, dict[int, int]] = {}

    def __contains__(self, resource: str) -> bool:
        return resource in self._arrays or resource in self._pairs

    def array(self, resource: str, size: int) -> Numbers:
        """All rows of a resource; not to be changed. For what is not an array a passing one is made."""
        found = self._arrays.get(resource)
        if found is not None:
            return found
        made = np.zeros(size, dtype=np.int64)
        for row, amount in self._pairs.get(resource, {}).items():
            made[row] = amount
        return made

    def at(self, resource: str, row: int) -> int:
        """How much one row has of a resource."""
        found = self._arrays.get(resource)
        if found is not None:
            return int(found.item(row))
        pairs = self._pairs.get(resource)
        return pairs.get(row, 0) if pairs is not None else 0

    def few(self, resource: str) -> Mapping[int, int] | None:
        """The rows that have some of a resource, with how much; None where it is an array."""
        return None if resource in self._arrays else self._pairs.get(resource, {})

    def set(self, resource: str, row: int, amount: int, size: int) -> None:
        column = self._column(resource, size)
        if isinstance(column, dict) and not amount:
            self._drop(resource, column, row)
        else:
            column[row] = amount
            self._promote(resource, size)

    def add(self, resource: str, row: int, amount: int, size: int) -> None:
        array = self._arrays.get(resource)
        if array is not None:
            array[row] += amount
            return
        self.set(resource, row, self._pairs.get(resource, {}).get(row, 0) + amount, size)

    def clear(self, row: int) -> None:
        """The row has nothing any more."""
        for array in self._arrays.values():
            array[row] = 0
        for resource in [name for name, pairs in self._pairs.items() if row in pairs]:
            self._drop(resource, self._pairs[resource], row)

    def grow(self, more: int) -> None:
        for resource, array in self._arrays.items():
            self._arrays[resource] = np.concatenate([array, np.zeros(more, dtype=np.int64)])

    def of(self, row: int) -> dict[str, int]:
        """What a row has of everything."""
        found = {name: int(array[row]) for name, array in self._arrays.items() if array[row]}
        return found | {name: pairs[row] for name, pairs in self._pairs.items() if row in pairs}

    def _column(self, resource: str, size: int) -> Numbers | dict[int, int]:
        array = self._arrays.get(resource)
        if array is not None:
            return array
        if size <= SMALL and resource not in self._pairs:
            made = self._arrays[resource] = np.zeros(size, dtype=np.int64)
            return made
        return self._pairs.setdefault(resource, {})

    def _promote(self, resource: str, size: int) -> None:
        pairs = self._pairs.get(resource)
        if pairs is not None and len(pairs) > MOST_PAIRS:
            self._arrays[resource] = self.array(resource, size)
            del self._pairs[resource]

    def _drop(self, resource: str, pairs: dict[int, int], row: int) -> None:
        pairs.pop(row, None)
        if not pairs:
            self._pairs.pop(resource, None)
