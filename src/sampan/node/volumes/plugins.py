"""The table of volume plugins: each makes the directory that containers mount."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.kinds import localpath
from sampan.node.drivers.csi import CsiDrivers
from sampan.node.drivers.csiplan import Volume, of_persistent, of_pod
from sampan.node.drivers.sockets import real_path
from sampan.node.errors import ClaimError, VolumeError
from sampan.node.model import NodeFacts
from sampan.node.references import get_or_none
from sampan.node.volumes.localpath import directory_of
from sampan.node.volumes.mounting import can_mount, mount_tmpfs
from sampan.node.volumes.ownership import own
from sampan.node.volumes.plan import Objects, volume_files
from sampan.node.volumes.writer import write_files
from sampan.schema import api

EMPTY_DIR_MODE: Final = 0o777
# What a fresh tmpfs has, and kubelet leaves.
MEMORY_DIR_MODE: Final = 0o1777
SET_GID: Final = 0o2000


class VolumeTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin gets: the volume, where it may make its directory, and what helps it."""

    pod: api.Pod
    volume: api.Volume
    directory: Path
    node: NodeFacts
    client: Client
    clock: Clock
    objects: Callable[[api.Pod, api.Volume], Awaitable[Objects]]
    # Where the directories of local-path volumes are.
    local_path_dir: str = ""
    root_dir: str = ""
    csi: CsiDrivers | None = None

    @property
    def fs_group(self) -> int | None:
        security = self.pod.spec.securityContext
        return security.fsGroup if security is not None else None


class Prepared(msgspec.Struct, frozen=True):
    """A volume that can be mounted: the host's path, and whether containers may never write to it."""

    path: str
    readonly: bool = False


class VolumePlugin(msgspec.Struct, frozen=True):
    """`directory` is its name in the pod's directory, `written` says that the node keeps it fresh."""

    directory: str
    fits: Callable[[api.Volume], bool]
    prepare: Callable[[VolumeTask], Awaitable[Prepared]]
    written: bool = False


async def _empty_dir(task: VolumeTask) -> Prepared:
    source = task.volume.emptyDir or api.EmptyDirVolumeSource()
    usual = MEMORY_DIR_MODE if source.medium == "Memory" else EMPTY_DIR_MODE
    mode = usual if source.mode is None else source.mode
    directory = task.directory
    fresh = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory" and can_mount() and not directory.is_mount():
        limit = source.sizeLimit.whole() if source.sizeLimit is not None else 0
        mount_tmpfs(directory, limit or task.node.allocatable_memory_bytes, mode)
    if fresh:
        directory.chmod(mode)
        if task.fs_group is not None:
            with suppress(PermissionError):
                os.chown(directory, -1, task.fs_group)
            directory.chmod(mode | SET_GID | 0o770)
    return Prepared(str(directory))


async def _written(task: VolumeTask) -> Prepared:
    objects = await task.objects(task.pod, task.volume)
    files = volume_files(task.pod, task.volume, objects, task.node)
    write_files(task.directory, files, task.clock.now(), task.fs_group)
    return Prepared(str(task.directory), readonly=True)


async def _image(task: VolumeTask) -> Prepared:
    # The runtime mounts it once the image is there, before the first container that has it starts.
    task.directory.mkdir(parents=True, exist_ok=True)
    return Prepared(str(task.directory), readonly=True)


async def _host_path(task: VolumeTask) -> Prepared:
    source = task.volume.hostPath
    assert source is not None
    # Drivers mount kubelet's directory: to pods, that is where this node has its own.
    path = real_path(source.path, task.root_dir) if task.root_dir else source.path
    check_host_path(path, source.type or "")
    return Prepared(path)


# type: (test of the mode, what kubelet says it is not)
_TYPES: Final[dict[str, tuple[Callable[[int], bool], str]]] = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


def check_host_path(path: str, type_: str) -> None:
    """Check (or create) what a hostPath volume names. Raises VolumeError with kubelet's words."""
    place = Path(path)
    if type_ == "DirectoryOrCreate" and not place.exists():
        place.mkdir(mode=0o755, parents=True)
    if type_ == "FileOrCreate" and not place.exists():
        place.touch(mode=0o644)
    if not type_:
        if not place.exists():  # what docker did, and containers rely on
            place.mkdir(parents=True)
        return
    test, what = _TYPES[type_]
    if not place.exists() or not test(place.stat().st_mode):
        raise VolumeError(f"hostPath type check failed: {path} is not {what}")


async def _claim(task: VolumeTask) -> Prepared:
    namespace = task.pod.metadata.namespace or ""
    source = task.volume.persistentVolumeClaim
    name = source.claimName if source is not None else f"{task.pod.metadata.name}-{task.volume.name}"
    claim = await get_or_none(task.client, api.PersistentVolumeClaim, name, namespace)
    if claim is None:
        raise ClaimError(
            f"error processing PVC {namespace}/{name}: failed to fetch PVC from API server: "
            f'persistentvolumeclaims "{name}" not found'
        )
    if claim.status.phase != "Bound" or not claim.spec.volumeName:
        raise ClaimError(f"error processing PVC {namespace}/{name}: PVC is not bound")
    _check_use(claim)
    if source is None and all(o.uid != task.pod.metadata.uid for o in claim.metadata.ownerReferences):
        pod = f"{namespace}/{task.pod.metadata.name}"
        raise ClaimError(f'PVC "{namespace}/{name}" was not created for pod "{pod}" (pod is not owner)')
    volume = await get_or_none(task.client, api.PersistentVolume, claim.spec.volumeName)
    if volume is None:
        raise ClaimError(f'persistentvolume "{claim.spec.volumeName}" not found')
    reference = volume.spec.claimRef
    if reference is None or reference.uid != claim.metadata.uid:
        raise ClaimError(f"error processing PVC {namespace}/{name}: PVC is not bound")
    readonly = bool(source.readOnly) if source is not None else False
    csi = of_persistent(volume, readonly)
    if csi is not None:
        return await _mounted(task, csi)
    prepared = _persistent(task, volume, readonly=readonly)
    # As in Kubernetes a hostPath is the host's own, and what may not be written is left alone.
    if task.fs_group is not None and volume.spec.local is not None and not prepared.readonly and can_mount():
        security = task.pod.spec.securityContext
        policy = security.fsGroupChangePolicy if security is not None else None
        # The path may be a symlink to the volume: kubelet mounts what it leads to.
        await asyncio.to_thread(own, Path(prepared.path).resolve(), task.fs_group, policy)
    return prepared


async def _csi(task: VolumeTask) -> Prepared:
    volume = of_pod(task.pod, task.volume)
    assert volume is not None
    return await _mounted(task, volume)


async def _mounted(task: VolumeTask, volume: Volume) -> Prepared:
    if task.csi is None:
        raise VolumeError(f"this node has no CSI drivers, and the volume is of {volume.driver}")
    return Prepared(await task.csi.mount(task.pod, task.volume.name, volume), volume.readonly)


def _check_use(claim: api.PersistentVolumeClaim) -> None:
    """Whether a pod may mount the claim at all. Raises ClaimError."""
    where = f"{claim.metadata.namespace}/{claim.metadata.name}"
    if claim.metadata.deletionTimestamp is not None:
        raise ClaimError(f"error processing PVC {where}: PVC is being deleted")
    if claim.spec.volumeMode == "Block":
        raise ClaimError(
            f"error processing PVC {where}: it has volumeMode Block, and this node mounts file systems only"
        )


def _persistent(task: VolumeTask, volume: api.PersistentVolume, *, readonly: bool) -> Prepared:
    spec = volume.spec
    if spec.hostPath is not None:
        check_host_path(spec.hostPath.path, spec.hostPath.type or "")
        return Prepared(spec.hostPath.path, readonly)
    if spec.local is not None:
        home = volume.metadata.annotations.get(localpath.VOLUME_NODE)
        if home is not None and home != task.node.name:
            why = "no matching NodeSelectorTerms"
            raise VolumeError(f'NodeAffinity check failed for volume "{volume.metadata.name}" : {why}')
        _own_directory(task, volume)
        if not Path(spec.local.path).exists():
            raise VolumeError(f'path "{spec.local.path}" does not exist')
        return Prepared(spec.local.path, readonly)
    raise VolumeError(f"no volume plugin matched for persistent volume {volume.metadata.name!r}")


def _own_directory(task: VolumeTask, volume: api.PersistentVolume) -> None:
    """Make the directory of a local-path volume of this node; others are for their owners to make."""
    if volume.metadata.annotations.get(localpath.VOLUME_NODE) != task.node.name:
        return
    place = directory_of(task.local_path_dir, volume)
    if place is not None and not place.exists():
        place.mkdir(parents=True)
        place.chmod(EMPTY_DIR_MODE)


PLUGINS: Final = (
    VolumePlugin("kubernetes.io~empty-dir", lambda v: v.emptyDir is not None, _empty_dir),
    VolumePlugin("kubernetes.io~configmap", lambda v: v.configMap is not None, _written, written=True),
    VolumePlugin("kubernetes.io~secret", lambda v: v.secret is not None, _written, written=True),
    VolumePlugin("kubernetes.io~downward-api", lambda v: v.downwardAPI is not None, _written, written=True),
    VolumePlugin("kubernetes.io~projected", lambda v: v.projected is not None, _written, written=True),
    VolumePlugin("kubernetes.io~host-path", lambda v: v.hostPath is not None, _host_path),
    VolumePlugin("kubernetes.io~image", lambda v: v.image is not None, _image),
    VolumePlugin("kubernetes.io~csi", lambda v: v.csi is not None, _csi),
    VolumePlugin("kubernetes.io~claim", lambda v: v.persistentVolumeClaim is not None, _claim),
    VolumePlugin("kubernetes.io~ephemeral", lambda v: v.ephemeral is not None, _claim),
)


def plugin_for(volume: api.Volume, table: tuple[VolumePlugin, ...] = PLUGINS) -> VolumePlugin:
    """The plugin that makes this volume. Raises VolumeError where none does. No source at all is emptyDir."""
    for plugin in table:
        if plugin.fits(volume):
            return plugin
    fields = [f for f in volume.__struct_fields__ if f != "name" and getattr(volume, f) is not None]
    if not fields:
        return table[0]
    raise VolumeError(f"no volume plugin matched for a volume of kind {fields[0]}")
