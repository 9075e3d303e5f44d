"""NodeUnschedulable: cordoned nodes take no pods but those that tolerate it."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sampan.machinery.tolerations import tolerated
from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import NODE, NODE_EVENT, Event, Plugin, Verdict, refuse
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

_TAINT: Final = api.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
REASON: Final = "node(s) were unschedulable"


class NodeUnschedulable(Plugin):
    name: ClassVar[str] = "NodeUnschedulable"
    reach: ClassVar[str] = NODE
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT})

    def prepare(self, pod: PodInfo, world: World) -> bool | None:
        return None if tolerated(_TAINT, pod.spec.tolerations) else True

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        return refuse(world.table.unschedulable[rows], REASON, resolvable=False)

    def passes(self, state: Any, world: World, row: int) -> bool:
        return not world.table.unschedulable.item(row)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        node = event.new
        return node is not None and (not node.spec.unschedulable or tolerated(_TAINT, pod.spec.tolerations))
