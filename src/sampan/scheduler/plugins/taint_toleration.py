"""TaintToleration: taints keep pods away that do not tolerate them, or make a node less wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

from sampan.machinery.tolerations import KEEP_AWAY, tolerated, untolerated
from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import (
    ADD,
    LESS_IS_BETTER,
    NODE,
    NODE_EVENT,
    UPDATE_TAINTS,
    Event,
    Plugin,
    Verdict,
    nobody,
    refuse,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Numbers
from sampan.scheduler.world import World
from sampan.schema import api

REASON: Final = "node(s) had untolerated taint(s)"


class TaintToleration(Plugin):
    name: ClassVar[str] = "TaintToleration"
    reach: ClassVar[str] = NODE
    scaling: ClassVar[str] = LESS_IS_BETTER
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT})

    def prepare(self, pod: PodInfo, world: World) -> Sequence[api.Toleration]:
        return pod.spec.tolerations

    def passes(self, state: Any, world: World, row: int) -> bool:
        return not world.table.tainted.item(row) or super().passes(state, world, row)

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        tainted = world.table.tainted[rows]
        if not tainted.any():
            return None
        out = nobody(world, rows)
        # Thousands of nodes have a few different taints among them.
        known: dict[tuple[str, str, str], bool] = {}
        for at in np.flatnonzero(tainted):
            node = world.table.nodes[at if isinstance(rows, slice) else rows[at]]
            for taint in node.spec.taints if node is not None else ():
                same = (taint.key, taint.value or "", taint.effect)
                refuses = known.get(same)
                if refuses is None:
                    refuses = known[same] = taint.effect in KEEP_AWAY and not tolerated(taint, state)
                if refuses:
                    out[at] = True
                    break
        return refuse(out, REASON, resolvable=False)

    def prepare_score(self, pod: PodInfo, world: World) -> Sequence[api.Toleration]:
        return [t for t in pod.spec.tolerations if t.effect in (None, "", "PreferNoSchedule")]

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """How many PreferNoSchedule taints of each node the pod does not tolerate."""
        less = world.table.less_wanted[rows]
        if not less.any():
            return None
        counts = np.zeros(len(less), dtype=np.int64)
        for at in np.flatnonzero(less):
            node = world.table.nodes[at if isinstance(rows, slice) else rows[at]]
            if node is not None:
                soft = [t for t in node.spec.taints if t.effect == "PreferNoSchedule"]
                counts[at] = sum(not tolerated(taint, state) for taint in soft)
        return counts

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if not event.does(ADD, UPDATE_TAINTS) or event.new is None:
            return False
        return not untolerated(event.new.spec.taints, pod.spec.tolerations)
