"""How long changes take to reach many watchers of one kind.

usage: python bench/watch.py [--watchers 1000] [--changes 200 100 50] [--seconds 5]

Starts an API server process on SQLite over TLS. A second process holds one TLS connection for each
watcher of the ConfigMaps of one namespace and notes when bytes come on which; this one makes so many
changes a second, with the time of its request in each. A delivery is counted from the request of the
change until the last byte of its line was read from the socket; what was read is decrypted when all of
it has come, so that the readers, which elsewhere would be other machines, take little of this one's few
cores.
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
from channel import Channel, channels, request

PATH = "/api/v1/namespaces/watched/configmaps"
OBJECTS = 200
CONNECTIONS = 16
# How long after the last change deliveries are waited for.
SETTLE_S = 20.0
# When nothing has come for so long, it is looked whether all is there.
QUIET_S = 0.5
ASKED_MS = 50.0
READ_BYTES = 65_536
_STAMP = re.compile(rb'"at":"(\d+)"')


class Told(NamedTuple):
    """What the readers found out."""

    late_ns: list[int]
    # When the last watcher had the change with this time.
    last_ns: dict[int, int]
    cpu_s: float


class Watch:
    """One watch, whose bytes are kept as they come."""

    def __init__(self, port: int, since: str, context: ssl.SSLContext) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out)
        self._waiting_for(self._tls.do_handshake)
        head = f"Host: bench\r\nAuthorization: Bearer {TOKEN}\r\n"
        self._tls.write(f"GET {PATH}?watch=1&resourceVersion={since} HTTP/1.1\r\n{head}\r\n".encode())
        answer = self._waiting_for(lambda: self._tls.read(READ_BYTES))
        assert answer.startswith(b"HTTP/1.1 200"), "the watch was refused"
        self.socket.setblocking(False)

    def _waiting_for(self, step: Any) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._out.read())
                self._in.write(self.socket.recv(READ_BYTES))
            finally:
                if self._out.pending:
                    self.socket.sendall(self._out.read())

    def decrypted(self, data: bytes) -> bytes:
        """The records that are whole with these further bytes."""
        self._in.write(data)
        parts = []
        while True:
            try:
                parts.append(self._tls.read(READ_BYTES))
            except ssl.SSLWantReadError:
                return b"".join(parts)


class Readers:
    """Many watches in one process of its own, read as cheaply as Python can."""

    def __init__(self, port: int, watchers: int, since: str, pipe: Connection) -> None:
        context = ssl._create_unverified_context()
        self._pipe = pipe
        self._poll = select.epoll()
        self._watches: dict[int, Watch] = {}
        for _ in range(watchers):
            made = Watch(port, since, context)
            self._watches[made.socket.fileno()] = made
            self._poll.register(made.socket.fileno(), select.EPOLLIN)
        self._receivers = {fd: watch.socket.recv for fd, watch in self._watches.items()}

    def serve(self) -> None:
        """Answer each number of changes with what came of them, once all of it has."""
        self._pipe.send(None)
        while (seconds := self._pipe.recv()) is not None:
            began_s = time.process_time()
            self._pipe.send(None)
            read: list[tuple[int, int, bytes]] = []
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s and not self._pipe.poll():
                self._read(0.1, read)
            wanted = self._pipe.recv() * len(self._watches)
            while self._read(QUIET_S, read):
                pass
            cpu_s = time.process_time() - began_s
            late_ns, last_ns = self._looked_at(read)
            until_s = time.monotonic() + SETTLE_S
            while len(late_ns) < wanted and time.monotonic() < until_s:
                read = []
                self._read(QUIET_S, read)
                more_ns, last = self._looked_at(read)
                late_ns, last_ns = late_ns + more_ns, last_ns | last
            self._pipe.send(Told(late_ns, last_ns, cpu_s))

    def _read(self, wait_s: float, read: list[tuple[int, int, bytes]]) -> bool:
        """Take what is there to be read, and note when it was; False where there was nothing."""
        found = self._poll.poll(wait_s)
        for fd, _ in found:
            read.append((time.monotonic_ns(), fd, self._receivers[fd](READ_BYTES)))
        return bool(found)

    def _looked_at(self, read: list[tuple[int, int, bytes]]) -> tuple[list[int], dict[int, int]]:
        """How late each change was for each watcher, and when the last of them had it."""
        known: dict[bytes, list[int]] = {}
        rest: dict[int, bytes] = {}
        late_ns, last_ns = [], {}
        for now_ns, fd, data in read:
            assert data, "a watch has ended"
            lines = rest.pop(fd, b"") + self._watches[fd].decrypted(data)
            if not lines.endswith(b"\r\n"):
                rest[fd] = lines
                continue
            stamps = known.get(lines)
            if stamps is None:
                stamps = known[lines] = [int(at) for at in _STAMP.findall(lines)]
            for at in stamps:
                late_ns.append(now_ns - at)
                last_ns[at] = now_ns
        assert not rest, "the last line of a watch is not whole"
        return late_ns, last_ns


def read_all(port: int, watchers: int, since: str, pipe: Connection) -> None:
    Readers(port, watchers, since, pipe).serve()


class Made(NamedTuple):
    """The changes that were made."""

    seconds: float
    # When each was asked for, and when its answer came.
    answered_ns: dict[int, int]


async def change(port: int, changes: int, seconds: float) -> Made:
    """Patch ConfigMaps `changes` times a second."""
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[Channel] = asyncio.Queue()
    for channel in await channels(port, CONNECTIONS):
        idle.put_nowait(channel)
    answered_ns: dict[int, int] = {}

    async def patch(channel: Channel, name: str) -> None:
        at = time.monotonic_ns()
        body = {"data": {"at": str(at)}}
        await channel.ask(request("PATCH", f"{PATH}/{name}", body, "application/merge-patch+json"))
        answered_ns[at] = time.monotonic_ns()
        idle.put_nowait(channel)

    began_s = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(changes * seconds)):
            await asyncio.sleep(max(0.0, began_s + number / changes - loop.time()))
            # Different objects: patches of one object that wait for each other are committed as one change.
            group.create_task(patch(await idle.get(), f"c{number % OBJECTS}"))
    return Made(loop.time() - began_s, answered_ns)


def parts_of(values_ns: list[int]) -> str:
    values_ns.sort()
    p50, p99, most = (values_ns[int((len(values_ns) - 1) * part)] / 1e6 for part in (0.5, 0.99, 1.0))
    return f"p50 {p50:.1f}, p99 {p99:.1f}, most {most:.1f} ms"


def measure(server: Server, pipe: Connection, watchers: int, changes: int, seconds: float) -> None:
    port = int(server.url.rpartition(":")[2])
    pipe.send(seconds + SETTLE_S)
    pipe.recv()
    began_cpu_s = server.cpu_s()
    made = uvloop.run(change(port, changes, seconds))
    count = len(made.answered_ns)
    pipe.send(count)
    told: Told = pipe.recv()
    used_s = server.cpu_s() - began_cpu_s
    delivered = len(told.late_ns)
    answers = parts_of([done - at for at, done in made.answered_ns.items()])
    last = parts_of([max(0, told.last_ns[at] - done) for at, done in made.answered_ns.items()])
    print(
        f"{watchers} watchers, {count / made.seconds:.0f} changes/s of {changes} asked, "
        f"{delivered} of {count * watchers} delivered\n"
        f"  from the request until a watcher has it: {parts_of(told.late_ns)} "
        f"({ASKED_MS:.0f} asked for p99)\n"
        f"  from the request until its answer: {answers}; from there until the last watcher has it: {last}\n"
        f"  server {used_s / max(1, delivered) * 1e6:.1f} us of CPU a delivery, "
        f"{used_s / made.seconds * 100:.0f} % of a core; readers {told.cpu_s / made.seconds * 100:.0f} %",
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
