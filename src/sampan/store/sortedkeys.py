"""A sorted set of strings that stays quick with a million members.

One flat list would move half of itself at each insertion; chunks of bounded length move only a chunk.
Python orders strings by code point, which is the order of their UTF-8 bytes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import islice

# A chunk that grows past this is halved. Insertion moves at most so many pointers; counting adds one
# number for each chunk.
MAX_CHUNK_KEYS = 1024


class SortedKeys:
    """Distinct strings in order; insertion and removal cost a bisection and one short move."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        ordered = sorted(keys)
        half = MAX_CHUNK_KEYS // 2
        self._chunks = [ordered[i : i + half] for i in range(0, len(ordered), half)]
        self._lasts = [chunk[-1] for chunk in self._chunks]
        self._count = len(ordered)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, key: str) -> None:
        """Put in `key`, which must not be there yet."""
        self._count += 1
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > MAX_CHUNK_KEYS:
            # Keys often come in ascending order; splitting off a short tail then leaves full chunks behind.
            cut = MAX_CHUNK_KEYS if chunk[-1] is key else len(chunk) // 2
            self._chunks[at : at + 1] = [chunk[:cut], chunk[cut:]]
            self._lasts[at : at + 1] = [chunk[cut - 1], chunk[-1]]
        else:
            self._lasts[at] = chunk[-1]

    def remove(self, key: str) -> None:
        """Take out `key`. Raises KeyError where it is not there."""
        at = bisect_left(self._lasts, key)
        chunk = self._chunks[at] if at < len(self._chunks) else []
        place = bisect_left(chunk, key)
        if place == len(chunk) or chunk[place] != key:
            raise KeyError(key)
        self._count -= 1
        del chunk[place]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def count(self, start: str, end: str) -> int:
        """How many keys stand from `start` up to but not including `end`."""
        return max(0, self._rank(end) - self._rank(start))

    def between(self, start: str, end: str) -> Iterator[str]:
        """The keys from `start` up to but not including `end`, in order. Not to be changed meanwhile."""
        at = bisect_left(self._lasts, start)
        if at == len(self._chunks):
            return
        first = bisect_left(self._chunks[at], start)
        for chunk in islice(self._chunks, at, None):
            if chunk[-1] < end:
                yield from islice(chunk, first, None)
            else:
                yield from islice(chunk, first, bisect_left(chunk, end))
                return
            first = 0

    def _rank(self, key: str) -> int:
        at = bisect_left(self._lasts, key)
        before = sum(map(len, islice(self._chunks, at)))
        return before + (bisect_left(self._chunks[at], key) if at < len(self._chunks) else 0)
