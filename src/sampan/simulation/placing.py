"""Pods decided for one after the other, each counting for those after it. Pure.

What the scheduler leaves to chance is the first node by name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sampan.scheduler.changes import RowIndex
from sampan.scheduler.cycle import Engine
from sampan.scheduler.explain import Way, held_back, ways_to_run
from sampan.scheduler.gangdryrun import looks_at_groups, try_group
from sampan.scheduler.gangs import group_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.preemption import Preemption
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.reserving import split
from sampan.scheduler.snapshot import Snapshot, world_of
from sampan.scheduler.world import World
from sampan.schema import api
from sampan.simulation.admitting import admit, checked, with_class
from sampan.simulation.workloads import expand, has_pods, owned_pods


class Placement(msgspec.Struct, frozen=True):
    """Where one pod would go: `node` is "" where nowhere, and `why` says why, or what else is to be known.

    `ways` are the smallest changes that would let it run; `evicts` the less important pods, as
    namespace/name, that would have to make room on the node first.
    """

    namespace: str
    name: str
    node: str = ""
    why: str = ""
    ways: tuple[Way, ...] = ()
    evicts: tuple[str, ...] = ()


def simulate(
    snapshot: Snapshot, objects: Sequence[Any], profiles: Sequence[Profile] = ()
) -> tuple[Placement, ...]:
    """Where the pods of these objects would go, the most important first.

    Pods that a workload has in the cluster already are taken away before: all of them are placed as if it
    were made anew. Raises SimulationError for objects that the API server would refuse.
    """
    objects = [checked(obj) for obj in objects]
    here = {_key(p): p for p in snapshot.pods}
    there = [o for o in objects if type(o) is api.Pod and _key(o) in here]
    snapshot = _with(snapshot, objects)
    made = expand([o for o in objects if not any(o is each for each in there)], snapshot.nodes)
    beside: list[Any] = list(made.others)
    for number, pod in enumerate(made.pods, start=1):
        beside += admit(pod, snapshot.others, number)
    snapshot = _with(snapshot, [_settled(each, snapshot) for each in beside])
    pods = sorted(made.pods, key=lambda pod: -(pod.spec.priority or 0))
    stay = tuple(_already(here[_key(pod)]) for pod in there)
    return (*stay, *Placer(snapshot, profiles).place(pods))


def engines_of(profiles: Sequence[Profile], world: World) -> dict[str, Engine]:
    """Who decides, by profile (none given: the usual one)."""
    return {profile.name: Engine(profile, world) for profile in profiles or (default_profile(),)}


def first_by_name(world: World, rows: RowIndex) -> int:
    """Of nodes that are as good as each other the first by name, so that answers can be repeated."""
    best: list[int] = rows.tolist()
    return min(best, key=lambda row: (world.table.nodes[row] or api.Node()).metadata.name or "")


class Placer:
    """A world of its own that pods are placed in."""

    def __init__(self, snapshot: Snapshot, profiles: Sequence[Profile] = ()) -> None:
        self.world = world_of(snapshot)
        self._engines = engines_of(profiles, self.world)
        self._preemptions = {n: Preemption(e) for n, e in self._engines.items() if e.profile.preempts}
        self._known_ways: dict[Any, tuple[Way, ...]] = {}

    def place(self, pods: Iterable[api.Pod]) -> tuple[Placement, ...]:
        """Decide for each of them in turn; for the pods of a group together, when the first one's turn is."""
        pods = list(pods)
        self.world.gangs.see_all(pods)
        together: dict[tuple[str, str], Placement] = {}
        found: list[Placement] = []
        for pod in pods:
            if _key(pod) not in together and pod.spec.schedulingGroup is not None:
                together |= {(p.namespace, p.name): p for p in self._place_group(pod, pods)}
            found.append(together.get(_key(pod)) or self._place(pod))
        return tuple(found)

    def _place_group(self, pod: api.Pod, pods: Sequence[api.Pod]) -> list[Placement]:
        """All pods of the pod's group, or none of them; nothing where it is to be placed by itself."""
        group, engine = group_of(pod), self._engines.get(pod.spec.schedulerName or "")
        if group is None or engine is None or not looks_at_groups(engine):
            return []
        waiting = [
            self.world.infos.of(each)
            for each in pods
            if group_of(each) == group and not each.spec.nodeName and not each.spec.schedulingGates
        ]
        why = self.world.gangs.waits_for(pod)
        if why:
            return [Placement(*each.key, why=why) for each in waiting]
        if self.world.gangs.group(group) is None:
            return []
        cycle, why = try_group(engine, group, waiting, self._first)
        reasons = {each.key: decision.message for each, decision in cycle.refused}
        if why:
            cycle.undo()
            return [Placement(*each.key, why=reasons.get(each.key, why)) for each in waiting]
        placed = [Placement(*each.pod.key, each.node) for each in cycle.taken]
        return placed + [Placement(*key, why=text) for key, text in reasons.items()]

    def _place(self, pod: api.Pod) -> Placement:
        info = self.world.infos.of(pod)
        namespace, name = info.key
        if pod.spec.nodeName:
            self.world.place(info, pod.spec.nodeName)
            return Placement(namespace, name, pod.spec.nodeName, _bound_why(self.world.table.rows, pod))
        engine = self._engines.get(pod.spec.schedulerName or "")
        if engine is None or pod.spec.schedulingGates:
            engine = engine or next(iter(self._engines.values()))
            changes = held_back(pod, engine)
            why = f"it is held back: {'; '.join(change.text for change in changes)}"
            return Placement(namespace, name, why=why, ways=(Way("", changes),))
        decision = engine.decide(info, self._first)
        if decision.node:
            self._count(engine, info, decision.row, decision.node)
            return Placement(namespace, name, decision.node)
        evicted = self._make_room(engine, info)
        if evicted:
            return evicted
        return Placement(
            namespace, name, why=decision.message, ways=self._ways(engine, info, decision.message)
        )

    def _count(self, engine: Engine, info: PodInfo, row: int, node: str) -> None:
        volumes, devices = split(engine.reserve(info, row))
        self.world.place(info, node)
        self.world.promises.make(volumes)
        self.world.devices.promise(devices)

    def _make_room(self, engine: Engine, info: PodInfo) -> Placement | None:
        """Preempt, if that helps."""
        preemption = self._preemptions.get(engine.profile.name)
        if preemption is None:
            return None
        victims = preemption.find(info, engine.diagnose(info), lambda count: 0).victims
        if victims is None:
            return None
        for victim in victims.pods:
            self.world.unplace(victim.key)
        self._count(engine, info, self.world.table.rows[victims.node], victims.node)
        names = tuple("/".join(victim.key) for victim in victims.pods)
        why = f"once {len(names)} less important pod{'s' if len(names) > 1 else ''} made room"
        return Placement(*info.key, victims.node, why, evicts=names)

    def _ways(self, engine: Engine, info: PodInfo, message: str) -> tuple[Way, ...]:
        """Looked for once for all pods of one template that nothing has changed for in between."""
        key = (info.template, message)
        if key not in self._known_ways:
            self._known_ways[key] = ways_to_run(engine, info.pod)
        return self._known_ways[key]

    def _first(self, rows: RowIndex) -> int:
        return first_by_name(self.world, rows)


def _with(snapshot: Snapshot, objects: Iterable[Any]) -> Snapshot:
    """The snapshot once these objects are in it too, in place of those of their names."""
    nodes = {n.metadata.name: n for n in snapshot.nodes}
    others = {kind: {_key(each): each for each in held} for kind, held in snapshot.others.items()}
    gone: set[str] = set()
    for obj in objects:
        if isinstance(obj, api.Node):
            nodes[obj.metadata.name] = obj
            continue
        if has_pods(obj) and not isinstance(obj, api.CronJob):
            gone |= owned_pods(obj, snapshot.pods, snapshot.others)
        if not isinstance(obj, api.Pod):
            others.setdefault(type(obj), {})[_key(obj)] = obj
    pods = [pod for pod in snapshot.pods if not pod.metadata.uid or pod.metadata.uid not in gone]
    return Snapshot(list(nodes.values()), pods, {kind: list(held.values()) for kind, held in others.items()})


def _settled(obj: Any, snapshot: Snapshot) -> Any:
    """What controllers make, with what plugins need of it: an identity, and a claim's class."""
    if not obj.metadata.uid:
        uid = f"simulated-{type(obj).__name__}-{'/'.join(_key(obj))}"
        obj = msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, uid=uid))
    held = snapshot.others.get(type(obj), ())
    found = next((each for each in held if _key(each) == _key(obj)), None)
    if found is not None and isinstance(obj, api.PersistentVolumeClaim):
        return found  # what a StatefulSet's pod had before it has again
    if isinstance(obj, api.PersistentVolumeClaim):
        with_class(obj, snapshot.others.get(api.StorageClass, ()))
    return obj


def _key(obj: Any) -> tuple[str, str]:
    return obj.metadata.namespace or "", obj.metadata.name or ""


def _already(pod: api.Pod) -> Placement:
    where = "it is there already" if pod.spec.nodeName else "it waits already; see `sampan explain pod`"
    return Placement(*_key(pod), pod.spec.nodeName or "", where)


def _bound_why(rows: Mapping[str, int], pod: api.Pod) -> str:
    return "it names the node itself" if pod.spec.nodeName in rows else "it names a node that is not there"
