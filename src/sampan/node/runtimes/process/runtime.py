"""The Runtime Protocol over plain processes of the host.

A container is a command of the host's own, in a session of its own under a keeper process. There is no
isolation: images are not unpacked, networks not separated, limits not set. Volumes appear at their paths
where the kernel lets this user mount; in any case SAMPAN_MOUNT_<PATH> names the host's directory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

import sampan
from sampan.base.clock import Clock, SystemClock
from sampan.base.ids import Ids, RandomIds
from sampan.node.containerd import pids
from sampan.node.images import reference as references
from sampan.node.runtimes.process import addresses, plans, records, sizes
from sampan.node.runtimes.process.session import KeeperSession, open_session
from sampan.node.runtimes.process.wire import Hello
from sampan.node.runtimes.runtime import (
    Container,
    ContainerSpec,
    Credentials,
    ExecResult,
    Image,
    Listing,
    Resources,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    State,
    Usage,
)

HOST_IMAGE = "host"
_SANDBOX = "sandbox.json"
_START_TIMEOUT_S = 30.0
# How a keeper that was killed, with its exit code lost, shows.
_LOST_CODE = 137
_CONNECT_TIMEOUT_S = 10.0
# Exits that nobody has asked for yet; the oldest is dropped, as a list finds it anyway.
_MAX_WAITING = 4096
# Interpreters of ours are started isolated, for speed, and find this package by their first argument.
_FIND_US = "import sys; sys.path.insert(0, sys.argv.pop(1)); from pathlib import Path; "
_KEEP = _FIND_US + "from sampan.node.runtimes.process import keeper; keeper.main(Path(sys.argv[1]))"
_TRY_MOUNTS = _FIND_US + "from sampan.node.runtimes.process import mounts; mounts.enter((), Path())"


class ProcessRuntime:
    """Pods as processes, with their records in `state_dir`."""

    def __init__(
        self,
        state_dir: Path,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        can_mount: bool | None = None,
    ) -> None:
        self.name = "process"
        self._sandboxes = state_dir / "sandboxes"
        self._containers = state_dir / "containers"
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._can_mount = can_mount
        self._exited: asyncio.Queue[str] = asyncio.Queue()
        self._watched: dict[str, asyncio.Task[None]] = {}
        for directory in (self._sandboxes, self._containers):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def version(self) -> str:
        return f"process://{sampan.__version__}"

    # -- what there is

    async def list(self) -> Listing:
        sandboxes = tuple(self._read_sandbox(path) for path in _subdirectories(self._sandboxes, _SANDBOX))
        containers = tuple(
            self._read_container(path) for path in _subdirectories(self._containers, records.CONTAINER)
        )
        for container in containers:
            if container.state is State.RUNNING:
                self._watch(container.id)
        return Listing(sandboxes, containers)

    def _read_sandbox(self, directory: Path) -> Sandbox:
        return msgspec.json.decode((directory / _SANDBOX).read_bytes(), type=Sandbox)

    def _read_container(self, directory: Path) -> Container:
        record = records.read_json(directory / records.CONTAINER)
        created = msgspec.convert(record["container"], Container)
        started = records.read_json(directory / records.STARTED)
        if started is None:
            return created
        running = msgspec.structs.replace(
            created, state=State.RUNNING, started_at=datetime.fromisoformat(started["started_at"])
        )
        ended = records.read_json(directory / records.EXITED)
        if ended is None and self._keeper(directory) is not None:
            return running
        # The keeper may have written it between our two looks.
        ended = records.read_json(directory / records.EXITED) or self._lost(directory)
        code = int(ended["exit_code"])
        return msgspec.structs.replace(
            running,
            state=State.EXITED,
            exit_code=code,
            reason="Error" if code else "Completed",
            finished_at=datetime.fromisoformat(ended["finished_at"]),
        )

    def _lost(self, directory: Path) -> dict[str, Any]:
        """The record of an end that nobody saw: the host was restarted, or the keeper killed."""
        ended = {"exit_code": _LOST_CODE, "finished_at": self._clock.now().isoformat()}
        records.write_json(directory / records.EXITED, ended)
        return ended

    def _keeper(self, directory: Path) -> pids.Identity | None:
        return pids.read(directory / records.KEEPER)

    async def exits(self) -> AsyncIterator[str]:
        await self.list()  # watches what was found running
        while True:
            yield await self._exited.get()

    def _watch(self, container_id: str) -> None:
        if container_id in self._watched:
            return
        keeper = self._keeper(self._containers / container_id)

        async def tell() -> None:
            if keeper is not None:  # else it has exited already
                await pids.wait(keeper)
            self._watched.pop(container_id, None)
            if self._exited.qsize() >= _MAX_WAITING:
                self._exited.get_nowait()
            self._exited.put_nowait(container_id)

        self._watched[container_id] = asyncio.ensure_future(tell())

    # -- sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        sandbox_id = self._ids.uid().replace("-", "")
        taken = {ip for each in (await self.list()).sandboxes for ip in each.ips}
        ip = addresses.HOST if spec.host_network else addresses.allocate(str(self._sandboxes), taken)
        sandbox = Sandbox(
            id=sandbox_id,
            namespace=spec.namespace,
            name=spec.name,
            uid=spec.uid,
            attempt=spec.attempt,
            ready=True,
            created_at=self._clock.now(),
            ips=(ip,),
            labels=dict(spec.labels),
            annotations=dict(spec.annotations),
        )
        (self._sandboxes / sandbox_id).mkdir()
        self._write_sandbox(sandbox)
        return sandbox_id

    def _write_sandbox(self, sandbox: Sandbox) -> None:
        records.write_json(self._sandboxes / sandbox.id / _SANDBOX, msgspec.to_builtins(sandbox))

    async def stop_sandbox(self, sandbox_id: str) -> None:
        containers = [each for each in (await self.list()).containers if each.sandbox_id == sandbox_id]
        await asyncio.gather(*(self.stop_container(each.id, 0) for each in containers))
        directory = self._sandboxes / sandbox_id
        if (directory / _SANDBOX).exists():
            self._write_sandbox(msgspec.structs.replace(self._read_sandbox(directory), ready=False))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self.stop_sandbox(sandbox_id)
        for each in (await self.list()).containers:
            if each.sandbox_id == sandbox_id:
                await self.remove_container(each.id)
        shutil.rmtree(self._sandboxes / sandbox_id, ignore_errors=True)

    # -- containers

    async def create_container(self, sandbox_id: str, sandbox: SandboxSpec, spec: ContainerSpec) -> str:
        is_there = (self._sandboxes / sandbox_id / _SANDBOX).exists()
        problem = plans.problem(spec) if is_there else f"The sandbox {sandbox_id} is not there."
        if problem:
            raise RuntimeFailure("CreateContainerError", problem)
        container_id = self._ids.uid().replace("-", "")
        ip = self._read_sandbox(self._sandboxes / sandbox_id).ips[0]
        can_mount = bool(spec.mounts) and await self._mounts_work()
        container = Container(
            id=container_id,
            sandbox_id=sandbox_id,
            name=spec.name,
            attempt=spec.attempt,
            state=State.CREATED,
            image=spec.image,
            image_ref=HOST_IMAGE,
            created_at=self._clock.now(),
            labels=dict(spec.labels),
            annotations=dict(spec.annotations),
        )
        directory = self._containers / container_id
        directory.mkdir(mode=0o700)
        plan = plans.plan_of(sandbox, spec, ip, can_mount)
        record = {"container": msgspec.to_builtins(container), "plan": plan._asdict()}
        records.write_json(directory / records.CONTAINER, record)
        return container_id

    async def _mounts_work(self) -> bool:
        """Whether this user may mount in a namespace of its own: tried once."""
        if self._can_mount is None:
            tried = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-c", _TRY_MOUNTS, _package_parent()),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            self._can_mount = await tried.wait() == 0
        return self._can_mount

    async def start_container(self, container_id: str) -> datetime:
        directory = self._containers / container_id
        if not (directory / records.CONTAINER).exists():
            raise RuntimeFailure("RunContainerError", f"The container {container_id} is not there.")
        if (directory / records.STARTED).exists():
            raise RuntimeFailure(
                "RunContainerError", f"The container {container_id} has been started before."
            )
        keeper = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-c", _KEEP, _package_parent(), str(directory)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        async with asyncio.timeout(_START_TIMEOUT_S):
            answer, _ = await keeper.communicate()
        if answer:
            text = f"The container's command cannot be started: {answer.decode(errors='replace')}."
            raise RuntimeFailure("RunContainerError", text)
        started = records.read_json(directory / records.STARTED)
        if started is None:
            raise RuntimeFailure(
                "RunContainerError", f"The keeper of container {container_id} ended at once."
            )
        self._watch(container_id)
        return datetime.fromisoformat(started["started_at"])

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        directory = self._containers / container_id
        keeper = self._keeper(directory)
        started = records.read_json(directory / records.STARTED)
        if keeper is None or started is None:
            return
        if grace_s > 0:
            _signal_group(started["pid"], signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await pids.wait(keeper)
                    return
        _signal_group(started["pid"], signal.SIGKILL)
        await pids.wait(keeper)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        shutil.rmtree(self._containers / container_id, ignore_errors=True)

    async def update_resources(self, container_id: str, resources: Resources) -> None:
        """Nothing: processes of the host have no limits of their own."""

    async def reopen_log(self, container_id: str) -> None:
        """Nothing: keepers see for themselves that their log was moved away."""

    # -- images: the host itself is the only one

    async def find_image(self, reference: str) -> Image | None:
        if references.is_image_id(reference) or reference == HOST_IMAGE:
            return Image(HOST_IMAGE, (reference,), (), 0)
        try:
            references.parse(reference)
        except ValueError as error:
            raise RuntimeFailure("InvalidImageName", str(error)) from None
        return Image(HOST_IMAGE, (reference,), (), 0)

    async def pull_image(self, reference: str, credentials: Credentials | None) -> Image:
        image = await self.find_image(reference)
        assert image is not None
        return image

    async def list_images(self) -> Sequence[Image]:
        return [Image(HOST_IMAGE, (HOST_IMAGE,), (), 0)]

    async def remove_image(self, reference: str) -> None:
        """Nothing: the host stays."""

    async def mount_image(self, image: Image, name: str, directory: str) -> None:
        raise RuntimeFailure(
            "CreateContainerError",
            "an image volume needs images, and this node runs the host's own programs; use containerd",
        )

    async def release_image(self, name: str) -> None:
        """Nothing: there is none."""

    async def image_directory(self) -> str:
        return ""

    # -- inside containers

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        session = await self._session(container_id, Hello(tuple(command)))
        found = {1: bytearray(), 2: bytearray()}
        try:
            async with asyncio.timeout(timeout_s if timeout_s > 0 else None):
                async for stream, data in session.output():
                    found[stream] += data
                code = await session.wait()
        except TimeoutError:
            raise TimeoutError(f"{command[0]} ran longer than {timeout_s} s.") from None
        finally:
            await session.close()
        return ExecResult(code, bytes(found[1]), bytes(found[2]))

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool
    ) -> KeeperSession:
        return await self._session(container_id, Hello(tuple(command), tty, stdin))

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> KeeperSession:
        return await self._session(container_id, Hello(tty=tty, stdin=stdin))

    async def _session(self, container_id: str, hello: Hello) -> KeeperSession:
        return await open_session(self._containers / container_id, hello)

    async def open_port(self, sandbox_id: str, port: int) -> tuple[int, int]:
        directory = self._sandboxes / sandbox_id
        if not (directory / _SANDBOX).exists():
            raise ConnectionRefusedError(f"The sandbox {sandbox_id} is not there.")
        loop = asyncio.get_running_loop()
        # Programs that know nothing of SAMPAN_POD_IP listen everywhere, or on 127.0.0.1 alone.
        for address in (*self._read_sandbox(directory).ips, addresses.HOST):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            connection.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    await loop.sock_connect(connection, (address, port))
            except OSError:
                connection.close()
                continue
            except BaseException:
                connection.close()
                raise
            return connection.detach(), int(socket.AF_INET)
        raise ConnectionRefusedError(f"Port {port} of the pod cannot be reached: nothing listens.")

    async def usage(self) -> Sequence[Usage]:
        leaders = {
            started["pid"]: directory.name
            for directory in _subdirectories(self._containers, records.STARTED)
            if self._keeper(directory) is not None
            and (started := records.read_json(directory / records.STARTED))
        }
        used = await asyncio.to_thread(sizes.of_sessions, set(leaders))
        return [Usage(leaders[leader], *each) for leader, each in used.items()]

    async def close(self) -> None:
        """Stop watching; containers go on."""
        for task in list(self._watched.values()):
            task.cancel()
        await asyncio.gather(*self._watched.values(), return_exceptions=True)
        self._watched.clear()


def _package_parent() -> str:
    """Where the keeper's interpreter, which looks nowhere by itself, finds this package."""
    return str(Path(sampan.__file__).parent.parent)


def _subdirectories(parent: Path, holding: str) -> list[Path]:
    """The directories that hold a record: one without it is still being made, or being removed."""
    return sorted(each for each in parent.iterdir() if (each / holding).exists())


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
