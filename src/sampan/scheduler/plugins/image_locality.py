"""ImageLocality: nodes that have the pod's images, the larger and the wider spread the better."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import MOST_SCORE, Plugin
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Numbers
from sampan.scheduler.world import World

_MB: Final = 1024 * 1024
# Below the first nothing counts; above the second (for each container) more makes no difference.
_LEAST: Final = 23 * _MB
_MOST_EACH: Final = 1000 * _MB


class ImageLocality(Plugin):
    name: ClassVar[str] = "ImageLocality"

    def prepare_score(self, pod: PodInfo, world: World) -> Numbers | None:
        """The scores of all rows; worked out again when any node has changed."""
        if not world.table.images:
            return None
        at, memo = world.table.specs.position, pod.shape.memo
        kept = memo.get(self.name)
        if kept is None or kept[0] != at or kept[1] is not world:
            kept = memo[self.name] = (at, world, _scores(pod, world))
        scores: Numbers | None = kept[2]
        return scores

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        scores: Numbers = state[rows]
        return scores


def _scores(pod: PodInfo, world: World) -> Numbers | None:
    table, spec = world.table, pod.spec
    containers = [*spec.initContainers, *spec.containers]
    names = [normalized(c.image) for c in containers if c.image]
    present = [name for name in names if name in table.images]
    if not present:
        return None
    sums = np.zeros(table.size, dtype=np.int64)
    for name in present:
        holders = table.images[name]
        spread = len(holders) / max(table.count, 1)
        for row, size in holders.items():
            sums[row] += int(size * spread)
    most = _MOST_EACH * len(containers)
    scores: Numbers = (np.clip(sums, _LEAST, most) - _LEAST) * MOST_SCORE // (most - _LEAST)
    return scores


def normalized(image: str) -> str:
    """The name that nodes report: an image without a tag or digest is its `latest`."""
    if image.rfind(":") <= image.rfind("/"):
        return f"{image}:latest"
    return image
