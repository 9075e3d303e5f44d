"""NodeName: a pod that names its node runs there or nowhere."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import ADD, NODE_EVENT, Event, Plugin, Verdict, refuse
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World

REASON: Final = "node(s) didn't match the requested node name"


class NodeName(Plugin):
    name: ClassVar[str] = "NodeName"
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT})

    def prepare(self, pod: PodInfo, world: World) -> str | None:
        return pod.spec.nodeName or None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        out = np.ones(world.table.size, dtype=np.bool_)
        row = world.table.rows.get(state)
        if row is not None:
            out[row] = False
        return refuse(out[rows], REASON, resolvable=False)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        return event.does(ADD) and event.new.metadata.name == pod.spec.nodeName
