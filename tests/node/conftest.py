"""A private containerd for the tests of this folder; nothing of it is left afterwards."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.node.containerd import cleanup, host
from sampan.node.containerd.config import ContainerdConfig, bridge_name
from sampan.node.containerd.process import ContainerdProcess
from sampan.node.images import builtin
from sampan.node.images.importing import import_image

# Ranges of ours: tests that run side by side in different processes get different third octets.
SUBNET = f"10.229.{os.getpid() % 250}.0/24"


@dataclass(frozen=True)
class Node:
    """A running containerd and its directory."""

    process: ContainerdProcess
    directory: Path
    cgroup_parent: str


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    with tempfile.TemporaryDirectory(prefix="sampan-node-") as name:
        directory = Path(name)
        facts = host.look(name)
        assert not facts.problems, facts.problems
        mark = f"t{os.getpid()}"
        config = ContainerdConfig(
            data_dir=f"{name}/containerd",
            sandbox_image=builtin.PAUSE,
            bridge=bridge_name(mark),
            pod_subnets=(SUBNET,),
            cni_bin_dir=facts.cni_bin_dir,
            snapshotter=facts.snapshotter,
            systemd_cgroup=facts.systemd_cgroup,
            restrict_oom_score_adj=not facts.can_lower_oom_score,
        )
        process = ContainerdProcess(config)
        parent = f"/sampan-{mark}"

        async def up() -> None:
            await process.start()
            for build in (builtin.build_pause, builtin.build_busybox, builtin.build_python_host):
                await import_image(process.socket_path, build(directory / f"{build.__name__}.tar"))

        try:
            asyncio.run(up())
            yield Node(process, directory, parent)
        finally:
            asyncio.run(cleanup.tear_down(process, cgroup_parent=parent))
