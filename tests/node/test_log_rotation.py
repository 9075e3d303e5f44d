"""Logs of running containers are rotated by the agent, with every runtime that writes files."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sampan.base.clock import SystemClock
from sampan.node.agent import Agent
from sampan.node.config import AgentConfig
from sampan.node.images import builtin
from sampan.node.runtimes.cri.runtime import CriRuntime
from sampan.node.runtimes.process.runtime import ProcessRuntime
from sampan.node.runtimes.runtime import Runtime
from tests.node.conftest import Node
from tests.node.runtime_conformance import eventually
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path

FILES = 3
TALK = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.005; done"


def run(runtime: Runtime, image: str, root: Path, steps: Callable[[Path], Awaitable[None]]) -> None:
    """An agent whose logs may have 2 kB, and a pod that writes more than that in a second."""
    config = AgentConfig(
        node_name="node-1",
        node_ips=("127.0.0.1",),
        root_dir=str(root / "agent"),
        log_dir=str(root / "logs"),
        log_most_bytes=2048,
        log_files=FILES,
        log_check_s=0.05,
    )

    async def everything() -> None:
        server = FakeApi()
        agent = Agent(server.client, runtime, config, SystemClock())
        running = asyncio.create_task(agent.run())
        talker = container("main", image=image, command=["/bin/sh", "-c", TALK])
        made = make_pod(containers=[talker], terminationGracePeriodSeconds=1)
        server.put(pod_path(), made)
        logs = root / "logs" / f"default_web_{made.metadata.uid}" / "main"
        try:
            await steps(logs)
            server.mark_deleted("web", grace_s=1)

            async def gone() -> bool:
                return not (await runtime.list()).sandboxes and not logs.exists()

            assert await eventually(gone)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for sandbox in (await runtime.list()).sandboxes:
                if sandbox.uid == made.metadata.uid:
                    await runtime.stop_sandbox(sandbox.id)
                    await runtime.remove_sandbox(sandbox.id)
            await runtime.close()

    asyncio.run(everything())


async def _rotated_often(logs: Path) -> None:
    """Names have whole seconds, so there is at most one rotation a second."""
    seen: set[str] = set()

    async def between_rotations() -> list[bytes]:
        rotated = sorted(logs.glob("0.log.*"))
        seen.update(path.name[:21] for path in rotated)
        if len(seen) <= FILES or [path.suffix == ".gz" for path in rotated] != [True, False]:
            return []
        assert [path.name[:21] for path in rotated] == sorted(seen)[-(FILES - 1) :]
        with suppress(FileNotFoundError):  # the next one has begun
            packed, plain = (path.read_bytes() for path in rotated)
            return [gzip.decompress(packed), plain, (logs / "0.log").read_bytes()]
        return []

    text = b"".join(await eventually(between_rotations)).decode()
    # Nothing was lost at the seams; the last line may be under way.
    numbers = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines()[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_of_processes(tmp_path: Path) -> None:
    run(ProcessRuntime(tmp_path / "state"), "host", tmp_path, _rotated_often)


@pytest.mark.containers
def test_of_containers(node: Node, tmp_path: Path) -> None:
    runtime = CriRuntime(node.process.socket_path, cgroup_parent=node.cgroup_parent)
    run(runtime, builtin.BUSYBOX, tmp_path, _rotated_often)


@pytest.mark.containers
def test_images_have_a_directory_on_a_disk(node: Node) -> None:
    async def steps() -> None:
        runtime = CriRuntime(node.process.socket_path)
        try:
            directory = await runtime.image_directory()
            assert directory.startswith(node.process.config.root) and Path(directory).is_dir()
            # What a cluster pins by these names must be known by them.
            listed = {tag for image in await runtime.list_images() for tag in image.tags}
            assert {builtin.PAUSE, builtin.BUSYBOX, builtin.PYTHON_HOST} <= listed
        finally:
            await runtime.close()

    asyncio.run(steps())
