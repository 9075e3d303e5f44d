"""Leaving nothing on the machine: containers, mounts, namespaces, bridges and tables of one cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cluster.config import Layout, Settings

if TYPE_CHECKING:
    from sampan.node.containerd.config import ContainerdConfig


def teardown(layout: Layout, settings: Settings) -> None:
    """Remove everything that this cluster made outside its data directory. Idempotent."""
    if settings.runtime == "containerd":
        asyncio.run(_containers(layout, settings))
    elif settings.runtime == "process":
        asyncio.run(_processes(layout, settings))


async def _processes(layout: Layout, settings: Settings) -> None:
    from sampan.node.runtimes.process.runtime import ProcessRuntime

    for name in settings.node_names():
        if not layout.processes(name).exists():
            continue
        runtime = ProcessRuntime(layout.processes(name))
        listing = await runtime.list()
        await asyncio.gather(*(runtime.stop_sandbox(sandbox.id) for sandbox in listing.sandboxes))
        await asyncio.gather(*(runtime.remove_sandbox(sandbox.id) for sandbox in listing.sandboxes))


async def _containers(layout: Layout, settings: Settings) -> None:
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
