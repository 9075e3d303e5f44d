"""VolumeBinding: claims that are bound, or can be bound or provisioned for, on the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.claims import claim_names
from sampan.scheduler.framework import (
    ADD,
    MOST_SCORE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Reason,
    Rejected,
    Verdict,
    on_curve,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Numbers
from sampan.scheduler.volume_matching import Delayed, serve, volume_mask, work_on
from sampan.scheduler.volume_use import class_name, is_bound
from sampan.scheduler.world import World
from sampan.schema import api

NODE_CONFLICT: Final = "node(s) had volume node affinity conflict"
NO_VOLUME: Final = "node(s) didn't find available persistent volumes to bind"
NO_SPACE: Final = "node(s) did not have enough free storage"
VOLUME_GONE: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND: Final = "pod has unbound immediate PersistentVolumeClaims"
WAITS: Final = "WaitForFirstConsumer"
# How long a pod waits for its volumes before it is tried anew (VolumeBindingArgs.bindTimeoutSeconds).
BIND_TIMEOUT_S: Final = 600.0
Curve = tuple[tuple[int, int], ...]


class _Wanted(msgspec.Struct, frozen=True):
    bound: tuple[api.PersistentVolume, ...]
    gone: bool
    delayed: tuple[Delayed, ...]


class VolumeBinding(Plugin):
    """`curve` scores nodes by how much of the volumes found there is asked for; empty: no scores."""

    name: ClassVar[str] = "VolumeBinding"
    mounts_only: ClassVar[bool] = True
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

    def __init__(self, curve: Curve = (), timeout_s: float = BIND_TIMEOUT_S) -> None:
        self._curve = curve
        self.timeout_s = timeout_s

    def prepare(self, pod: PodInfo, world: World) -> _Wanted | Rejected | None:
        names = pod.claims
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
            storage_class = world.cache(api.StorageClass).get("", class_name(claim))
            if claim.spec.volumeName or storage_class is None or storage_class.volumeBindingMode != WAITS:
                return Rejected(UNBOUND)
            delayed.append((claim, storage_class))
        return _Wanted(tuple(bound), gone, tuple(delayed))

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        wanted: _Wanted = state
        size = world.table.size
        conflict = np.zeros(size, dtype=np.bool_)
        for volume in wanted.bound:
            conflict |= ~volume_mask(volume, world.table)
        found = [(conflict, NODE_CONFLICT), (np.full(size, wanted.gone), VOLUME_GONE)]
        if wanted.delayed:
            served = serve(wanted.delayed, world)
            found += [(served.unmatched, NO_VOLUME), (served.full, NO_SPACE)]
        reasons = tuple(Reason(text, where[rows], False) for where, text in found if where[rows].any())
        if not reasons:
            return None
        return Verdict(np.logical_or.reduce([r.where for r in reasons]), reasons)

    def prepare_score(self, pod: PodInfo, world: World) -> Any | None:
        if not self._curve or not pod.claims:
            return None
        wanted = self.prepare(pod, world)
        return wanted.delayed or None if isinstance(wanted, _Wanted) else None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """By the curve, the average over the storage classes whose volumes would be taken."""
        served = serve(state, world, weighed=True)
        total = np.zeros(world.table.size, dtype=np.float64)
        classes = np.zeros(world.table.size, dtype=np.int64)
        for name, asked in served.requested.items():
            capacity = served.capacity[name]
            there = capacity > 0
            share = np.minimum(asked * MOST_SCORE // np.maximum(capacity, 1), MOST_SCORE)
            total += np.where(there, on_curve(self._curve, share), 0)
            classes += there
        scores: Numbers = np.floor(total / np.maximum(classes, 1) + 0.5).astype(np.int64)
        return scores[rows]

    def reserve(self, pod: PodInfo, node: api.Node, world: World) -> Sequence[Any]:
        state = self.prepare(pod, world)
        return work_on(state.delayed, node, world) if isinstance(state, _Wanted) else ()

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == NODE_EVENT:
            return event.does(ADD, UPDATE_LABELS)
        if event.kind == "PersistentVolumeClaim":
            meta = (event.new or event.old).metadata
            names = {name for name, _ in claim_names(pod.pod)}
            return (meta.namespace or "") == pod.namespace and (meta.name or "") in names
        return True


def made_of(args: Mapping[str, Any]) -> VolumeBinding:
    """The plugin that VolumeBindingArgs describe. Raises ValueError."""
    timeout_s = float(args.get("bindTimeoutSeconds", BIND_TIMEOUT_S))
    if timeout_s < 0:
        raise ValueError("bindTimeoutSeconds must not be negative")
    points = args.get("shape") or []
    curve = tuple((int(p.get("utilization", 0)), int(p.get("score", 0))) for p in points)
    if [u for u, _ in curve] != sorted({u for u, _ in curve}):
        raise ValueError("the utilization of the points of a shape must rise from point to point")
    if any(not 0 <= u <= 100 or not 0 <= s <= 10 for u, s in curve):
        raise ValueError(
            "the points of a shape must have a utilization from 0 to 100 and a score from 0 to 10"
        )
    return VolumeBinding(curve, timeout_s)


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
