"""DataLocality: nodes that hold the data that a pod mounts. Not enabled by default.

A node holds a claim's data where its volume can be reached from few nodes and this is one of them, or where a
pod that uses the claim runs already; and it holds a host path where it says so by a label: the path
`/srv/models` is announced by `data.sampan.dev/srv.models`, whatever its value.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import MOST_SCORE, Plugin
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools, Numbers
from sampan.scheduler.volume_matching import volume_mask
from sampan.scheduler.volume_use import is_bound
from sampan.scheduler.world import World
from sampan.schema import api

LABEL_PREFIX: Final = "data.sampan.dev/"


class DataLocality(Plugin):
    name: ClassVar[str] = "DataLocality"

    def prepare_score(self, pod: PodInfo, world: World) -> list[Bools] | None:
        held = [_held(pod, name, world) for name, _ in pod.claims]
        for volume in pod.spec.volumes:
            if volume.hostPath is not None:
                held.append(world.table.domains(label_of(volume.hostPath.path)).ids >= 0)
        return held or None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """The share of the pod's volumes that each node holds."""
        total: Numbers = sum(mask[rows].astype(np.int64) for mask in state) * MOST_SCORE // len(state)
        return total


def label_of(path: str) -> str:
    """The label by which a node announces that it holds what is under a path."""
    return LABEL_PREFIX + path.strip("/").replace("/", ".")


def _held(pod: PodInfo, name: str, world: World) -> Bools:
    table = world.table
    held = np.zeros(table.size, dtype=np.bool_)
    claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
    if claim is not None and is_bound(claim):
        volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
        if volume is not None and volume.spec.nodeAffinity is not None:
            held |= volume_mask(volume, world.table)
    for node in world.volumes.users_of((pod.namespace, name)).values():
        row = table.rows.get(node)
        if row is not None:
            held[row] = True
    return held
