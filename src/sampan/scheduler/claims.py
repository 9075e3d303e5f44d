"""What a pod mounts, and what has to be done for its claims before it is bound. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from sampan.schema import api

# A disk that kube-scheduler lets two pods of one node share only in some ways: its kind and its name.
Disk = tuple[str, ...]
# The CSI drivers that took over what volumes of these kinds were, and where those name the volume.
MIGRATED: Final = {
    "awsElasticBlockStore": ("ebs.csi.aws.com", "volumeID"),
    "gcePersistentDisk": ("pd.csi.storage.gke.io", "pdName"),
    "azureDisk": ("disk.csi.azure.com", "diskName"),
    "azureFile": ("file.csi.azure.com", "shareName"),
    "cinder": ("cinder.csi.openstack.org", "volumeID"),
    "vsphereVolume": ("csi.vsphere.vmware.com", "volumePath"),
    "portworxVolume": ("pxd.portworx.com", "volumeID"),
}


class BindVolume(msgspec.Struct, frozen=True):
    """To be done before the pod is bound: point the volume at the claim."""

    claim: api.PersistentVolumeClaim
    volume: api.PersistentVolume


class Provision(msgspec.Struct, frozen=True):
    """To be done before the pod is bound: ask the claim's provisioner for a volume on the node."""

    claim: api.PersistentVolumeClaim
    node: str


Work = BindVolume | Provision


class Mounts(msgspec.Struct, frozen=True):
    """What a pod's volumes are: equal for pods of one shape.

    `claims` are names of claims, or of volumes whose claim is made for the pod alone (True); `disks` are
    those named in the pod itself and whether it only reads them; `attached` are drivers and volumes of these.
    """

    claims: tuple[tuple[str, bool], ...] = ()
    disks: tuple[tuple[Disk, bool], ...] = ()
    attached: tuple[tuple[str, str], ...] = ()


class Promises:
    """What was chosen for claims of pods that are about to be bound, until the watches show it.

    Several pods may wait for one claim: a promise ends with the last of them.
    """

    def __init__(self) -> None:
        self.volumes: dict[str, str] = {}  # by a volume's name: the claim's uid
        self._volume_of: dict[str, str] = {}
        self._node_of: dict[str, str] = {}
        self._holders: Counter[str] = Counter()

    def make(self, work: Iterable[Work]) -> None:
        for each in work:
            uid = each.claim.metadata.uid or ""
            self._holders[uid] += 1
            if isinstance(each, BindVolume):
                name = each.volume.metadata.name or ""
                self.volumes[name], self._volume_of[uid] = uid, name
            else:
                self._node_of[uid] = each.node

    def end(self, work: Iterable[Work]) -> None:
        for each in work:
            uid = each.claim.metadata.uid or ""
            self._holders[uid] -= 1
            if self._holders[uid] <= 0:
                del self._holders[uid]
                self._node_of.pop(uid, None)
                self.volumes.pop(self._volume_of.pop(uid, ""), None)

    def clear(self) -> None:
        """Nothing is promised: a scheduler begins again."""
        for known in (self.volumes, self._volume_of, self._node_of, self._holders):
            known.clear()

    def volume_of(self, claim: api.PersistentVolumeClaim) -> str:
        """The volume that is promised to a claim; "" for none."""
        return self._volume_of.get(claim.metadata.uid or "", "")

    def node_of(self, claim: api.PersistentVolumeClaim) -> str:
        """The node that a claim's volume is to be made for; "" for none."""
        return self._node_of.get(claim.metadata.uid or "", "")


def mounts_of(spec: api.PodSpec) -> Mounts:
    """What the volumes of a pod are."""
    claims: dict[tuple[str, bool], None] = {}  # one that is mounted twice counts once
    disks: list[tuple[Disk, bool]] = []
    attached: list[tuple[str, str]] = []
    for volume in spec.volumes:
        if volume.persistentVolumeClaim is not None:
            claims[volume.persistentVolumeClaim.claimName, False] = None
        elif volume.ephemeral is not None:
            claims[volume.name, True] = None
        else:
            disks += _disks_of(volume)
            attached += migrated(volume)
    return Mounts(tuple(claims), tuple(disks), tuple(attached))


def migrated(source: api.Volume | api.PersistentVolumeSpec) -> list[tuple[str, str]]:
    """The driver and the volume behind a source of the time before CSI; empty for any other."""
    for field, (driver, name) in MIGRATED.items():
        found = getattr(source, field, None)
        if found is not None:
            return [(driver, str(getattr(found, name)))]
    return []


def claim_names(pod: api.Pod) -> list[tuple[str, bool]]:
    """The names of the pod's claims, and whether each is made for the pod alone."""
    return named(mounts_of(pod.spec), pod.metadata.name or "") if pod.spec.volumes else []


def named(mounts: Mounts, pod_name: str) -> list[tuple[str, bool]]:
    """The names of the claims of a pod that mounts this."""
    return [(f"{pod_name}-{name}" if own else name, own) for name, own in mounts.claims]


def _disks_of(volume: api.Volume) -> list[tuple[Disk, bool]]:
    if (gce := volume.gcePersistentDisk) is not None:
        return [(("gce", gce.pdName), bool(gce.readOnly))]
    if (aws := volume.awsElasticBlockStore) is not None:
        return [(("aws", aws.volumeID), False)]  # two pods never share it, even if both only read
    if (iscsi := volume.iscsi) is not None:
        return [(("iscsi", iscsi.iqn), bool(iscsi.readOnly))]
    if (rbd := volume.rbd) is not None:
        pool, read_only = rbd.pool or "rbd", bool(rbd.readOnly)
        return [(("rbd", monitor, pool, rbd.image), read_only) for monitor in rbd.monitors]
    return []
