"""Index lists of indexed Jobs, such as `1,3-5,7`."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?[0-9]+")


class IndexesError(ValueError):
    """A list of indexes that cannot be understood."""


def count_indexes(text: str, completions: int) -> int:
    """How many indexes `text` lists. Raises IndexesError, worded as validateIndexesFormat words it."""
    total, last = 0, None
    for interval in text.split(",") if text else ():
        limits = interval.split("-")
        if len(limits) > 2:
            raise IndexesError(
                f'the fragment "{interval}" violates the requirement that an index interval can have '
                "at most two parts separated by '-'"
            )
        first = _index(limits[0])
        if last is not None and last >= first:
            raise IndexesError(f"non-increasing order, previous: {last}, current: {first}")
        _check_bound(first, limits[0], completions)
        if len(limits) == 1:
            total, last = total + 1, first
            continue
        final = _index(limits[1])
        _check_bound(final, limits[1], completions)
        if first >= final:
            raise IndexesError(f"non-increasing order, previous: {first}, current: {final}")
        total, last = total + final - first + 1, final
    return total


def _index(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise IndexesError(f'cannot convert string to integer for index: "{text}"')
    return int(text)


def _check_bound(index: int, text: str, completions: int) -> None:
    if index >= completions:
        raise IndexesError(f'too large index: "{text}"')
