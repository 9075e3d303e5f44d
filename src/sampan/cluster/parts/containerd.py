"""The private containerd of a node: what it is told, and the images that it must hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sampan.cluster.config import Layout, Settings
from sampan.node.containerd import host
from sampan.node.containerd.config import ContainerdConfig
from sampan.node.images import builtin
from sampan.node.images.importing import import_image
from sampan.node.runtimes.cri.runtime import CriRuntime

# Reference, file name, how to build it. The first two are needed before any pod can start.
BUILTIN: tuple[tuple[str, str, Callable[[Path], Path]], ...] = (
    (builtin.PAUSE, "pause.tar", builtin.build_pause),
    (builtin.PYTHON_HOST, "python-host.tar", builtin.build_python_host),
    (builtin.BUSYBOX, "busybox.tar", builtin.build_busybox),
)


def config_of(layout: Layout, settings: Settings, number: int) -> ContainerdConfig:
    """The configuration of a node's containerd, from what the machine has."""
    data_dir = str(layout.node(settings.node_names()[number]) / "containerd")
    machine = host.look(data_dir)
    return ContainerdConfig(
        data_dir=data_dir,
        sandbox_image=builtin.PAUSE,
        cni_bin_dir=machine.cni_bin_dir or "/usr/lib/cni",
        bridge=settings.bridge(number),
        pod_subnets=(settings.pod_subnet(number),),
        snapshotter=machine.snapshotter,
        systemd_cgroup=machine.systemd_cgroup,
        restrict_oom_score_adj=not machine.can_lower_oom_score,
    )


def cgroup_parent(settings: Settings, number: int) -> str:
    """Where the node's pods have their cgroups: its own, so that nodes can be swept side by side."""
    return f"/sampan-{settings.id}-{number}"


async def ensure_image(
    layout: Layout, runtime: CriRuntime, socket: str, image: tuple[str, str, Callable[[Path], Path]]
) -> None:
    """Import a built-in image where the node does not hold it yet."""
    reference, file_name, build = image
    if await runtime.find_image(reference) is not None:
        return
    folder = layout.root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name
    if not path.exists():
        # Nodes of one machine may build at once; the name is their own until the file is whole.
        build(path.with_suffix(f".{os.getpid()}")).replace(path)
    await import_image(socket, path)
