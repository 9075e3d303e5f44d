"""VolumeBinding: claims that are bound, or can be bound or provisioned for, on the node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.machinery.selectors import EVERYTHING
from sampan.scheduler.changes import Rows
from sampan.scheduler.claims import BindVolume, Provision, claim_names
from sampan.scheduler.framework import (
    ADD,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Reason,
    Rejected,
    Verdict,
)
from sampan.scheduler.groups import selector_of
from sampan.scheduler.label_masks import terms_mask
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools
from sampan.scheduler.world import World
from sampan.schema import api

NODE_CONFLICT: Final = "node(s) had volume node affinity conflict"
NO_VOLUME: Final = "node(s) didn't find available persistent volumes to bind"
NO_SPACE: Final = "node(s) did not have enough free storage"
VOLUME_GONE: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND: Final = "pod has unbound immediate PersistentVolumeClaims"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
WAITS: Final = "WaitForFirstConsumer"
STORAGE: Final = "storage"
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


class _Wanted(msgspec.Struct, frozen=True):
    bound: tuple[api.PersistentVolume, ...]
    gone: bool
    delayed: tuple[tuple[api.PersistentVolumeClaim, api.StorageClass], ...]


class VolumeBinding(Plugin):
    name: ClassVar[str] = "VolumeBinding"
    events: ClassVar[frozenset[str]] = frozenset(
        {
            NODE_EVENT,
            "PersistentVolumeClaim",
            "PersistentVolume",
            "StorageClass",
            "CSINode",
            "CSIDriver",
            "CSIStorageCapacity",
        }
    )

    def prepare(self, pod: PodInfo, world: World) -> _Wanted | Rejected | None:
        names = claim_names(pod.pod)
        if not names:
            return None
        bound, delayed, gone = [], [], False
        for name, ephemeral in names:
            claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
            why = _unusable(claim, name, ephemeral, pod)
            if why:
                return Rejected(why)
            assert claim is not None
            if is_bound(claim):
                volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
                gone = gone or volume is None
                bound += [volume] if volume is not None else []
                continue
            storage_class = class_of(claim, world)
            if claim.spec.volumeName or storage_class is None or storage_class.volumeBindingMode != WAITS:
                return Rejected(UNBOUND)
            delayed.append((claim, storage_class))
        return _Wanted(tuple(bound), gone, tuple(delayed))

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        wanted: _Wanted = state
        size = world.table.size
        conflict, unmatched, full = (np.zeros(size, dtype=np.bool_) for _ in range(3))
        for volume in wanted.bound:
            conflict |= ~volume_mask(volume, world)
        for claim, storage_class in wanted.delayed:
            found, room = _claim_masks(claim, storage_class, world)
            unmatched |= ~found
            full |= found & ~room
        gone = np.full(size, wanted.gone)
        texts = ((conflict, NODE_CONFLICT), (unmatched, NO_VOLUME), (full, NO_SPACE), (gone, VOLUME_GONE))
        reasons = tuple(Reason(text, where[rows], False) for where, text in texts if where[rows].any())
        if not reasons:
            return None
        return Verdict((conflict | unmatched | full | gone)[rows], reasons)

    def reserve(self, pod: PodInfo, node: api.Node, world: World) -> Sequence[Any]:
        state = self.prepare(pod, world)
        if not isinstance(state, _Wanted):
            return ()
        row = world.table.rows[node.metadata.name or ""]
        work: list[Any] = []
        taken: set[str] = set()
        for claim, _ in sorted(state.delayed, key=lambda each: _asked(each[0])):
            if claim.metadata.annotations.get(SELECTED_NODE):
                work.append(Provision(claim, node.metadata.name or ""))
                continue
            fitting = [
                v
                for v in candidates(claim, world)
                if (v.metadata.name or "") not in taken and volume_mask(v, world)[row]
            ]
            if fitting:
                best = min(fitting, key=lambda v: (not _is_for(v, claim), _capacity(v)))
                taken.add(best.metadata.name or "")
                work.append(BindVolume(claim, best))
            else:
                work.append(Provision(claim, node.metadata.name or ""))
        return work

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == NODE_EVENT:
            return event.does(ADD, UPDATE_LABELS)
        if event.kind == "PersistentVolumeClaim":
            meta = (event.new or event.old).metadata
            names = {name for name, _ in claim_names(pod.pod)}
            return (meta.namespace or "") == pod.namespace and (meta.name or "") in names
        return True


def is_bound(claim: api.PersistentVolumeClaim) -> bool:
    """Whether claim and volume are bound to each other for good."""
    done = BIND_COMPLETED in claim.metadata.annotations or claim.status.phase == "Bound"
    return bool(claim.spec.volumeName) and done


def class_of(claim: api.PersistentVolumeClaim, world: World) -> api.StorageClass | None:
    """The claim's storage class, if it has one that exists."""
    name = claim.metadata.annotations.get(_CLASS_ANNOTATION) or claim.spec.storageClassName or ""
    found: api.StorageClass | None = world.cache(api.StorageClass).get("", name) if name else None
    return found


def volume_mask(volume: api.PersistentVolume, world: World) -> Bools:
    """The rows from which the volume can be reached."""
    affinity = volume.spec.nodeAffinity
    if affinity is None or affinity.required is None:
        return world.table.live
    return terms_mask(affinity.required.nodeSelectorTerms, world.table)


def candidates(claim: api.PersistentVolumeClaim, world: World) -> list[api.PersistentVolume]:
    """The volumes that the claim could be bound to."""
    wanted = claim.metadata.annotations.get(_CLASS_ANNOTATION) or claim.spec.storageClassName or ""
    selector = selector_of(claim.spec.selector) if claim.spec.selector is not None else EVERYTHING
    modes = set(claim.spec.accessModes)
    found = []
    for volume in world.cache(api.PersistentVolume).items():
        spec, name = volume.spec, volume.metadata.name or ""
        owner = world.promised_volumes.get(name)
        if owner is not None and owner != claim.metadata.uid:
            continue
        if spec.claimRef is not None and not _is_for(volume, claim):
            continue
        if (
            (spec.storageClassName or "") == wanted
            and volume.metadata.deletionTimestamp is None
            and volume.status.phase in (None, "", "Available", "Bound")
            and modes <= set(spec.accessModes)
            and (spec.volumeMode or "Filesystem") == (claim.spec.volumeMode or "Filesystem")
            and _capacity(volume) >= _asked(claim)
            and selector.matches(volume.metadata.labels)
        ):
            found.append(volume)
    return found


def _unusable(claim: api.PersistentVolumeClaim | None, name: str, ephemeral: bool, pod: PodInfo) -> str:
    if claim is None:
        if ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        return f'persistentvolumeclaim "{name}" not found'
    if claim.status.phase == "Lost":
        lost = f'non-existent persistentvolume "{claim.spec.volumeName}"'
        return f'persistentvolumeclaim "{name}" bound to {lost}'
    if claim.metadata.deletionTimestamp is not None:
        return f'persistentvolumeclaim "{name}" is being deleted'
    if ephemeral and all(o.uid != pod.uid for o in claim.metadata.ownerReferences):
        whole = f"{pod.namespace}/{name}"
        return f"PVC {whole} was not created for pod {'/'.join(pod.key)} (pod is not owner)"
    return ""


def _claim_masks(
    claim: api.PersistentVolumeClaim, storage_class: api.StorageClass, world: World
) -> tuple[Bools, Bools]:
    """The rows where there is a volume or a way to one, and those with room for it."""
    table = world.table
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    everywhere = np.ones(table.size, dtype=np.bool_)
    existing = np.zeros(table.size, dtype=np.bool_)
    if not selected:
        for volume in candidates(claim, world):
            existing |= volume_mask(volume, world)
    found = existing
    room = everywhere
    if storage_class.provisioner != NO_PROVISIONER:
        topologies = storage_class.allowedTopologies
        made = terms_mask(_as_terms(topologies), table) if topologies else everywhere
        found = existing | made
        room = existing | _room_mask(claim, storage_class, world)
    if selected:
        only = np.zeros(table.size, dtype=np.bool_)
        if selected in table.rows:
            only[table.rows[selected]] = True
        found = found & only
    return found, room


def _as_terms(topologies: Iterable[api.TopologySelectorTerm]) -> list[api.NodeSelectorTerm]:
    return [
        api.NodeSelectorTerm(
            matchExpressions=[
                api.NodeSelectorRequirement(key=e.key, operator="In", values=e.values)
                for e in topology.matchLabelExpressions
            ]
        )
        for topology in topologies
    ]


def _room_mask(claim: api.PersistentVolumeClaim, storage_class: api.StorageClass, world: World) -> Bools:
    """Where the driver says that there is room; everywhere where it says nothing of it."""
    table = world.table
    driver = world.cache(api.CSIDriver).get("", storage_class.provisioner)
    if driver is None or not driver.spec.storageCapacity:
        return np.ones(table.size, dtype=np.bool_)
    asked = _asked(claim)
    found = np.zeros(table.size, dtype=np.bool_)
    for capacity in world.cache(api.CSIStorageCapacity).items():
        most = capacity.maximumVolumeSize or capacity.capacity
        if capacity.storageClassName != storage_class.metadata.name or capacity.nodeTopology is None:
            continue
        if most is None or most.whole() < asked:
            continue
        selector = selector_of(capacity.nodeTopology)
        for row in table.live_rows():
            found[row] = found[row] or selector.matches(table.labels(row))
    return found


def _is_for(volume: api.PersistentVolume, claim: api.PersistentVolumeClaim) -> bool:
    ref = volume.spec.claimRef
    if ref is None:
        return False
    same = (ref.namespace, ref.name) == (claim.metadata.namespace, claim.metadata.name)
    return same and (not ref.uid or ref.uid == claim.metadata.uid)


def _asked(claim: api.PersistentVolumeClaim) -> int:
    asked = claim.spec.resources.requests.get(STORAGE) if claim.spec.resources is not None else None
    return asked.whole() if asked is not None else 0


def _capacity(volume: api.PersistentVolume) -> int:
    offered = volume.spec.capacity.get(STORAGE)
    return offered.whole() if offered is not None else 0
