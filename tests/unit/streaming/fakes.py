"""A node with one pod, whose container is whatever a test makes of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sampan.node.handles import ContainerHandle
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.schema import api


class FakeSession:
    """Echoes its input until that ends, then exits with `code`; or ends by itself when told to."""

    def __init__(self, code: int = 0, *, reads: bool = True) -> None:
        self.code = code
        self.sizes: list[tuple[int, int]] = []
        self.closed = asyncio.Event()
        self.written = 0
        self.reads = asyncio.Event()
        if reads:
            self.reads.set()
        self._lines: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()

    async def write(self, data: bytes) -> None:
        await self.reads.wait()
        self.written += len(data)
        self._lines.put_nowait((1, data))

    async def close_stdin(self) -> None:
        self.say(2, b"end of input")
        self.finish()

    def say(self, stream: int, data: bytes) -> None:
        self._lines.put_nowait((stream, data))

    def finish(self) -> None:
        self._lines.put_nowait(None)

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))
        self.say(1, b"resized")

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while (line := await self._lines.get()) is not None:
            yield line

    async def wait(self) -> int:
        return self.code

    async def close(self) -> None:
        self.closed.set()


class FakeRuntime:
    """Gives the sessions that it is given; `port` is the only one that answers."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.begun: list[tuple[Any, ...]] = []
        self.port = 0

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> FakeSession:
        self.begun.append((container_id, tuple(command), tty, stdin))
        if not self.sessions:
            raise RuntimeFailure("ExecError", "no such command")
        return self.sessions.pop(0)

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> FakeSession:
        self.begun.append((container_id, tty, stdin))
        return self.sessions.pop(0)

    async def open_port(self, sandbox_id: str, port: int) -> tuple[int, int]:
        if port != self.port:
            raise ConnectionRefusedError(f"nothing listens on port {port}")
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return connection.detach(), int(socket.AF_INET)


class FakeHost:
    """One pod `web` with a container `main`."""

    def __init__(self, log_path: str = "") -> None:
        self.runtime: Any = FakeRuntime()
        self.running = True
        self.log_path = log_path
        self.state = api.ContainerState(running=api.ContainerStateRunning())

    def pods(self) -> list[api.Pod]:
        status = api.ContainerStatus(
            name="main", image="i", imageID="i", state=self.state, containerID="fake://1"
        )
        return [
            api.Pod(
                metadata=api.ObjectMeta(name="web", namespace="shop"),
                spec=api.PodSpec(containers=[api.Container(name="main")]),
                status=api.PodStatus(containerStatuses=[status]),
            )
        ]

    def find_container(self, namespace: str, pod: str, container: str) -> ContainerHandle | None:
        if (namespace, pod, container) != ("shop", "web", "main"):
            return None
        return ContainerHandle(
            namespace=namespace,
            pod=pod,
            uid="u",
            container=container,
            container_id="1",
            sandbox_id="s",
            attempt=0,
            running=self.running,
            log_path=self.log_path,
            previous_log_path="",
            previous_container_id="",
            tty=False,
            stdin=True,
            stdin_once=False,
        )

    def find_sandbox(self, namespace: str, pod: str) -> str:
        return "s"


class FakeWire:
    """A client whose events come from a queue; None is its going away."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Any] = asyncio.Queue()
        self.taken = 0
        self.said: list[tuple[int, bytes]] = []
        self.ended: list[int | str] = []

    async def events(self) -> AsyncIterator[Any]:
        while (event := await self.coming.get()) is not None:
            self.taken += 1
            yield event

    async def send(self, stream: int, data: bytes) -> None:
        self.said.append((stream, data))

    async def end(self, exit_code: int) -> None:
        self.ended.append(exit_code)

    async def fail(self, message: str) -> None:
        self.ended.append(message)
