"""All nodes side by side: one array per resource, so that a plugin looks at every node at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sampan.machinery.tolerations import KEEP_AWAY
from sampan.scheduler.changes import ChangeLog
from sampan.scheduler.columns import Columns
from sampan.scheduler.requests import Demand, HostPort, amount_of
from sampan.schema import api

Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
_ROOM: Final = 16  # rows that a table starts with; it doubles when full
_MARKS: Final = ("live", "unschedulable", "tainted", "less_wanted", "ported")
HOSTNAME: Final = "kubernetes.io/hostname"


class Domains:
    """The values that a label has on the nodes, numbered: `ids[row]` is the node's, -1 where it has none.

    `places` are the same from 1 on, 0 where it has none. `version` changes with any of them.
    """

    def __init__(self, key: str, size: int) -> None:
        self.key = key
        self.ids: Numbers = np.full(size, -1, dtype=np.int64)
        self.places: Numbers = np.zeros(size, dtype=np.int64)
        self.numbers: dict[str, int] = {}
        self.version = 0

    @property
    def count(self) -> int:
        """How many numbers were ever given; some may have no node any more."""
        return len(self.numbers)

    def set(self, row: int, labels: Mapping[str, str]) -> None:
        value = labels.get(self.key)
        number = -1 if value is None else self.numbers.setdefault(value, len(self.numbers))
        if self.ids[row] != number:
            self.ids[row], self.places[row] = number, number + 1
            self.version += 1

    def grow(self, more: int) -> None:
        self.ids = np.concatenate([self.ids, np.full(more, -1, dtype=np.int64)])
        self.places = _longer(self.places, more)


class NodeTable:
    """The nodes, what they have, and what their pods take. Rows of nodes that went are used again.

    `usage` logs every row whose answer may have changed; `specs` only those whose node did.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.nodes: list[api.Node | None] = [None] * _ROOM
        self.ports: list[list[HostPort]] = [[] for _ in range(_ROOM)]
        self.live: Bools = np.zeros(_ROOM, dtype=np.bool_)
        self.unschedulable: Bools = np.zeros(_ROOM, dtype=np.bool_)
        self.tainted: Bools = np.zeros(_ROOM, dtype=np.bool_)  # NoSchedule or NoExecute
        self.less_wanted: Bools = np.zeros(_ROOM, dtype=np.bool_)  # PreferNoSchedule
        self.ported: Bools = np.zeros(_ROOM, dtype=np.bool_)  # a host port is taken
        self.scored_cpu: Numbers = np.zeros(_ROOM, dtype=np.int64)
        self.scored_memory: Numbers = np.zeros(_ROOM, dtype=np.int64)
        self.usage = ChangeLog()
        self.specs = ChangeLog()
        # Image name -> row -> size in bytes.
        self.images: dict[str, dict[int, int]] = {}
        self._images_of: dict[int, tuple[str, ...]] = {}
        self._allocatable = Columns()
        self._requested = Columns()
        self._offered_by: dict[int, frozenset[str]] = {}
        self._domains: dict[str, Domains] = {}
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
        return self._allocatable.array(resource, self.size)

    def offering(self, resource: str) -> Mapping[int, int] | None:
        """What each row offers of a resource that few nodes have; None where they are many."""
        return self._allocatable.few(resource)

    def requested(self, resource: str) -> Numbers:
        """What the pods of each node take."""
        return self._requested.array(resource, self.size)

    def offers(self, resource: str, row: int) -> int:
        """What one node offers; costs less than to look it up among all."""
        return self._allocatable.at(resource, row)

    def takes(self, resource: str, row: int) -> int:
        """What the pods of one node take."""
        return self._requested.at(resource, row)

    def live_rows(self) -> Iterable[int]:
        return self.rows.values()

    def domains(self, key: str) -> Domains:
        """The values of a label; kept up to date from the first question on."""
        known = self._domains.get(key)
        if known is None:
            known = self._domains[key] = Domains(key, self.size)
            for row in self.rows.values():
                known.set(row, self.labels(row))
        return known

    def labels(self, row: int) -> Mapping[str, str]:
        node = self.nodes[row]
        return node.metadata.labels if node is not None else {}

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
        self.tainted[row] = any(t.effect in KEEP_AWAY for t in node.spec.taints)
        self.less_wanted[row] = any(t.effect == "PreferNoSchedule" for t in node.spec.taints)
        offered = node.status.allocatable or node.status.capacity
        for resource in self._offered_by.get(row, frozenset()) - offered.keys():
            self._allocatable.set(resource, row, 0, self.size)
        self._offered_by[row] = frozenset(offered)
        for resource, quantity in offered.items():
            self._allocatable.set(resource, row, amount_of(resource, quantity), self.size)
        for domains in self._domains.values():
            domains.set(row, node.metadata.labels)
        self._put_images(row, node)
        self._changed(row)
        return fresh

    def remove(self, name: str) -> None:
        """Forget a node and what was taken of it; its row is free again."""
        row = self.rows.pop(name, None)
        if row is None:
            return
        self.nodes[row] = None
        self.ports[row] = []
        for mark in _MARKS:
            getattr(self, mark)[row] = False
        self._offered_by.pop(row, None)
        for columns in (self._allocatable, self._requested):
            columns.clear(row)
        for domains in self._domains.values():
            domains.set(row, {})
        self._put_images(row, None)
        self.scored_cpu[row] = self.scored_memory[row] = 0
        self._free.append(row)
        self._changed(row)

    def take(self, row: int, demand: Demand) -> None:
        """Count a pod's demand on a node."""
        self._count(row, demand, 1)
        if demand.ports:
            self.ports[row].extend(demand.ports)
            self.ported[row] = True
        self.usage.note(row)

    def release(self, row: int, demand: Demand) -> None:
        """Give back what `take` counted."""
        self._count(row, demand, -1)
        for port in demand.ports:
            self.ports[row].remove(port)
        self.ported[row] = bool(self.ports[row])
        self.usage.note(row)

    def touch(self, row: int) -> None:
        """Note that answers about this row may have changed for a reason that the table does not hold."""
        self.usage.note(row)

    def touch_all(self) -> None:
        """The same for every row."""
        for row in self.rows.values():
            self._changed(row)

    def contents(self) -> dict[str, tuple[object, ...]]:
        """Everything that is known of each node, however the rows lie; for comparing tables."""
        return {
            name: (
                self._allocatable.of(row),
                self._requested.of(row),
                int(self.scored_cpu[row]),
                int(self.scored_memory[row]),
                sorted((p.ip, p.port, p.protocol) for p in self.ports[row]),
                *(bool(getattr(self, mark)[row]) for mark in _MARKS),
            )
            for name, row in self.rows.items()
        }

    def _changed(self, row: int) -> None:
        self.specs.note(row)
        self.usage.note(row)

    def _put_images(self, row: int, node: api.Node | None) -> None:
        for name in self._images_of.pop(row, ()):
            rows = self.images[name]
            rows.pop(row, None)
            if not rows:
                del self.images[name]
        sizes = {n: i.sizeBytes or 0 for i in node.status.images for n in i.names} if node is not None else {}
        if sizes:
            self._images_of[row] = tuple(sizes)
            for name, size in sizes.items():
                self.images.setdefault(name, {})[row] = size

    def _count(self, row: int, demand: Demand, sign: int) -> None:
        for resource, amount in demand.amounts.items():
            self._requested.add(resource, row, sign * amount, self.size)
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
        for mark in _MARKS:
            setattr(self, mark, np.concatenate([getattr(self, mark), np.zeros(size, dtype=np.bool_)]))
        self.scored_cpu, self.scored_memory = (
            _longer(column, size) for column in (self.scored_cpu, self.scored_memory)
        )
        for columns in (self._allocatable, self._requested):
            columns.grow(size)
        for domains in self._domains.values():
            domains.grow(size)
        self._free = list(range(2 * size - 1, size - 1, -1))


def _longer(column: Numbers, more: int) -> Numbers:
    return np.concatenate([column, np.zeros(more, dtype=np.int64)])
