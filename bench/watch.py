"""How long changes take to reach many watchers of one kind.

usage: python bench/watch.py [--watchers 1000] [--changes 200 100 50] [--seconds 5]

Starts an API server process on SQLite over TLS. A second process holds one TLS connection for each watcher of
the ConfigMaps of one namespace and notes when it reads what; this one makes so many changes a second, with
the time of its request in each. A delivery is counted from the request of the change until its line was read.
With few cores the readers' share of the machine is as large as the server's, so both are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import select
import socket
import ssl
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from api import TOKEN, Server, call, running

PATH = "/api/v1/namespaces/watched/configmaps"
HEAD = f"Host: bench\r\nAuthorization: Bearer {TOKEN}\r\n"
OBJECTS = 200
CONNECTIONS = 16
# How long after the last change deliveries are waited for.
SETTLE_S = 20.0
ASKED_MS = 50.0
READ_BYTES = 65_536
_STAMP = re.compile(rb'"at":"(\d+)"')


class Told(NamedTuple):
    """What the readers found out."""

    late_ns: list[int]
    cpu_s: float


class Readers:
    """Many watches in one process of its own, read as cheaply as Python can."""

    def __init__(self, port: int, watchers: int, since: str, pipe: Connection) -> None:
        context = ssl._create_unverified_context()
        self._pipe = pipe
        self._poll = select.epoll()
        self._by_fd: dict[int, Any] = {}
        self._rest: dict[int, bytes] = {}
        self._sockets = [self._open(port, since, context) for _ in range(watchers)]

    def _open(self, port: int, since: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        made = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
        made.sendall(f"GET {PATH}?watch=1&resourceVersion={since} HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert made.recv(64).startswith(b"HTTP/1.1 200"), "the watch was refused"
        made.setblocking(False)
        self._poll.register(made.fileno(), select.EPOLLIN)
        # The object below the socket: one call less for each read.
        self._by_fd[made.fileno()] = made._sslobj  # type: ignore[attr-defined]
        return made

    def serve(self) -> None:
        """Answer each number of changes with their lateness, once all of them have come."""
        self._read(0.5)
        self._pipe.send(None)
        while (wanted := self._pipe.recv()) is not None:
            began_s, read = time.process_time(), []
            self._pipe.send(None)
            until_s = time.monotonic() + wanted
            while time.monotonic() < until_s and not self._pipe.poll():
                read += self._read(0.1)
            made = self._pipe.recv() * len(self._sockets)
            until_s = time.monotonic() + SETTLE_S
            count = sum(len(_STAMP.findall(data)) for _, data in read)
            while count < made and time.monotonic() < until_s:
                more = self._read(0.1)
                count += sum(len(_STAMP.findall(data)) for _, data in more)
                read += more
            self._pipe.send(Told(lateness(read), time.process_time() - began_s))

    def _read(self, wait_s: float) -> list[tuple[int, bytes]]:
        """What is there to be read, with the times when it was."""
        found = []
        for fd, _ in self._poll.poll(wait_s):
            while True:
                try:
                    data = self._by_fd[fd].read(READ_BYTES)
                except ssl.SSLWantReadError:
                    break
                assert data, "a watch has ended"
                if fd in self._rest:
                    data = self._rest.pop(fd) + data
                if not data.endswith(b"\r\n"):
                    self._rest[fd] = data
                    continue
                found.append((time.monotonic_ns(), data))
                break
        return found


def lateness(read: list[tuple[int, bytes]]) -> list[int]:
    stamps: dict[bytes, list[int]] = {}
    late_ns: list[int] = []
    for now_ns, data in read:
        known = stamps.get(data)
        if known is None:
            known = stamps[data] = [int(at) for at in _STAMP.findall(data)]
        late_ns.extend(now_ns - at for at in known)
    return late_ns


def read_all(port: int, watchers: int, since: str, pipe: Connection) -> None:
    Readers(port, watchers, since, pipe).serve()


class Patcher(asyncio.Protocol):
    """A connection that makes one change after the other."""

    def __init__(self, idle: asyncio.Queue[Patcher]) -> None:
        self._idle = idle
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._idle.put_nowait(self)

    def patch(self, name: str) -> None:
        body = json.dumps({"data": {"at": str(time.monotonic_ns())}})
        head = f"PATCH {PATH}/{name} HTTP/1.1\r\n{HEAD}Content-Type: application/merge-patch+json\r\n"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and length is not None and len(body) >= int(length[1]):
            assert head.startswith(b"HTTP/1.1 200"), self._data[:300]
            self._data = b""
            self._idle.put_nowait(self)


async def change(port: int, changes: int, seconds: float) -> tuple[int, float]:
    """Patch ConfigMaps `changes` times a second; returns how often, and how many seconds it took."""
    loop = asyncio.get_running_loop()
    context = ssl._create_unverified_context()
    idle: asyncio.Queue[Patcher] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Patcher(idle), "127.0.0.1", port, ssl=context)
    began_s = loop.time()
    made = int(changes * seconds)
    for number in range(made):
        await asyncio.sleep(max(0.0, began_s + number / changes - loop.time()))
        # Different objects: patches of one object that wait for each other are committed as one change.
        (await idle.get()).patch(f"c{number % OBJECTS}")
    for _ in range(CONNECTIONS):
        await idle.get()
    return made, loop.time() - began_s


def measure(server: Server, pipe: Connection, watchers: int, changes: int, seconds: float) -> None:
    port = int(server.url.rpartition(":")[2])
    pipe.send(seconds + SETTLE_S)
    pipe.recv()
    began_cpu_s = server.cpu_s()
    made, took_s = uvloop.run(change(port, changes, seconds))
    pipe.send(made)
    told: Told = pipe.recv()
    used_s = server.cpu_s() - began_cpu_s
    late_ns = sorted(told.late_ns)
    count = len(late_ns)
    parts = [late_ns[int((count - 1) * part)] / 1e6 for part in (0.5, 0.99, 1.0)]
    print(
        f"{watchers} watchers, {made / took_s:.0f} changes/s of {changes} asked: "
        f"{count} of {made * watchers} delivered, p50 {parts[0]:.1f} ms, p99 {parts[1]:.1f} ms, "
        f"most {parts[2]:.1f} ms ({ASKED_MS:.0f} asked for p99); "
        f"server {used_s / max(1, count) * 1e6:.1f} us of CPU a delivery, "
        f"{used_s / took_s * 100:.0f} % of a core; "
        f"readers {told.cpu_s / took_s * 100:.0f} %",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--changes", type=int, nargs="+", default=[200, 100, 50])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--profile", default="", help="write the server's cProfile figures to this file")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sampan-bench-") as name,
        running("sampan", Path(name), options.profile) as server,
    ):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched"}}
        call(f"{server.url}/api/v1/namespaces", "POST", json.dumps(space).encode())
        for number in range(OBJECTS):
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            code, body = call(f"{server.url}{PATH}", "POST", json.dumps(made).encode())
            assert code == 201, body
        ours, theirs = multiprocessing.Pipe()
        port = int(server.url.rpartition(":")[2])
        # The first patches load what patches need.
        uvloop.run(change(port, OBJECTS, 1))
        since = json.loads(call(f"{server.url}{PATH}?limit=1")[1])["metadata"]["resourceVersion"]
        work = (port, options.watchers, since, theirs)
        readers = multiprocessing.Process(target=read_all, args=work, daemon=True)
        readers.start()
        ours.recv()
        for changes in options.changes:
            measure(server, ours, options.watchers, changes, options.seconds)
        ours.send(None)
        readers.join()


if __name__ == "__main__":
    main()
