"""exec through containerd's Tasks service: pipes of our own, no streaming server between.

The process gets the container's own environment, user, capabilities and working directory.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sampan.base.clock import Clock
from sampan.base.ids import RandomIds
from sampan.node.runtimes.cri.client import CONTAINERS, TASKS, CriClient, NotFound
from sampan.node.runtimes.cri.fifo import FifoReader, FifoWriter
from sampan.node.runtimes.runtime import RuntimeFailure

_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_SIGKILL = 9
# An exec may run for days; only its end ends the call.
_WAIT_TIMEOUT_S = 10 * 365 * 86400.0
# A background process may hold the output open after its parent's exit; kubelet gives up on it likewise.
_DRAIN_S = 2.0
# A process that the kernel holds (a dead NFS server) does not even leave when killed.
_KILL_WAIT_S = 5.0
# (stream, block) pairs that wait for a slow client.
_MAX_WAITING = 16


def process_spec(spec: bytes, command: Sequence[str], *, tty: bool) -> bytes:
    """The OCI process of an exec, from the container's own OCI specification."""
    process: dict[str, Any] = msgspec.json.decode(spec)["process"]
    process["args"] = list(command)
    process["terminal"] = tty
    # The kernel refuses scores below the container's own; an exec inherits it.
    process.pop("oomScoreAdj", None)
    process.pop("consoleSize", None)
    if tty:
        env = [each for each in process.get("env", ()) if not each.startswith("TERM=")]
        process["env"] = [*env, "TERM=xterm"]
    return msgspec.json.encode(process)


async def start_exec(
    client: CriClient, clock: Clock, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool
) -> ExecSession:
    """Start a command in a running container. Raises RuntimeFailure where it cannot be started."""
    answer = await client.call(CONTAINERS, "Get", id=container_id)
    spec = process_spec(answer.container.spec.value, command, tty=tty)
    session = ExecSession(client, clock, container_id, tty=tty, stdin=stdin)
    try:
        await session.start(spec)
    except BaseException:
        await session.close()
        raise
    return session


class ExecSession:
    """A process that containerd runs inside a container, with its pipes."""

    def __init__(self, client: CriClient, clock: Clock, container_id: str, *, tty: bool, stdin: bool) -> None:
        self._client = client
        self._clock = clock
        self._tty = tty
        self._ids: dict[str, Any] = {"container_id": container_id, "exec_id": f"sampan-{RandomIds().uid()}"}
        self._directory = Path(tempfile.mkdtemp(prefix="sampan-exec-"))
        self._input = FifoWriter(self._make("stdin")) if stdin else None
        # A terminal has one output.
        streams = (1,) if tty else (1, 2)
        self._outputs = {stream: FifoReader(self._make(str(stream))) for stream in streams}
        self._exit: asyncio.Task[int] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._gone = False

    def _make(self, name: str) -> str:
        path = str(self._directory / name)
        os.mkfifo(path, 0o600)
        return path

    async def start(self, spec: bytes) -> None:
        await self._client.call(
            TASKS,
            "Exec",
            **self._ids,
            terminal=self._tty,
            stdin=str(self._directory / "stdin") if self._input is not None else "",
            stdout=str(self._directory / "1"),
            stderr="" if self._tty else str(self._directory / "2"),
            spec={"type_url": _PROCESS_TYPE, "value": spec},
        )
        try:
            await self._client.call(TASKS, "Start", **self._ids)
        except BaseException:
            with suppress(RuntimeFailure):
                await self._client.call(TASKS, "DeleteProcess", **self._ids)
            raise
        self._exit = asyncio.ensure_future(self._wait_for_exit())

    async def _wait_for_exit(self) -> int:
        try:
            answer = await self._client.call(TASKS, "Wait", timeout_s=_WAIT_TIMEOUT_S, **self._ids)
        finally:
            self._drain = asyncio.ensure_future(self._end_outputs())
        with suppress(RuntimeFailure):
            await self._client.call(TASKS, "DeleteProcess", **self._ids)
        return int(answer.exit_status)

    async def _end_outputs(self) -> None:
        await self._clock.sleep(_DRAIN_S)
        for reader in self._outputs.values():
            reader.end()

    async def write(self, data: bytes) -> None:
        if self._input is None:
            raise BrokenPipeError("The command was started without standard input.")
        await self._input.write(data)

    async def close_stdin(self) -> None:
        if self._input is None:
            return
        self._input.close()
        # The shim holds the pipe open as well, so that a client which goes away does not end the input.
        with suppress(NotFound):
            await self._client.call(TASKS, "CloseIO", **self._ids, stdin=True)

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(NotFound):
            await self._client.call(TASKS, "ResizePty", **self._ids, width=columns, height=rows)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, bytes) and (2, bytes) until both end."""
        blocks: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(_MAX_WAITING)

        async def pump(stream: int, reader: FifoReader) -> None:
            async for data in reader.blocks():
                await blocks.put((stream, data))
            await blocks.put((stream, b""))

        pumps = [asyncio.ensure_future(pump(*each)) for each in self._outputs.items()]
        try:
            still_open = len(pumps)
            while still_open:
                stream, data = await blocks.get()
                if data:
                    yield stream, data
                else:
                    still_open -= 1
        finally:
            for each in pumps:
                each.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def wait(self) -> int:
        if self._exit is None:
            raise RuntimeFailure("ExecError", "The command was never started.")
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        """Let the pipes go, and kill what still runs: without a reader its output would block it for ever."""
        if self._gone:
            return
        self._gone = True
        if self._input is not None:
            self._input.close()
        if self._exit is not None:
            if not self._exit.done():
                with suppress(RuntimeFailure):
                    await self._client.call(TASKS, "Kill", **self._ids, signal=_SIGKILL)
            await asyncio.wait({self._exit}, timeout=_KILL_WAIT_S)
            self._exit.cancel()
            with suppress(RuntimeFailure, asyncio.CancelledError):
                await self._exit
        if self._drain is not None:
            self._drain.cancel()
        for reader in self._outputs.values():
            reader.end()
        shutil.rmtree(self._directory, ignore_errors=True)
