"""Leaving nothing on the machine: containers, mounts, namespaces, bridges and tables of one cluster."""

from __future__ import annotations

import asyncio

from sampan.cluster.config import Layout, Settings


def teardown(layout: Layout, settings: Settings) -> None:
    """Remove everything that this cluster made outside its data directory. Idempotent."""
    asyncio.run(_teardown(layout, settings))


async def _teardown(layout: Layout, settings: Settings) -> None:
    if settings.runtime != "containerd":
        return
    from sampan.cluster.parts import containerd
    from sampan.network.proxy.kernel import LinuxKernel
    from sampan.node.containerd.cleanup import tear_down
    from sampan.node.containerd.process import ContainerdProcess

    await asyncio.gather(
        *(
            tear_down(
                ContainerdProcess(containerd.config_of(layout, settings, number)),
                cgroup_parent=containerd.cgroup_parent(settings),
                keep_images=True,
            )
            for number in range(settings.nodes)
        )
    )
    await LinuxKernel().apply(f"table inet sampan-{settings.id}\ndelete table inet sampan-{settings.id}\n")
