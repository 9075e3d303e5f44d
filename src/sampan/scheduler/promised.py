"""What is remembered of rows that were promised to pods which wait for victims to go. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World

# Shapes with a priority that are remembered; those that were asked about longest ago are tried anew.
MOST_SHAPES: Final = 256

# The plugin that refuses the pod once those come that the row was promised to, and its reasons; "" for none.
Refusal = tuple[str, tuple[str, ...]]


class Promised:
    """Refusals by row for pods of one shape and priority, each until the row changes or is promised anew."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: OrderedDict[tuple[bytes, int], tuple[int, dict[int, Refusal]]] = OrderedDict()

    def forget(self) -> None:
        self._known.clear()

    def of(self, pod: PodInfo) -> dict[int, Refusal] | None:
        """What is known for pods like this one, to be added to.

        None for a pod that was promised a row itself, where it is no rival of its own, or that takes more
        than others of its shape.
        """
        if self._world.nomination(pod.key) or pod.demand is not pod.shape.demand:
            return None
        log, key = self._world.table.usage, (pod.shape.key, pod.priority)
        at, known = self._known.pop(key, (log.position, {}))
        changed = log.since(at)
        if isinstance(changed, slice):
            known = {}
        elif changed is not None:
            for row in changed.tolist():
                known.pop(row, None)
        self._known[key] = log.position, known
        if len(self._known) > MOST_SHAPES:
            self._known.popitem(last=False)
        return known
