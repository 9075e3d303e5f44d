"""How often Python looks for garbage that refers to itself."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# Objects made since the last look before the next one. Python's own 700 is for programs that hold little: a
# cluster decodes hundreds of thousands of objects that stay, and spent a third of its time looking at them.
# What is thrown away here hardly ever refers to itself, so that it goes without a look.
YOUNG_MOST: Final = 50_000
_GENERATIONS: Final = (YOUNG_MOST, 20, 50)


def look_seldom() -> None:
    """Set the collector for this process for good."""
    gc.set_threshold(*_GENERATIONS)


@contextmanager
def looked_for_seldom(young_most: int = YOUNG_MOST) -> Iterator[None]:
    """Set the collector until the end of the block, as a guest in somebody else's process does.

    Blocks may overlap, in several threads: the last one to end puts back what was there before the first.
    """
    with _lock:
        if not _before:
            _before.append(gc.get_threshold())
            gc.set_threshold(young_most, *_GENERATIONS[1:])
        else:
            _before.append(_before[0])
    try:
        yield
    finally:
        with _lock:
            before = _before.pop()
            if not _before:
                gc.set_threshold(*before)


_lock = threading.Lock()
# One entry for each block that is under way.
_before: list[tuple[int, int, int]] = []
