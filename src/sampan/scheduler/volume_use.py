"""Which volumes placed pods use and which volumes claims can have, kept as things change. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from sampan.client.cache import Cache, key_of
from sampan.scheduler.claims import Disk, migrated
from sampan.scheduler.podinfo import Key, PodInfo
from sampan.schema import api

STORAGE: Final = "storage"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
Attached = tuple[str, str]  # a driver, and its name for the volume
_NO_USERS: Final[Mapping[Key, str]] = {}


class Offer(msgspec.Struct, frozen=True, eq=False):
    """A volume that claims may have, with what they compare worked out."""

    volume: api.PersistentVolume
    name: str
    capacity: int
    modes: frozenset[str]


class VolumeUse:
    """Kept by `use` and `leave` for placed pods, and by `changed` for every object of the kinds in KINDS."""

    def __init__(self, cache: Callable[[type[Any]], Cache[Any]]) -> None:
        self._cache = cache
        # By namespace and name of a claim: the placed pods that use it, and where they are.
        self.users: dict[Key, dict[Key, str]] = {}
        # By disk: the placed pods that name it themselves, where, and whether they only read it.
        self.disks: dict[Disk, dict[Key, tuple[str, bool]]] = {}
        # How many volumes a node takes, by driver and node.
        self.limits: dict[str, dict[str, int]] = {}
        # How many hold each volume there: placed pods, and VolumeAttachments.
        self._held: dict[tuple[str, str], dict[str, int]] = {}
        self._behind: dict[Key, tuple[Attached, ...]] = {}  # what each used claim stands for
        self._attachments: dict[str, tuple[str, Attached]] = {}  # by name: the node and what is there
        self._attachments_of: dict[str, set[str]] = {}  # by volume
        self._limited: dict[str, tuple[str, ...]] = {}  # by node: drivers with a limit
        self._free: dict[str, dict[str, Offer]] = {}  # by storage class and name
        self._meant: dict[Key, dict[str, Offer]] = {}  # by claim and name
        self._offered: dict[str, tuple[str, Key | None]] = {}  # by name: class, or claim
        for kind in (api.PersistentVolume, api.CSINode, api.VolumeAttachment):
            for each in cache(kind).items():
                self.changed(None, each)

    # -- pods ----------------------------------------------------------------------------------------

    def use(self, pod: PodInfo, node: str) -> None:
        """A pod is placed on a node."""
        if not pod.shape.has_mounts:
            return
        mounts = pod.shape.mounts
        for name, _ in pod.claims:
            key = (pod.namespace, name)
            users = self.users.setdefault(key, {})
            if not users:
                self._behind[key] = tuple(volumes_behind(self._cache, key))
            users[pod.key] = node
            self._hold(node, self._behind[key], 1)
        for disk, read_only in mounts.disks:
            self.disks.setdefault(disk, {})[pod.key] = (node, read_only)
        self._hold(node, mounts.attached, 1)

    def leave(self, pod: PodInfo, node: str) -> None:
        """It is placed there no more."""
        if not pod.shape.has_mounts:
            return
        mounts = pod.shape.mounts
        for name, _ in pod.claims:
            key = (pod.namespace, name)
            users = self.users.get(key, {})
            if users.pop(pod.key, None) is not None:
                self._hold(node, self._behind[key], -1)
            if not users:
                self.users.pop(key, None)
                self._behind.pop(key, None)
        for disk, _ in mounts.disks:
            there = self.disks.get(disk, {})
            there.pop(pod.key, None)
            if not there:
                self.disks.pop(disk, None)
        self._hold(node, mounts.attached, -1)

    def users_of(self, key: Key) -> Mapping[Key, str]:
        """The placed pods that use a claim, and where they are."""
        return self.users.get(key, _NO_USERS)

    def held(self, node: str, driver: str) -> Mapping[str, int]:
        """The volumes of a driver that are in use or attached on a node."""
        return self._held.get((node, driver), {})

    # -- other objects -------------------------------------------------------------------------------

    def changed(self, old: Any, new: Any) -> None:
        """A claim, a volume, a class, a CSINode or a VolumeAttachment came, changed or went."""
        either = new if new is not None else old
        if isinstance(either, api.PersistentVolumeClaim):
            self._look_again((key_of(either),))
        elif isinstance(either, api.PersistentVolume):
            self._volume_changed(either.metadata.name or "", new)
        elif isinstance(either, api.StorageClass):
            self._look_again(list(self.users))
        elif isinstance(either, api.CSINode):
            self._limits_changed(either.metadata.name or "", new)
        elif isinstance(either, api.VolumeAttachment):
            self._attachment_changed(either.metadata.name or "", new)

    def offers(self, claim: api.PersistentVolumeClaim) -> list[Offer]:
        """Volumes of the claim's class that nobody has, and those that are meant for it."""
        free = self._free.get(class_name(claim), {})
        meant = self._meant.get(key_of(claim), {})
        return [*meant.values(), *free.values()]

    def _look_again(self, keys: Iterable[Key]) -> None:
        for key in keys:
            users = self.users.get(key)
            if not users:
                continue
            before, after = self._behind[key], tuple(volumes_behind(self._cache, key))
            if before != after:
                for node in users.values():
                    self._hold(node, before, -1)
                    self._hold(node, after, 1)
                self._behind[key] = after

    def _volume_changed(self, name: str, volume: api.PersistentVolume | None) -> None:
        wanted, claim = self._offered.pop(name, ("", None))
        self._free.get(wanted, {}).pop(name, None)
        keys = [claim] if claim is not None else []
        if claim is not None:
            meant = self._meant.get(claim, {})
            meant.pop(name, None)
            if not meant:
                self._meant.pop(claim, None)
        if volume is not None:
            ref = volume.spec.claimRef
            offer = Offer(volume, name, capacity_of(volume), frozenset(volume.spec.accessModes))
            if ref is None:
                self._offered[name] = (volume.spec.storageClassName or "", None)
                self._free.setdefault(volume.spec.storageClassName or "", {})[name] = offer
            else:
                key = (ref.namespace or "", ref.name or "")
                self._offered[name] = ("", key)
                self._meant.setdefault(key, {})[name] = offer
                keys.append(key)
        self._look_again(keys)
        for attached in list(self._attachments_of.get(name, ())):
            self._attachment_changed(attached, self._cache(api.VolumeAttachment).get("", attached))

    def _limits_changed(self, node: str, csi: api.CSINode | None) -> None:
        for driver in self._limited.pop(node, ()):
            limits = self.limits[driver]
            limits.pop(node, None)
            if not limits:
                del self.limits[driver]
        found = []
        for entry in csi.spec.drivers if csi is not None else ():
            if entry.allocatable is not None and entry.allocatable.count is not None:
                self.limits.setdefault(entry.name, {})[node] = entry.allocatable.count
                found.append(entry.name)
        if found:
            self._limited[node] = tuple(found)

    def _attachment_changed(self, name: str, attachment: api.VolumeAttachment | None) -> None:
        before = self._attachments.pop(name, None)
        if before is not None:
            self._hold(before[0], (before[1],), -1)
        if attachment is None:
            for names in self._attachments_of.values():
                names.discard(name)
            return
        source = attachment.spec.source
        wanted = source.persistentVolumeName or "" if source is not None else ""
        self._attachments_of.setdefault(wanted, set()).add(name)
        volume = self._cache(api.PersistentVolume).get("", wanted)
        behind = volume_behind(volume) if volume is not None else []
        if behind:
            self._attachments[name] = attachment.spec.nodeName, behind[0]
            self._hold(attachment.spec.nodeName, behind, 1)

    def _hold(self, node: str, attached: Iterable[Attached], amount: int) -> None:
        for driver, volume in attached:
            there = self._held.setdefault((node, driver), {})
            there[volume] = there.get(volume, 0) + amount
            if there[volume] <= 0:
                del there[volume]
            if not there:
                del self._held[node, driver]


def volumes_behind(cache: Callable[[type[Any]], Cache[Any]], key: Key) -> list[Attached]:
    """What a claim stands for on a node; one that is yet to be provisioned counts under its own name."""
    claim = cache(api.PersistentVolumeClaim).get(*key)
    if claim is None:
        return []
    volume = cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
    if volume is not None:
        return volume_behind(volume)
    storage_class = cache(api.StorageClass).get("", class_name(claim))
    return [(storage_class.provisioner, "/".join(key))] if storage_class is not None else []


def volume_behind(volume: api.PersistentVolume) -> list[Attached]:
    """The CSI driver and its name for the volume; empty for what no driver attaches."""
    if volume.spec.csi is not None:
        return [(volume.spec.csi.driver, volume.spec.csi.volumeHandle)]
    return migrated(volume.spec)


def is_bound(claim: api.PersistentVolumeClaim) -> bool:
    """Whether claim and volume are bound to each other for good."""
    done = BIND_COMPLETED in claim.metadata.annotations or claim.status.phase == "Bound"
    return bool(claim.spec.volumeName) and done


def class_name(claim: api.PersistentVolumeClaim) -> str:
    """The name of the claim's storage class; "" for none."""
    return claim.metadata.annotations.get(CLASS_ANNOTATION) or claim.spec.storageClassName or ""


def asked_of(claim: api.PersistentVolumeClaim) -> int:
    """How many bytes a claim asks for."""
    asked = claim.spec.resources.requests.get(STORAGE) if claim.spec.resources is not None else None
    return asked.whole() if asked is not None else 0


def capacity_of(volume: api.PersistentVolume) -> int:
    """How many bytes a volume has."""
    offered = volume.spec.capacity.get(STORAGE)
    return offered.whole() if offered is not None else 0
