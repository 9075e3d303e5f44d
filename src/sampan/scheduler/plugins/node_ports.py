"""NodePorts: two pods on one node cannot have the same host port."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    NODE_EVENT,
    ROOM,
    Event,
    Plugin,
    Verdict,
    nobody,
    refuse,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.requests import HostPort, host_ports
from sampan.scheduler.world import World

REASON: Final = "node(s) didn't have free ports for the requested pod ports"


class NodePorts(Plugin):
    name: ClassVar[str] = "NodePorts"
    reach: ClassVar[str] = ROOM
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, ASSIGNED_POD})

    def prepare(self, pod: PodInfo, world: World) -> tuple[HostPort, ...] | None:
        return pod.demand.ports or None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        out = nobody(world, rows)
        taken = world.table.ported[rows]
        if not taken.any():
            return None
        for at in np.flatnonzero(taken):
            here = world.table.ports[at if isinstance(rows, slice) else rows[at]]
            out[at] = any(port.clashes(other) for port in state for other in here)
        return refuse(out, REASON)

    def passes(self, state: Any, world: World, row: int) -> bool:
        return not any(port.clashes(other) for port in state for other in world.table.ports[row])

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == NODE_EVENT:
            return event.does(ADD)
        if not event.does(DELETE) or event.old is None:
            return False
        freed = host_ports(event.old.spec)
        return any(port.clashes(other) for port in pod.demand.ports for other in freed)
