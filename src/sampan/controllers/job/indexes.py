"""Sets of completion indexes, such as `0,2-4`, as a Job's status holds them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=1024)
def parse(text: str, completions: int) -> frozenset[int]:
    """The indexes below `completions` that `text` lists. What cannot be read counts as absent."""
    found: set[int] = set()
    for interval in text.split(",") if text else ():
        first, _, last = interval.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), min(int(last or first) + 1, completions)))
    return frozenset(found)


def write(indexes: Iterable[int]) -> str:
    """The shortest list of these indexes; a dash stands for at least one index between two."""
    parts: list[str] = []
    run: list[int] = []
    for index in sorted(indexes):
        if run and index != run[-1] + 1:
            parts.append(_written(run))
            run = []
        run.append(index)
    if run:
        parts.append(_written(run))
    return ",".join(parts)


def _written(run: list[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]}{',' if len(run) == 2 else '-'}{run[-1]}"
