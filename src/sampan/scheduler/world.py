"""All that decisions are made from: nodes, the pods placed on them, nominations, and other objects. Pure.

A pod counts from the moment it is decided for. `world.place` and `unplace` are the only ways in and out, so
that the table, the counts by labels and the affinity terms can never disagree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sampan.client.cache import Cache
from sampan.scheduler.claims import Promises
from sampan.scheduler.devices.ledger import Devices
from sampan.scheduler.gangs import Gangs
from sampan.scheduler.groups import Counter, Groups, Selects
from sampan.scheduler.holders import Holders
from sampan.scheduler.nominations import Nominations
from sampan.scheduler.podinfo import Key, PodInfo, PodInfos
from sampan.scheduler.table import NodeTable
from sampan.scheduler.volume_use import VolumeUse
from sampan.schema import api


class Placed(msgspec.Struct, eq=False):
    """A pod on a node. `assumed` until a watch has shown it there."""

    pod: PodInfo
    node: str
    assumed: bool = False


class World:
    """What the scheduler believes. `objects` gives the caches of other kinds, by their struct."""

    def __init__(self, objects: Mapping[type[Any], Cache[Any]] | None = None) -> None:
        self.table = NodeTable()
        self.infos = PodInfos()
        self.placed: dict[Key, Placed] = {}
        self.devices = Devices()
        self.groups = Groups(self.namespace_labels)
        self.holders = Holders()
        # Pods that wait for their victims to go.
        self.nominations = Nominations(self.table, self.placed.__contains__)
        # What was chosen for the claims of pods that are about to be bound.
        self.promises = Promises()
        self._objects = objects or {}
        self.volumes = VolumeUse(self.cache)
        self.gangs = Gangs(self.cache, self.knows)
        self._by_node: dict[str, dict[Key, Placed]] = {}
        self._priorities: dict[int, int] = {}

    # -- other objects -------------------------------------------------------------------------------

    def cache(self, kind: type[Any]) -> Cache[Any]:
        """The objects of a kind; an empty cache where nobody watches them."""
        return self._objects.get(kind) or Cache()

    def knows(self, kind: type[Any]) -> bool:
        """Whether somebody watches the objects of a kind."""
        return kind in self._objects

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        cache = self._objects.get(api.Namespace)
        found = cache.get("", name) if cache is not None else None
        return found.metadata.labels if found is not None else {}

    # -- pods ----------------------------------------------------------------------------------------

    def place(self, pod: PodInfo, node: str, *, assumed: bool = False) -> None:
        """Count a pod on a node, known or not."""
        placed = Placed(pod, node, assumed)
        self._priorities[pod.priority] = self._priorities.get(pod.priority, 0) + 1
        self.placed[pod.key] = placed
        self._by_node.setdefault(node, {})[pod.key] = placed
        self.volumes.use(pod, node)
        row = self.table.rows.get(node)
        if row is not None:
            self._count(pod, row, 1)
        if self.nominations:
            self.nominations.recount(pod.key)

    def unplace(self, key: Key) -> Placed | None:
        """Count a pod no longer; gives where it was."""
        placed = self.placed.pop(key, None)
        if placed is None:
            return None
        priority = placed.pod.priority
        self._priorities[priority] -= 1
        if not self._priorities[priority]:
            del self._priorities[priority]
        on_node = self._by_node[placed.node]
        del on_node[key]
        if not on_node:
            del self._by_node[placed.node]
        self.volumes.leave(placed.pod, placed.node)
        row = self.table.rows.get(placed.node)
        if row is not None:
            self._count(placed.pod, row, -1)
        if self.nominations:
            self.nominations.recount(key)
        return placed

    @property
    def least_priority(self) -> float:
        """The priority of the least important placed pod; infinite where there is none."""
        return min(self._priorities, default=float("inf"))

    def on(self, node: str) -> list[PodInfo]:
        """The pods that count on a node."""
        return [placed.pod for placed in self._by_node.get(node, {}).values()]

    def counter(self, rules: tuple[Selects, ...]) -> Counter:
        """How many placed pods all of these rules select, row by row."""
        return self.groups.counter(rules, self.table.size)

    # -- nodes ---------------------------------------------------------------------------------------

    def put_node(self, node: api.Node) -> None:
        """Add a node with the pods that are known to be on it, or take over what changed of it."""
        name = node.metadata.name or ""
        if self.table.put(node):
            row = self.table.rows[name]
            for placed in self._by_node.get(name, {}).values():
                self._count(placed.pod, row, 1)
            self.nominations.recount_node(name)

    def remove_node(self, name: str) -> None:
        """A node went. Its pods are remembered: it may come back before they are gone."""
        row = self.table.rows.get(name)
        if row is None:
            return
        for placed in self._by_node.get(name, {}).values():
            self._count(placed.pod, row, -1)
        self.table.remove(name)
        self.nominations.recount_node(name)

    def namespaces_changed(self) -> None:
        """Labels of namespaces changed: what was counted by them is counted anew."""
        self.groups.forget_counters()
        self.holders.version += 1

    # -- nominations ---------------------------------------------------------------------------------

    def nominate(self, pod: PodInfo, node: str) -> None:
        """Promise a node to a pod; an empty name takes the promise back."""
        before = self.nominations.set(pod, node)
        for name in {before, node}:
            if name in self.table.rows:  # what the row leaves to others has changed
                self.table.touch(self.table.rows[name])

    @property
    def nominated(self) -> Mapping[str, Mapping[Key, PodInfo]]:
        """The pods that were promised a node, by its name."""
        return self.nominations.by_node

    def nomination(self, key: Key) -> str:
        return self.nominations.of(key)

    def rivals(self, pod: PodInfo, node: str) -> list[PodInfo]:
        """Pods that were promised the node and come before this one: of its priority or higher.

        Those that were decided for meanwhile count where they are.
        """
        return self.nominations.rivals(pod, node)

    # -- what if -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def without(self, node: str, pods: Iterable[PodInfo]) -> Iterator[Trial]:
        """Within the block the pods are not on the node; afterwards everything is as before."""
        usage = self.table.usage
        position = usage.position
        trial = Trial(self, self.table.rows[node], node)
        for pod in pods:
            trial.take_away(pod)
        try:
            yield trial
        finally:
            trial.undo()
            usage.rewind(position)

    def _count(self, pod: PodInfo, row: int, amount: int) -> None:
        if amount > 0:
            self.table.take(row, pod.demand)
        else:
            self.table.release(row, pod.demand)
        self.groups.add(pod, row, amount)
        self.holders.add(pod, row, amount, self.table.size)


class Trial:
    """Pods taken from a node, or added to it, to see what would be."""

    def __init__(self, world: World, row: int, node: str) -> None:
        self.row = row
        self._node = node
        self._world = world
        self._away: dict[Key, PodInfo] = {}
        self._more: dict[Key, PodInfo] = {}

    def take_away(self, pod: PodInfo) -> None:
        self._world._count(pod, self.row, -1)
        self._world.volumes.leave(pod, self._node)
        self._away[pod.key] = pod

    def bring_back(self, pod: PodInfo) -> None:
        self._world._count(pod, self.row, 1)
        self._world.volumes.use(pod, self._node)
        del self._away[pod.key]

    def add(self, pod: PodInfo) -> None:
        self._world._count(pod, self.row, 1)
        self._world.volumes.use(pod, self._node)
        self._more[pod.key] = pod

    def undo(self) -> None:
        for pod in list(self._away.values()):
            self.bring_back(pod)
        for pod in self._more.values():
            self._world._count(pod, self.row, -1)
            self._world.volumes.leave(pod, self._node)
        self._more.clear()
