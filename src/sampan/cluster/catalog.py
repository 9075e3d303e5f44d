"""Which processes a cluster on this machine is made of: the explicit list."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from sampan.cluster.config import Layout, Settings
from sampan.cluster.supervisor import Part


def parts(layout: Layout, settings: Settings) -> tuple[Part, ...]:
    """The parts in the order they start; they stop in the reverse."""
    return tuple(_parts(layout, settings))


def _parts(layout: Layout, settings: Settings) -> Iterator[Part]:
    yield _python("apiserver", layout)
    yield _python("manager", layout)
    if settings.runtime == "simulated":
        yield _python("nodes", layout)
        return
    for name in settings.node_names():
        yield _python(name, layout)


def _python(name: str, layout: Layout) -> Part:
    return Part(name, (sys.executable, "-m", "sampan.cluster.main", "part", name, str(layout.root)))
