"""Leaving nothing on the machine: containers, mounts, namespaces, bridges and tables of one cluster."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sampan.base.errors import SampanError
from sampan.base.mountinfo import mounts_below
from sampan.cluster.config import Layout, Settings

_MNT_DETACH: Final = 2

if TYPE_CHECKING:
    from sampan.node.containerd.config import ContainerdConfig


def teardown(layout: Layout, settings: Settings) -> None:
    """Remove everything that this cluster made outside its data directory. Idempotent."""
    import asyncio  # late: who only deletes data has no use for it

    if settings.runtime == "containerd":
        asyncio.run(_containers(layout, settings))
    elif settings.runtime == "process":
        asyncio.run(_processes(layout, settings))
    unmount_volumes(layout)


def unmount_volumes(layout: Layout) -> None:
    """Unmount what pods had mounted below the data directory: memory volumes and parts of volumes."""
    libc = ctypes.CDLL(None, use_errno=True)
    for point in mounts_left(layout):
        libc.umount2(os.fsencode(point), _MNT_DETACH)


def mounts_left(layout: Layout) -> list[str]:
    """The mount points below the data directory. Behind a bind mount lie a user's own files."""
    return [
        point
        for point in mounts_below(Path("/proc/self/mountinfo").read_bytes(), str(layout.root))
        if point != str(layout.root)
    ]


def delete_data(layout: Layout) -> None:
    """Remove the data directory. Raises SampanError where a mount below it would take others' files along."""
    left = mounts_left(layout)
    if left:
        raise SampanError(
            f"{layout.root} was not removed: {left[0]} is still mounted. Unmount it, then run "
            "`sampan down --delete` again."
        )
    shutil.rmtree(layout.root)


async def _processes(layout: Layout, settings: Settings) -> None:
    import asyncio

    from sampan.node.runtimes.process.runtime import ProcessRuntime

    for name in settings.node_names():
        if not layout.processes(name).exists():
            continue
        runtime = ProcessRuntime(layout.processes(name))
        listing = await runtime.list()
        await asyncio.gather(*(runtime.stop_sandbox(sandbox.id) for sandbox in listing.sandboxes))
        await asyncio.gather(*(runtime.remove_sandbox(sandbox.id) for sandbox in listing.sandboxes))


async def _containers(layout: Layout, settings: Settings) -> None:
    import asyncio

    from sampan.cluster import machine
    from sampan.cluster.parts import containerd
    from sampan.network.proxy.kernel import LinuxKernel

    table = f"sampan-{settings.id}"
    async with asyncio.TaskGroup() as tasks:
        for number in range(settings.nodes):
            config = containerd.config_of(layout, settings, number)
            tasks.create_task(_node(config, containerd.cgroup_parent(settings, number)))
        tasks.create_task(LinuxKernel().apply(f"table inet {table}\ndelete table inet {table}\n"))
    with machine.locked():
        machine.release(settings)


async def _node(config: ContainerdConfig, cgroup_parent: str) -> None:
    from sampan.node.containerd import cleanup
    from sampan.node.containerd.process import ContainerdProcess

    # Where no pod can be left, containerd need not be started to remove them.
    if Path(config.state).exists():
        await cleanup.tear_down(ContainerdProcess(config), cgroup_parent=cgroup_parent, keep_images=True)
    else:
        await cleanup.sweep(config, cgroup_parent=cgroup_parent, keep_images=True)
