"""Where pods would go, asked of one world that is changed for a question and put back after it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import msgspec

from sampan.client.cache import controller_of
from sampan.controllers.daemonset.placement import Placement
from sampan.scheduler.cycle import Engine
from sampan.scheduler.decision import Decision
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.schema import api
from sampan.simulation.placing import engines_of


class Room:
    """The cluster as the scheduler sees it, with the scheduler's profiles (none given: the usual one).

    What a method changes, it notes in `undo`: closing that makes everything as it was before.
    """

    def __init__(self, snapshot: Snapshot, profiles: Sequence[Profile] = ()) -> None:
        self.world = world_of(snapshot)
        self._daemons = [(d, Placement(d)) for d in snapshot.others.get(api.DaemonSet, ())]
        self._engines = engines_of(profiles, self.world)

    def engine(self, pod: api.Pod) -> Engine:
        """The engine of the pod's profile; where it names another scheduler, of the first."""
        return self._engines.get(pod.spec.schedulerName or "") or next(iter(self._engines.values()))

    def first(self, info: PodInfo) -> str:
        """The first node where the pod could go; "" for none."""
        found = self.engine(info.pod).feasible(info)
        if isinstance(found, Decision):
            return ""
        node = self.world.table.nodes[int(found[0])]
        return (node.metadata.name if node is not None else "") or ""

    def refusal(self, info: PodInfo, node: str) -> str:
        """Why the pod cannot go to the node; "" where it can."""
        return self.engine(info.pod).refusal(info, self.world.table.rows[node])

    def add(self, node: api.Node, undo: ExitStack) -> None:
        """Add a node, or say what one will become, with the pods that DaemonSets will have there."""
        name = node.metadata.name or ""
        self.world.put_node(node)
        undo.callback(self.world.remove_node, name)
        there = {owner.uid for pod in self.world.on(name) if (owner := controller_of(pod.pod)) is not None}
        for daemons, placement in self._daemons:
            if daemons.metadata.uid not in there and placement.fit(node).run:
                pod = placement.pod_for(name, "")
                pod.metadata.name = f"{daemons.metadata.name}-on-{name}"
                self.place(self.world.infos.of(pod), name, undo)

    def place(self, info: PodInfo, node: str, undo: ExitStack) -> None:
        """Count a pod on a node."""
        self.world.place(info, node)
        undo.callback(self.world.unplace, info.key)

    def empty(self, node: api.Node, pods: Iterable[api.Pod], undo: ExitStack) -> api.Pod | None:
        """Take the node away and find another for each of its `pods`; gives the first that finds none."""
        world = self.world
        name = node.metadata.name or ""
        world.remove_node(name)
        undo.callback(world.put_node, node)
        moving = []
        for pod in pods:
            placed = world.unplace((pod.metadata.namespace or "", pod.metadata.name or ""))
            if placed is not None:
                undo.callback(world.place, placed.pod, placed.node)
            moving.append(msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, nodeName=None)))
        for pod in moving:
            info = world.infos.of(pod)
            target = self.first(info)
            if not target:
                return pod
            self.place(info, target, undo)
        return None

    def utilization(self, node: str, pods: Iterable[api.Pod]) -> float:
        """The larger share of the node's cpu and memory that the pods ask for."""
        table = self.world.table
        row = table.rows[node]
        demands = [self.world.infos.of(pod).demand.amounts for pod in pods]
        shares = [0.0]
        for resource in ("cpu", "memory"):
            offered = int(table.allocatable(resource)[row])
            if offered:
                shares.append(sum(amounts.get(resource, 0) for amounts in demands) / offered)
        return max(shares)

    def free_share(self, nodes: Sequence[str]) -> float:
        """The share of these nodes' cpu and memory that nothing takes, on average."""
        table = self.world.table
        rows = [table.rows[name] for name in nodes]
        shares = []
        for resource in ("cpu", "memory"):
            offered = sum(int(table.allocatable(resource)[row]) for row in rows)
            taken = sum(int(table.requested(resource)[row]) for row in rows)
            shares.append(1 - taken / offered if offered else 0.0)
        return sum(shares) / len(shares)
