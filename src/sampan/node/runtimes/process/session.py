"""exec and attach by way of a container's keeper."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from sampan.node.runtimes.process import records, wire
from sampan.node.runtimes.process.wire import Hello
from sampan.node.runtimes.runtime import RuntimeFailure

_READ_BYTES = 64 * 1024
_GREETING_TIMEOUT_S = 30.0


async def open_session(directory: Path, hello: Hello) -> KeeperSession:
    """Have the container's keeper run or attach. Raises RuntimeFailure where it cannot, or is not there."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=_connect(directory))
    except OSError:
        raise RuntimeFailure("ExecError", f"The container {directory.name} is not running.") from None
    session = KeeperSession(reader, writer)
    try:
        async with asyncio.timeout(_GREETING_TIMEOUT_S):
            await session.greet(hello)
    except ConnectionError:
        await session.close()
        raise RuntimeFailure("ExecError", f"The container {directory.name} has just ended.") from None
    except BaseException:
        await session.close()
        raise
    return session


def _connect(directory: Path) -> socket.socket:
    """Connect through a descriptor of the directory, whose path may be longer than a socket's name can be."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    descriptor = -1
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        connection.connect(f"/proc/self/fd/{descriptor}/{records.CONTROL}")
    except OSError:
        connection.close()
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    connection.setblocking(False)
    return connection


class KeeperSession:
    """One connection to a keeper."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = wire.Decoder()
        self._early: list[tuple[int, bytes]] = []
        self._exit_code: int | None = None

    async def greet(self, hello: Hello) -> None:
        await self._write(wire.hello_frame(hello))
        while not self._early:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise RuntimeFailure("ExecError", "The container ended before the command could start.")
            self._early = self._decoder.feed(data)
        kind, payload = self._early.pop(0)
        if kind == wire.FAILED:
            raise RuntimeFailure("ExecError", f"The command cannot be started: {payload.decode()}.")

    async def _write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            raise BrokenPipeError("The command has ended.") from None

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), wire.MAX_FRAME_BYTES):
            await self._write(wire.frame(wire.STDIN, data[start : start + wire.MAX_FRAME_BYTES]))

    async def close_stdin(self) -> None:
        with suppress(BrokenPipeError):
            await self._write(wire.frame(wire.CLOSE_STDIN))

    async def resize(self, columns: int, rows: int) -> None:
        with suppress(BrokenPipeError):
            await self._write(wire.frame(wire.RESIZE, struct.pack("!HH", columns, rows)))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while self._exit_code is None:
            while self._early:
                kind, payload = self._early.pop(0)
                if kind == wire.EXIT:
                    self._exit_code = struct.unpack("!I", payload)[0]
                elif kind in (wire.STDOUT, wire.STDERR):
                    yield kind, payload
            if self._exit_code is not None:
                return
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                return
            self._early = self._decoder.feed(data)

    async def wait(self) -> int:
        """The exit code; reads on to the end where `output` has not."""
        async for _ in self.output():
            pass
        # A keeper that was killed took its programs' ends with it.
        return 137 if self._exit_code is None else self._exit_code

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
