"""VolumeRestrictions, NodeVolumeLimits, VolumeZone: who else uses a volume, how many, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.claims import Disk, claim_names, mounts_of
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Reason,
    Verdict,
    refuse,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.volume_use import is_bound, volumes_behind
from sampan.scheduler.world import World
from sampan.schema import api

IN_USE: Final = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
DISK_TAKEN: Final = "node(s) had no available disk"
TOO_MANY: Final = "node(s) exceed max volume count"
WRONG_ZONE: Final = "node(s) had no available volume zone"
ONE_POD: Final = "ReadWriteOncePod"
_ZONES: Final = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_SEPARATOR: Final = "__"


class _Restricted(msgspec.Struct, frozen=True):
    one_pod: bool  # another pod has a claim that is for one pod at a time
    disks: tuple[tuple[Disk, bool], ...]


class VolumeRestrictions(Plugin):
    """A ReadWriteOncePod claim has one pod at a time, wherever that is; a disk that pods name themselves has
    one on each node, or many that only read it."""

    name: ClassVar[str] = "VolumeRestrictions"
    mounts_only: ClassVar[bool] = True
    events: ClassVar[frozenset[str]] = frozenset({ASSIGNED_POD, "PersistentVolumeClaim"})

    def prepare(self, pod: PodInfo, world: World) -> _Restricted | None:
        disks = pod.shape.mounts.disks
        one_pod = any(_is_taken(pod, name, world) for name, _ in pod.claims)
        return _Restricted(one_pod, disks) if one_pod or disks else None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        wanted: _Restricted = state
        table = world.table
        taken = np.zeros(table.size, dtype=np.bool_)
        for disk, only_reads in wanted.disks:
            for node, reads in world.volumes.disks.get(disk, {}).values():
                if node in table.rows and not (only_reads and reads):
                    taken[table.rows[node]] = True
        found = [(taken, DISK_TAKEN)]
        if wanted.one_pod:
            found = [(taken, DISK_TAKEN), (table.live & ~taken, IN_USE)]
        reasons = tuple(Reason(text, where[rows]) for where, text in found if where[rows].any())
        return Verdict(np.logical_or.reduce([r.where for r in reasons]), reasons) if reasons else None

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind != ASSIGNED_POD:
            return True
        if not event.does(DELETE) or event.old is None:
            return False
        mine = {name for name, _ in pod.claims}
        same = mine & {name for name, _ in claim_names(event.old)}
        disks = {disk for disk, _ in pod.shape.mounts.disks}
        return bool(same or disks & {disk for disk, _ in mounts_of(event.old.spec).disks})


class NodeVolumeLimits(Plugin):
    """No more CSI volumes on a node than its CSINode allows for the driver."""

    name: ClassVar[str] = "NodeVolumeLimits"
    mounts_only: ClassVar[bool] = True
    events: ClassVar[frozenset[str]] = frozenset(
        {NODE_EVENT, ASSIGNED_POD, "CSINode", "PersistentVolumeClaim", "VolumeAttachment"}
    )

    def prepare(self, pod: PodInfo, world: World) -> dict[str, set[str]] | None:
        wanted: dict[str, set[str]] = {}
        for name, _ in pod.claims:
            for driver, handle in volumes_behind(world.cache, (pod.namespace, name)):
                wanted.setdefault(driver, set()).add(handle)
        for driver, handle in pod.shape.mounts.attached:
            wanted.setdefault(driver, set()).add(handle)
        return wanted or None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        table = world.table
        out = np.zeros(table.size, dtype=np.bool_)
        for driver, handles in state.items():
            for node, most in world.volumes.limits.get(driver, {}).items():
                held = world.volumes.held(node, driver)
                if len(held) + len(handles) > most and node in table.rows:
                    more = sum(handle not in held for handle in handles)
                    out[table.rows[node]] |= bool(more) and len(held) + more > most
        return refuse(out[rows], TOO_MANY)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == "VolumeAttachment":
            return event.does(DELETE)
        return event.kind != ASSIGNED_POD or event.does(DELETE)


class VolumeZone(Plugin):
    """Volumes that name a zone or region are used from there."""

    name: ClassVar[str] = "VolumeZone"
    mounts_only: ClassVar[bool] = True
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, "PersistentVolumeClaim", "PersistentVolume"})

    def prepare(self, pod: PodInfo, world: World) -> list[tuple[str, frozenset[str]]] | None:
        wanted = []
        for name, _ in pod.claims:
            claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
            if claim is None or not is_bound(claim):
                continue
            volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
            for key, value in (volume.metadata.labels if volume is not None else {}).items():
                if key in _ZONES:
                    wanted.append((key, frozenset(value.split(_SEPARATOR))))
        return wanted or None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        table = world.table
        out = np.zeros(table.size, dtype=np.bool_)
        bound = np.zeros(table.size, dtype=np.bool_)
        for key in _ZONES:
            bound |= table.domains(key).ids >= 0
        for key, values in state:
            fits = np.zeros(table.size, dtype=np.bool_)
            for label in (key, _ZONES[key]):
                domains = table.domains(label)
                numbers = [domains.numbers[v] for v in values if v in domains.numbers]
                fits |= np.isin(domains.ids, numbers)
            out |= bound & ~fits
        return refuse(out[rows], WRONG_ZONE, resolvable=False)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        return event.kind != NODE_EVENT or event.does(ADD, UPDATE_LABELS)


def wrong_zone(pod: PodInfo, world: World, labels: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """Claims whose volumes are labelled with other zones than a node with these labels has.

    Told are claim, volume, label and value.
    """
    found = []
    if not any(key in labels for key in _ZONES):
        return []
    for name, _ in pod.claims:
        claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
        if claim is None or not is_bound(claim):
            continue
        volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
        for key, value in (volume.metadata.labels if volume is not None else {}).items():
            here = {labels.get(key), labels.get(_ZONES.get(key, key))}
            if key in _ZONES and here.isdisjoint(value.split(_SEPARATOR)):
                found.append((name, claim.spec.volumeName or "", key, value))
    return found


def _is_taken(pod: PodInfo, name: str, world: World) -> bool:
    claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
    if claim is None or ONE_POD not in claim.spec.accessModes:
        return False
    return bool(world.volumes.users_of((pod.namespace, name)).keys() - {pod.key})
