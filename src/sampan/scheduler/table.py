"""All nodes side by side: one array per resource, so that a plugin looks at every node at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from sampan.scheduler.requests import Demand, HostPort, amount_of
from sampan.schema import api

Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
_ROOM: Final = 16  # rows that a table starts with; it doubles when full
_HARD: Final = ("NoSchedule", "NoExecute")


class Mask(msgspec.Struct, frozen=True):
    """Which nodes a filter lets through, and why not the others: each reason with its nodes."""

    passes: Bools
    reasons: tuple[tuple[str, Bools], ...] = ()


class NodeTable:
    """The nodes, what they have, and what their pods take. Rows of nodes that went are used again."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.nodes: list[api.Node | None] = [None] * _ROOM
        self.ports: list[list[HostPort]] = [[] for _ in range(_ROOM)]
        self.live: Bools = np.zeros(_ROOM, dtype=np.bool_)
        self.unschedulable: Bools = np.zeros(_ROOM, dtype=np.bool_)
        self.tainted: Bools = np.zeros(_ROOM, dtype=np.bool_)  # NoSchedule or NoExecute
        self.less_wanted: Bools = np.zeros(_ROOM, dtype=np.bool_)  # PreferNoSchedule
        self.scored_cpu: Numbers = np.zeros(_ROOM, dtype=np.int64)
        self.scored_memory: Numbers = np.zeros(_ROOM, dtype=np.int64)
        self._allocatable: dict[str, Numbers] = {}
        self._requested: dict[str, Numbers] = {}
        self._free: list[int] = list(range(_ROOM - 1, -1, -1))

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """How many rows the arrays have."""
        return len(self.nodes)

    def allocatable(self, resource: str) -> Numbers:
        """What each node offers. Of a resource that nobody has: zeros, which are not kept."""
        return _peek(self._allocatable, resource, self.size)

    def requested(self, resource: str) -> Numbers:
        """What the pods of each node take."""
        return _peek(self._requested, resource, self.size)

    def live_rows(self) -> Iterable[int]:
        return self.rows.values()

    def put(self, node: api.Node) -> bool:
        """Add a node (True), or take over what changed of it."""
        name = node.metadata.name or ""
        row = self.rows.get(name)
        fresh = row is None
        if row is None:
            row = self.rows[name] = self._take_row()
        self.nodes[row] = node
        self.live[row] = True
        self.unschedulable[row] = bool(node.spec.unschedulable)
        self.tainted[row] = any(t.effect in _HARD for t in node.spec.taints)
        self.less_wanted[row] = any(t.effect == "PreferNoSchedule" for t in node.spec.taints)
        offered = node.status.allocatable or node.status.capacity
        for resource in self._allocatable.keys() - offered.keys():
            self._allocatable[resource][row] = 0
        for resource, quantity in offered.items():
            _column(self._allocatable, resource, self.size)[row] = amount_of(resource, quantity)
        return fresh

    def remove(self, name: str) -> None:
        """Forget a node and what was taken of it; its row is free again."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        self.nodes[row] = None
        self.ports[row] = []
        for marks in (self.live, self.unschedulable, self.tainted, self.less_wanted):
            marks[row] = False
        for columns in (self._allocatable, self._requested):
            for column in columns.values():
                column[row] = 0
        self.scored_cpu[row] = self.scored_memory[row] = 0
        self._free.append(row)

    def take(self, row: int, demand: Demand) -> None:
        """Count a pod's demand on a node."""
        self._count(row, demand, 1)
        self.ports[row].extend(demand.ports)

    def release(self, row: int, demand: Demand) -> None:
        """Give back what `take` counted."""
        self._count(row, demand, -1)
        for port in demand.ports:
            self.ports[row].remove(port)

    def contents(self) -> dict[str, tuple[object, ...]]:
        """Everything that is known of each node, however the rows lie; for comparing tables."""
        return {
            name: (
                {r: int(c[row]) for r, c in self._allocatable.items() if c[row]},
                {r: int(c[row]) for r, c in self._requested.items() if c[row]},
                int(self.scored_cpu[row]),
                int(self.scored_memory[row]),
                sorted((p.ip, p.port, p.protocol) for p in self.ports[row]),
                bool(self.unschedulable[row]),
                bool(self.tainted[row]),
                bool(self.less_wanted[row]),
            )
            for name, row in self.rows.items()
        }

    def _count(self, row: int, demand: Demand, sign: int) -> None:
        for resource, amount in demand.amounts.items():
            _column(self._requested, resource, self.size)[row] += sign * amount
        self.scored_cpu[row] += sign * demand.scored_cpu
        self.scored_memory[row] += sign * demand.scored_memory

    def _take_row(self) -> int:
        if not self._free:
            self._grow()
        return self._free.pop()

    def _grow(self) -> None:
        size = self.size
        self.nodes += [None] * size
        self.ports += [[] for _ in range(size)]
        self.live, self.unschedulable, self.tainted, self.less_wanted = (
            np.concatenate([column, np.zeros(size, dtype=np.bool_)])
            for column in (self.live, self.unschedulable, self.tainted, self.less_wanted)
        )
        self.scored_cpu, self.scored_memory = (
            np.concatenate([column, np.zeros(size, dtype=np.int64)])
            for column in (self.scored_cpu, self.scored_memory)
        )
        for columns in (self._allocatable, self._requested):
            for resource, column in columns.items():
                columns[resource] = np.concatenate([column, np.zeros(size, dtype=np.int64)])
        self._free = list(range(2 * size - 1, size - 1, -1))


def _peek(columns: dict[str, Numbers], resource: str, size: int) -> Numbers:
    column = columns.get(resource)
    return column if column is not None else np.zeros(size, dtype=np.int64)


def _column(columns: dict[str, Numbers], resource: str, size: int) -> Numbers:
    column = columns.get(resource)
    if column is None:
        column = columns[resource] = np.zeros(size, dtype=np.int64)
    return column
