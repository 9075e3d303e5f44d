"""The life of a private containerd: what outlives it, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from sampan.node.containerd import cleanup, host, pids
from sampan.node.containerd.config import ContainerdConfig, bridge_name
from sampan.node.containerd.process import ContainerdFailure, ContainerdProcess
from sampan.node.images import builtin
from sampan.node.images.importing import import_image
from sampan.node.images.oci import ImageConfig, build_image
from sampan.node.runtimes.cri.runtime import CriRuntime
from sampan.node.runtimes.runtime import RuntimeFailure, State
from tests.node.runtime_conformance import DEADLINE_S, Pod, Subject, eventually, pod_of

pytestmark = pytest.mark.containers

FOREVER = ("/bin/sh", "-c", "while :; do sleep 0.1; done")


@pytest.fixture
def directory() -> Iterator[Path]:
    # Short, as a socket's path is made from it.
    with tempfile.TemporaryDirectory(prefix="sampan-node-") as name:
        yield Path(name)


def config_in(directory: Path, number: int) -> ContainerdConfig:
    facts = host.look(str(directory))
    return ContainerdConfig(
        data_dir=f"{directory}/c{number}",
        sandbox_image=builtin.PAUSE,
        bridge=bridge_name(f"{os.getpid() % 100000}x{number}"),
        pod_subnets=(f"10.230.{number}.0/24",),
        cni_bin_dir=facts.cni_bin_dir,
        snapshotter=facts.snapshotter,
        systemd_cgroup=facts.systemd_cgroup,
        restrict_oom_score_adj=not facts.can_lower_oom_score,
    )


@asynccontextmanager
async def running(directory: Path, number: int = 1) -> AsyncIterator[ContainerdProcess]:
    process = ContainerdProcess(config_in(directory, number))
    try:
        await process.start()
        for build in (builtin.build_pause, builtin.build_busybox):
            await import_image(process.socket_path, build(directory / "image.tar"))
        yield process
    finally:
        await cleanup.tear_down(process, cgroup_parent=parent_of(process))


def parent_of(process: ContainerdProcess) -> str:
    return f"/{process.config.bridge}"


def runtime_of(process: ContainerdProcess) -> CriRuntime:
    return CriRuntime(process.socket_path, cgroup_parent=parent_of(process))


def subject_of(process: ContainerdProcess, directory: Path) -> Subject:
    return Subject(lambda: runtime_of(process), builtin.BUSYBOX, directory / "logs", directory)


async def kill(process: ContainerdProcess) -> None:
    identity = pids.identify(process.pid or 0)
    assert identity is not None
    pids.send(identity, signal.SIGKILL)
    await pids.wait(identity)


def traces(config: ContainerdConfig) -> list[str]:
    """Everything of one containerd that can be found on the host."""
    found = [f"shim {pid}" for pid in cleanup.shims(config.address)]
    found += cleanup.mounts_below(Path("/proc/self/mountinfo").read_bytes(), config.data_dir)
    found += [name for _, name in socket.if_nameindex() if name == config.bridge]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{config.bridge}")]
    found += [config.data_dir] if Path(config.data_dir).exists() else []
    return found


def test_images_that_share_a_layer_are_imported_one_after_the_other(directory: Path) -> None:
    """containerd answers "already there" to the first message; many that follow must not hide that."""
    tree = directory / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(bytes(8 << 20))

    async def main() -> None:
        async with running(directory) as process:
            for turn in range(3):
                for user in ("", "1234"):
                    name = f"sampan.local/shared-{user or 'root'}:1"
                    image = build_image(tree, name, ImageConfig(user=user), directory / f"{turn}{user}.tar")
                    assert await import_image(process.socket_path, image) == [name]

    asyncio.run(main())


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_containers_outlive_containerd(directory: Path, end: str) -> None:
    async def main() -> None:
        async with running(directory) as process:
            runtime = runtime_of(process)
            async with pod_of(subject_of(process, directory), runtime) as pod:
                container = await pod.start(*FOREVER)
                before = await pod.container(container)
                if end == "kill":
                    await kill(process)
                else:
                    await process.stop()
                await process.start()
                after = await pod.container(container)
                assert after == before
                assert after.state is State.RUNNING
                assert (await runtime.exec_sync(container, ("echo", "still"), 5)).stdout == b"still\n"
            await runtime.close()

    asyncio.run(main())


def test_watch_starts_a_killed_containerd_again_and_exits_reconnect(directory: Path) -> None:
    async def main() -> None:
        async with running(directory) as process:
            watching = asyncio.ensure_future(process.watch())
            runtime = runtime_of(process)
            subject = subject_of(process, directory)
            async with pod_of(subject, runtime) as pod:
                seen: set[str] = set()

                async def listen() -> None:
                    async for exited in runtime.exits():
                        seen.add(exited)

                listening = asyncio.ensure_future(listen())
                first = process.pid
                assert first is not None
                os.kill(first, signal.SIGKILL)

                async def back() -> bool:
                    return process.pid != first and await process.healthy()

                await eventually(back)

                async def told() -> bool:
                    container = await pod.start("/bin/true", name=f"n{len(pod.containers)}")
                    await pod.exited(container)
                    await asyncio.sleep(0.05)
                    return bool(seen & set(pod.containers))

                await eventually(told)
                listening.cancel()
            await runtime.close()
            watching.cancel()
            await asyncio.gather(listening, watching, return_exceptions=True)

    asyncio.run(main())


def test_a_running_containerd_is_adopted(directory: Path) -> None:
    async def main() -> None:
        async with running(directory) as process:
            other = ContainerdProcess(process.config)
            await other.start()
            assert other.pid == process.pid
            changed = ContainerdProcess(msgspec.structs.replace(process.config, log_level="info"))
            await changed.start()
            assert changed.pid != process.pid

    asyncio.run(main())


def test_tear_down_leaves_nothing(directory: Path) -> None:
    async def main() -> None:
        async with running(directory) as process:
            runtime = runtime_of(process)
            async with pod_of(subject_of(process, directory), runtime) as pod:
                await pod.start(*FOREVER)
                assert len(traces(process.config)) > 3
                await cleanup.tear_down(process, cgroup_parent=parent_of(process))
                assert traces(process.config) == []
                await runtime.close()
                pod.containers.clear()
                # For the end of pod_of: it finds an empty runtime, as after a new `up`.
                await process.start()

    asyncio.run(main())


def test_sweep_alone_removes_the_remains_of_a_killed_containerd(directory: Path) -> None:
    async def main() -> None:
        config = config_in(directory, 1)
        process = ContainerdProcess(config)
        try:
            await process.start()
            for build in (builtin.build_pause, builtin.build_busybox):
                await import_image(process.socket_path, build(directory / "image.tar"))
            runtime = runtime_of(process)
            subject = subject_of(process, directory)
            async with asyncio.timeout(DEADLINE_S):
                context = pod_of(subject, runtime)
                pod: Pod = await context.__aenter__()
                await pod.start(*FOREVER)
            await runtime.close()
            await kill(process)
            assert len(traces(config)) > 3
            for _ in range(2):
                await cleanup.sweep(config, cgroup_parent=parent_of(process))
                assert traces(config) == []
        finally:
            await cleanup.sweep(config, cgroup_parent=parent_of(process))

    asyncio.run(main())


def test_two_clusters_run_side_by_side(directory: Path) -> None:
    async def main() -> None:
        async with running(directory, 1) as first, running(directory, 2) as second:
            runtimes = runtime_of(first), runtime_of(second)
            async with (
                pod_of(subject_of(first, directory), runtimes[0]) as one,
                pod_of(subject_of(second, directory), runtimes[1]) as two,
            ):
                assert [each.id for each in (await runtimes[0].list()).sandboxes] == [one.id]
                [other] = (await runtimes[1].list()).sandboxes
                assert other.id == two.id
                assert other.ips[0].startswith("10.230.2.")
                await cleanup.tear_down(second, cgroup_parent=parent_of(second))
                container = await one.start(*FOREVER)
                assert (await one.container(container)).state is State.RUNNING
                await second.start()
            for runtime in runtimes:
                await runtime.close()

    asyncio.run(main())


def test_owners_that_share_a_containerd_see_only_their_own(directory: Path) -> None:
    async def main() -> None:
        async with running(directory) as process:
            mine, theirs = (CriRuntime(process.socket_path, owner=name) for name in ("mine", "theirs"))
            async with pod_of(subject_of(process, directory), mine) as pod:
                container = await pod.start(*FOREVER)
                assert [each.id for each in (await mine.list()).containers] == [container]
                empty = await theirs.list()
                assert (empty.sandboxes, empty.containers) == ((), ())
            await mine.close()
            await theirs.close()

    asyncio.run(main())


def test_a_containerd_that_cannot_start_says_why(directory: Path) -> None:
    async def main() -> None:
        config = config_in(directory, 1)
        Path(config.data_dir).mkdir()
        # Its root is a file: containerd cannot make a directory there.
        Path(config.root).write_text("")
        with pytest.raises(ContainerdFailure, match="not a directory"):
            await ContainerdProcess(config).start()

    asyncio.run(main())


def test_a_runtime_without_containerd_is_unavailable(directory: Path) -> None:
    async def main() -> None:
        runtime = CriRuntime(str(directory / "nothing.sock"))
        with pytest.raises(RuntimeFailure, match="does not answer") as failure:
            await runtime.version()
        assert failure.value.reason == "RuntimeUnavailable"
        await runtime.close()

    asyncio.run(main())
