"""VolumeRestrictions, NodeVolumeLimits, VolumeZone: who else uses a volume, how many, and where it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.claims import claim_names
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Verdict,
    refuse,
)
from sampan.scheduler.plugins.volume_binding import is_bound
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

IN_USE: Final = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
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


class VolumeRestrictions(Plugin):
    """A claim that is ReadWriteOncePod has one pod at a time, wherever that is."""

    name: ClassVar[str] = "VolumeRestrictions"
    events: ClassVar[frozenset[str]] = frozenset({ASSIGNED_POD, "PersistentVolumeClaim"})

    def prepare(self, pod: PodInfo, world: World) -> bool | None:
        for name, _ in claim_names(pod.pod):
            claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, name)
            if claim is None or ONE_POD not in claim.spec.accessModes:
                continue
            if world.claim_users.get((pod.namespace, name), {}).keys() - {pod.key}:
                return True
        return None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        return refuse(world.table.live[rows].copy(), IN_USE)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind != ASSIGNED_POD:
            return True
        if not event.does(DELETE) or event.old is None:
            return False
        mine = {name for name, _ in claim_names(pod.pod)}
        return bool(mine & {name for name, _ in claim_names(event.old)})


class NodeVolumeLimits(Plugin):
    """No more CSI volumes on a node than its CSINode allows for the driver."""

    name: ClassVar[str] = "NodeVolumeLimits"
    events: ClassVar[frozenset[str]] = frozenset(
        {NODE_EVENT, ASSIGNED_POD, "CSINode", "PersistentVolumeClaim"}
    )

    def prepare(self, pod: PodInfo, world: World) -> dict[str, set[str]] | None:
        wanted: dict[str, set[str]] = {}
        for name, _ in claim_names(pod.pod):
            for driver, handle in _csi_volume(world, pod.namespace, name):
                wanted.setdefault(driver, set()).add(handle)
        return wanted or None

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        table = world.table
        out = np.zeros(table.size, dtype=np.bool_)
        used = _used(world)
        for csi in world.cache(api.CSINode).items():
            name = csi.metadata.name or ""
            row = table.rows.get(name)
            for driver in csi.spec.drivers if row is not None else ():
                most = driver.allocatable.count if driver.allocatable is not None else None
                wanted = state.get(driver.name)
                if wanted and most is not None:
                    there = used.get((name, driver.name), set())
                    out[row] = out[row] or len(wanted - there) + len(there) > most
        return refuse(out[rows], TOO_MANY)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        return event.kind != ASSIGNED_POD or event.does(DELETE)


class VolumeZone(Plugin):
    """Volumes that name a zone or region are used from there."""

    name: ClassVar[str] = "VolumeZone"
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, "PersistentVolumeClaim", "PersistentVolume"})

    def prepare(self, pod: PodInfo, world: World) -> list[tuple[str, frozenset[str]]] | None:
        wanted = []
        for name, _ in claim_names(pod.pod):
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


def _csi_volume(world: World, namespace: str, name: str) -> Iterable[tuple[str, str]]:
    """The driver and the volume behind a claim; a claim to be provisioned counts under its own name."""
    claim = world.cache(api.PersistentVolumeClaim).get(namespace, name)
    if claim is None:
        return
    volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
    if volume is not None:
        if volume.spec.csi is not None:
            yield volume.spec.csi.driver, volume.spec.csi.volumeHandle
        return
    storage_class = world.cache(api.StorageClass).get("", claim.spec.storageClassName or "")
    if storage_class is not None:
        yield storage_class.provisioner, f"{namespace}/{name}"


def _used(world: World) -> dict[tuple[str, str], set[str]]:
    """The volumes in use, by node and driver."""
    used: dict[tuple[str, str], set[str]] = {}
    for (namespace, name), users in world.claim_users.items():
        for driver, handle in _csi_volume(world, namespace, name):
            for node in users.values():
                used.setdefault((node, driver), set()).add(handle)
    return used
