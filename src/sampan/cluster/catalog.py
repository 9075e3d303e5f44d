"""Which processes a cluster on this machine is made of: the explicit list."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from sampan.cluster.config import Layout, Settings
from sampan.cluster.supervisor import Part

# What a part does; returns the exit status.
Enter = Callable[[str], int]


def parts(layout: Layout, settings: Settings, enter: Enter) -> tuple[Part, ...]:
    """The parts in the order they start; they stop in the reverse. `enter` becomes the part of a name."""
    names = ("nodes",) if settings.runtime == "simulated" else settings.node_names()
    return tuple(_part(name, layout, enter) for name in ("apiserver", "manager", *names))


def _part(name: str, layout: Layout, enter: Enter) -> Part:
    argv = (sys.executable, "-m", "sampan.cluster.main", "part", name, str(layout.root))
    return Part(name, argv, partial(enter, name))
