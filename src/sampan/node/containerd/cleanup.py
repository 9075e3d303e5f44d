"""Nothing left behind: the pods, shims, mounts, sockets, cgroups and bridge of a private containerd.

`tear_down` is the orderly way, through CRI, so that the CNI plugins undo what they did. `sweep` then removes
what is still there, and works alone when containerd cannot run any more.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sampan.base.clock import Clock, SystemClock
from sampan.base.mountinfo import mounts_below
from sampan.node.containerd import config as configuration
from sampan.node.containerd.config import ContainerdConfig
from sampan.node.containerd.process import ContainerdFailure, ContainerdProcess
from sampan.node.runtimes.cri.runtime import CriRuntime
from sampan.node.runtimes.runtime import RuntimeFailure

_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRDELBR = 0x8913, 0x8914, 0x89A1
_IFF_UP = 1
_REMOVALS_AT_ONCE = 8
# Killed processes take a moment to go, and hold their cgroups and mounts until then.
_GONE_ATTEMPTS = 200
_GONE_DELAY_S = 0.01


async def tear_down(
    process: ContainerdProcess, *, cgroup_parent: str = "", keep_images: bool = False
) -> None:
    """Remove every pod, end containerd and sweep up. A containerd that does not run is started for it."""
    with suppress(ContainerdFailure):
        await process.start()
        runtime = CriRuntime(process.socket_path)
        try:
            await remove_pods(runtime)
        finally:
            await runtime.close()
    await process.stop()
    await sweep(process.config, cgroup_parent=cgroup_parent, keep_images=keep_images)


async def remove_pods(runtime: CriRuntime) -> None:
    """Stop and remove every sandbox with its containers, without grace."""
    try:
        listing = await runtime.list()
    except RuntimeFailure:
        return
    at_once = asyncio.Semaphore(_REMOVALS_AT_ONCE)

    async def remove(sandbox_id: str) -> None:
        async with at_once:
            with suppress(RuntimeFailure):
                await runtime.stop_sandbox(sandbox_id)
                await runtime.remove_sandbox(sandbox_id)

    await asyncio.gather(*(remove(each.id) for each in listing.sandboxes))


async def sweep(
    config: ContainerdConfig,
    *,
    cgroup_parent: str = "",
    keep_images: bool = False,
    clock: Clock | None = None,
) -> None:
    """Kill, unmount and delete what containerd's own removal has left; idempotent, and only ever ours."""
    clock = clock or SystemClock()
    bundles = list(_bundles(config))
    ids = {bundle.name for bundle in bundles}
    for _ in range(_GONE_ATTEMPTS):
        left = [*shims(config.address), *processes_of(ids)]
        if not left:
            break
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await clock.sleep(_GONE_DELAY_S)
    for bundle in bundles:
        _remove_shim_socket(bundle)
    for point in mounts_below(Path("/proc/self/mountinfo").read_bytes(), config.data_dir):
        _unmount(point)
    for _ in range(_GONE_ATTEMPTS):
        if _remove_cgroups(ids, cgroup_parent):
            break
        await clock.sleep(_GONE_DELAY_S)
    delete_bridge(config.bridge)
    Path(config.address).unlink(missing_ok=True)
    Path(config.address + ".ttrpc").unlink(missing_ok=True)
    await asyncio.to_thread(_remove_directories, config, keep_images)


def _bundles(config: ContainerdConfig) -> Iterable[Path]:
    tasks = Path(config.state) / "io.containerd.runtime.v2.task" / configuration.NAMESPACE
    return tasks.iterdir() if tasks.is_dir() else ()


def shims(address: str) -> list[int]:
    """The pids of the shims that serve one containerd, by its socket in their arguments."""
    found = []
    for pid, arguments in _command_lines():
        if "containerd-shim" in Path(arguments[0]).name and address in arguments:
            found.append(pid)
    return found


def _command_lines() -> Iterable[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if arguments[0]:
                    yield int(entry.name), arguments


def processes_of(container_ids: set[str]) -> list[int]:
    """The pids in the cgroups of these containers."""
    found: list[int] = []
    if not container_ids:
        return found
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if cgroup_names((entry / "cgroup").read_text()) & container_ids:
                    found.append(int(entry.name))
    return found


def cgroup_names(text: str) -> set[str]:
    """The ids in /proc/<pid>/cgroup: a path ends with the id, or `cri-containerd-<id>.scope`."""
    lasts = (line.rpartition("/")[2] for line in text.splitlines())
    return {last.removesuffix(".scope").rpartition("-")[2] for last in lasts}


def _unmount(point: str) -> None:
    ctypes.CDLL(None).umount2(os.fsencode(point), _MNT_DETACH)


def _remove_shim_socket(bundle: Path) -> None:
    """containerd keeps shims' sockets outside its state directory; each bundle names its own."""
    with suppress(OSError):
        address = (bundle / "address").read_text().strip()
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _remove_cgroups(ids: set[str], cgroup_parent: str) -> bool:
    """Whether all of them are gone; one whose last process is just ending is not yet."""
    root, parent = Path("/sys/fs/cgroup"), cgroup_parent.strip("/")
    # cgroup v1 has one tree for each controller; v2 is one tree.
    trees = [root, *(each for each in root.iterdir() if each.is_dir())] if root.is_dir() else []
    ours: list[Path] = []
    for tree in trees:
        ours += [tree / parent] if parent else []
        ours += [tree / configuration.NAMESPACE / container_id for container_id in ids]
    for cgroup in ours:
        _remove_tree(cgroup)
    # containerd's own default parent, which other containerds share: goes only when it is empty.
    for tree in trees:
        with suppress(OSError):
            (tree / configuration.NAMESPACE).rmdir()
    return not any(cgroup.exists() for cgroup in ours)


def _remove_tree(cgroup: Path) -> None:
    # From the leaves; os.walk passes over what goes meanwhile, as cgroups do with their last process.
    for directory, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106 (a cgroup's files cannot be removed, and need not be)


def delete_bridge(name: str) -> None:
    """Delete a bridge, if it is there; by ioctl, so that no `ip` is needed."""
    encoded = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control, suppress(OSError):
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", encoded, 0))
        flags = struct.unpack("16sh14x", answer)[1]
        # Only a bridge that is down can be deleted.
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", encoded, flags & ~_IFF_UP))
        fcntl.ioctl(control, _SIOCBRDELBR, struct.pack("16s", encoded))


def _remove_directories(config: ContainerdConfig, keep_images: bool) -> None:
    for name in (config.state, config.ipam_dir, config.cni_conf_dir):
        shutil.rmtree(name, ignore_errors=True)
    if not keep_images:
        shutil.rmtree(config.root, ignore_errors=True)
        shutil.rmtree(config.data_dir, ignore_errors=True)
