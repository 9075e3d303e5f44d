"""From what the watches show to what the scheduler believes: the world, and who is in the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sampan.client.cache import key_of
from sampan.client.informer import SharedInformers
from sampan.kinds.core.phases import is_finished
from sampan.scheduler.cycle import Engine
from sampan.scheduler.events import node_event, object_event, pod_event, wakes
from sampan.scheduler.framework import ASSIGNED_POD, Event, Plugin
from sampan.scheduler.gangs import Key as GroupKey
from sampan.scheduler.podinfo import Key, PodInfo, is_held
from sampan.scheduler.queue import Queue, Waiting
from sampan.scheduler.requests import demand
from sampan.scheduler.world import World
from sampan.schema import api

# Whose objects plugins look at, besides pods and nodes.
KINDS: Final[tuple[type[Any], ...]] = (
    api.Namespace,
    api.Service,
    api.ReplicaSet,
    api.StatefulSet,
    api.ReplicationController,
    api.PodDisruptionBudget,
    api.PersistentVolumeClaim,
    api.PersistentVolume,
    api.StorageClass,
    api.CSINode,
    api.CSIDriver,
    api.CSIStorageCapacity,
    api.VolumeAttachment,
)
GANGS: Final = "GangScheduling"
# Of these a change can free pods that wait.
_FREEING: Final = frozenset(
    {
        "Namespace",
        "PersistentVolumeClaim",
        "PersistentVolume",
        "StorageClass",
        "CSINode",
        "CSIDriver",
        "CSIStorageCapacity",
        "VolumeAttachment",
    }
)


# Of placed pods only those that go, or shrink, help a pod that these refused: not those that come.
_ONLY_FREED: Final = frozenset(
    {"NodeResourcesFit", "NodePorts", "VolumeRestrictions", "NodeVolumeLimits", "DynamicResources"}
)


class Watching:
    """Keeps `world` and `queue` as the watches have it. `wake` is called where there may be work."""

    def __init__(
        self,
        informers: SharedInformers,
        queue: Queue,
        engines: Mapping[str, Engine],
        world: World,
        wake: Callable[[], None],
        rank: Callable[[api.Pod], float],
    ) -> None:
        self.pods = informers.of(api.Pod)
        self.nodes = informers.of(api.Node)
        self.told: Callable[[Key], None] = lambda key: None  # nothing need be said of the pod any more
        self.pod_seen: Callable[[], None] = lambda: None
        self.budgets_changed: Callable[[], None] = lambda: None
        # A pod of a group waits for something before it may be tried; the text says for what.
        self.held_back: Callable[[api.Pod, str], None] = lambda pod, why: None
        # A pod that is not for this scheduler, or not now.
        self.left_alone: Callable[[api.Pod], None] = lambda pod: None
        self._group_words: dict[GroupKey, str] = {}  # what the pods of each group wait for, "" for nothing
        self._queue = queue
        self._engines = engines
        self._world = world
        self._wake = wake
        self._rank = rank
        self._plugins = {name: {p.name: p for p in e.profile.all_plugins} for name, e in engines.items()}
        plugins = [plugin for known in self._plugins.values() for plugin in known.values()]
        self._companions = frozenset(p.name for p in plugins if ASSIGNED_POD in p.events) - _ONLY_FREED

    def start(self) -> None:
        """Listen; what is known already comes first."""
        self.pods.on_change(self._pod_changed)
        self.nodes.on_change(self._node_changed)

    def listen(self, kind: type[Any], informer: Any, *, frees: bool = False) -> None:
        """Let changes of another kind reach the pods that wait for them."""
        name = kind.__name__.rpartition("_")[2]
        if kind is api.PodDisruptionBudget:
            informer.on_change(lambda old, new: self.budgets_changed())

        def changed(old: Any, new: Any) -> None:
            if name == "Namespace":
                if old is not None and new is not None and old.metadata.labels == new.metadata.labels:
                    return
                self._world.namespaces_changed()
            self._world.volumes.changed(old, new)
            self._world.devices.changed(old, new)
            if name == "DeviceClass":  # which resources of containers are served by devices
                for engine in self._engines.values():
                    engine.forget()
            self.happened(object_event(name, old, new))
            if name == "PodGroup":
                held = new if new is not None else old
                self._regroup((held.metadata.namespace or "", held.metadata.name or ""))

        if frees or name in _FREEING:
            informer.on_change(changed)

    def start_over(self) -> None:
        """Believe only what the watches have shown: bindings of an earlier run may have come to nothing."""
        self._queue.start_over()
        for key in list(self._world.placed):
            self._world.unplace(key)
        for waiting in self._world.nominations.all():
            self._world.nominate(waiting, "")
        self._world.gangs.clear()
        self._group_words.clear()
        for pod in self.pods.cache.items():
            self._pod_changed(None, pod)

    def believe(self, pods: Iterable[api.Pod]) -> None:
        """Pods as a fresh read shows them: what has a node there counts, though no watch has shown it yet."""
        for pod in pods:
            key, uid = key_of(pod), pod.metadata.uid or ""
            held = self.pods.cache.get(*key)
            is_ahead = held is None or held.metadata.uid != uid or not held.spec.nodeName
            if pod.spec.nodeName and not is_finished(pod) and is_ahead:
                self._world.unplace(key)
                self._world.place(self._world.infos.of(pod), pod.spec.nodeName, assumed=True)
                self._queue.remove(key, uid)

    def is_mine(self, pod: api.Pod) -> bool:
        """Whether the pod wants a node, and from this scheduler."""
        return (
            not pod.spec.nodeName
            and pod.spec.schedulerName in self._engines
            and pod.metadata.deletionTimestamp is None
            and not pod.spec.schedulingGates
            and not is_finished(pod)
        )

    def happened(self, event: Event | None) -> None:
        """Let the pods that the event may help try again."""
        if event is None:
            return
        if not self._queue.parked:
            self._queue.changed(_nobody)
            if len(self._queue):
                self._wake()
            return
        told: dict[Any, bool] = {}

        def frees(waiting: Waiting) -> bool:
            info = self._info(waiting)
            if info is None:
                return True
            # What a change of a claim means to a pod is a matter of its name.
            own = waiting.key if info.claims or info.spec.resourceClaims else None
            seen = (info.template, waiting.refused_by, own)
            if seen not in told:
                told[seen] = wakes(self._refusing(info, waiting), info, event, self._world)
            return told[seen]

        self._queue.changed(frees)
        self._wake()

    def _refusing(self, info: PodInfo, waiting: Waiting) -> list[Plugin]:
        known = self._plugins.get(info.spec.schedulerName or "", {})
        return [known[name] for name in waiting.refused_by if name in known]

    def _info(self, waiting: Waiting) -> PodInfo | None:
        pod = self.pods.cache.get(*waiting.key)
        if pod is None:
            return None
        if waiting.info is None or waiting.info.pod is not pod:
            waiting.info = self._world.infos.of(pod)
        return waiting.info

    # -- pods ----------------------------------------------------------------------------------------

    def _pod_changed(self, old: api.Pod | None, new: api.Pod | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        self.pod_seen()
        if pod.spec.schedulingGroup is None:
            self._take_over(old, new, pod)
            return
        group = self._world.gangs.see(pod, gone=new is None)
        self._take_over(old, new, pod)
        if group is not None:
            self._regroup(group)

    def _take_over(self, old: api.Pod | None, new: api.Pod | None, pod: api.Pod) -> None:
        key = (pod.metadata.namespace or "", pod.metadata.name or "")
        uid = pod.metadata.uid or ""
        if new is None or is_finished(new):
            self._forget(key, uid, pod)
        elif new.spec.nodeName:
            self._seen_on(key, uid, old, new)
        elif not self.is_mine(new):
            self._queue.remove(key, uid)
            self._drop_nomination(key)
            self.left_alone(new)
        elif old is None or key not in self._queue or _matters(old, new):
            placed = self._world.placed.get(key)
            if placed is None or placed.pod.uid != uid:  # else its binding is under way, or not seen yet
                if old is None and new.status.nominatedNodeName:
                    self._world.nominate(self._world.infos.of(new), new.status.nominatedNodeName)
                if new.spec.schedulingGroup is not None and (why := self.waits(new)):
                    self.hold_back(new, why)
                    return
                self._queue.add(key, uid, new.spec.priority or 0, self._rank(new))
                self._wake()
        elif self._rank(old) != self._rank(new):
            self._queue.rerank(key, uid, self._rank(new))

    def _seen_on(self, key: Key, uid: str, old: api.Pod | None, pod: api.Pod) -> None:
        self._queue.remove(key, uid)
        self.told(key)
        self._drop_nomination(key)
        node = pod.spec.nodeName or ""
        before = self._world.placed.get(key)
        known = before.pod if before is not None and before.pod.uid == uid else None
        takes = known.demand if known is not None and _is_as_before(known, pod) else None
        ends = pod.metadata.deletionTimestamp is not None
        stays = before is not None and before.node == node and takes is not None
        if before is not None and known is not None and stays and known.terminating == ends:
            came, before.assumed = before.assumed, False
            known.pod = pod
            if came and self._queue.any_refused_by(self._companions):  # somebody may have waited for it
                self.happened(pod_event(None, pod))
            return
        info = self._world.infos.of(pod, known)
        event = pod_event(known.pod if known is not None else None, pod, takes)
        elsewhere = before is not None and (before.node != node or known is None)
        self._world.unplace(key)
        self._world.place(info, node)
        self.happened(event)
        if elsewhere and before is not None:  # it was thought to be somewhere else: there may be room now
            self.happened(pod_event(before.pod.pod, None))

    def _forget(self, key: Key, uid: str, pod: api.Pod) -> None:
        placed = self._world.placed.get(key)
        if placed is not None and placed.pod.uid == uid:
            self._world.unplace(key)
            self.happened(pod_event(placed.pod.pod, None))
        self._queue.remove(key, uid)
        self.told(key)
        if self._drop_nomination(key):
            self.happened(pod_event(pod, None))

    def _drop_nomination(self, key: Key) -> bool:
        node = self._world.nomination(key)
        if node:
            self._world.nominate(self._world.nominated[node][key], "")
        return bool(node)

    # -- groups of pods ------------------------------------------------------------------------------

    def waits(self, pod: api.Pod) -> str:
        """What the pod's group waits for before its pods are tried (PreEnqueue); "" for nothing."""
        return self._world.gangs.waits_for(pod) if self.is_ganged(pod) else ""

    def is_ganged(self, pod: api.Pod) -> bool:
        """Whether the pod's profile looks at groups."""
        return GANGS in self._plugins.get(pod.spec.schedulerName or "", {})

    def hold_back(self, pod: api.Pod, why: str) -> None:
        """Keep a pod out of the queue until its group is ready."""
        self._queue.remove(key_of(pod), pod.metadata.uid or "")
        self.held_back(pod, why)

    def _regroup(self, group: GroupKey) -> None:
        """The group or its pods changed: where it has become ready its pods are tried, else they are told."""
        gangs = self._world.gangs
        why, before = gangs.waits(group), self._group_words.get(group)
        if not gangs.members(group):
            self._group_words.pop(group, None)
            return
        self._group_words[group] = why
        if why == before:
            return
        for key in list(gangs.members(group)):
            pod = self.pods.cache.get(*key)
            if pod is None or key in self._queue or key in self._world.placed or not self.is_mine(pod):
                continue
            if not self.is_ganged(pod):
                continue
            if why:
                self.held_back(pod, why)
            else:
                self._queue.add(key, pod.metadata.uid or "", pod.spec.priority or 0, self._rank(pod))
        if not why:
            self._wake()

    # -- nodes ---------------------------------------------------------------------------------------

    def _node_changed(self, old: api.Node | None, new: api.Node | None) -> None:
        table = self._world.table
        if new is None:
            assert old is not None
            self._world.remove_node(old.metadata.name or "")
        else:
            name = new.metadata.name or ""
            if name in table.rows and old is not None and node_event(old, new) is None:
                table.nodes[table.rows[name]] = new
                return
            self._world.put_node(new)
        self.happened(node_event(old, new))


def _nobody(_waiting: Waiting) -> bool:
    return False


def _matters(old: api.Pod, new: api.Pod) -> bool:
    """Whether a change of a pending pod can change the decision. Of its status, only its claims can."""
    return (
        old.spec != new.spec
        or old.metadata.labels != new.metadata.labels
        or old.status.resourceClaimStatuses != new.status.resourceClaimStatuses
    )


def _is_as_before(known: PodInfo, pod: api.Pod) -> bool:
    """Whether a placed pod takes what it took, and others see it as they did, but for its deletion."""
    before = known.pod
    if before is pod:
        return True
    if known.labels != pod.metadata.labels or not _same_demand(before.spec, pod.spec):
        return False
    # Most statuses say nothing of what containers have; what they say mostly is what was asked for.
    return not (is_held(before) or is_held(pod)) or demand(pod) == known.demand


def _same_demand(before: api.PodSpec, after: api.PodSpec) -> bool:
    """Only resources may change of the spec of a pod that has a node."""
    return (
        [c.resources for c in before.containers] == [c.resources for c in after.containers]
        and [c.resources for c in before.initContainers] == [c.resources for c in after.initContainers]
        and before.resources == after.resources
    )
