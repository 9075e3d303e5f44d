"""How long changes take to reach many watchers of one kind.

usage: python bench/watch.py [--watchers 1000] [--changes 200] [--seconds 5]

Starts an API server process on SQLite over TLS. This process holds one TLS connection for each watcher of the
ConfigMaps of one namespace, and makes so many changes a second, each with the time of its request in it. A
delivery is counted from the request of the change to the arrival of its line at a watcher. What is printed
includes the client's own share of the machine: with few cores it is a large one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from api import TOKEN, Server, call, running

PATH = "/api/v1/namespaces/watched/configmaps"
# Watches that are opened at once: each takes a TLS handshake.
OPENED_TOGETHER = 50
# How long after the last change deliveries are waited for.
SETTLE_S = 20.0
SETTLE_STEP_S = 0.1
_STAMP = re.compile(rb'"at":"(\d+)"')


class Watching(asyncio.Protocol):
    """One watcher: notes how late each line came."""

    def __init__(self, late_ns: list[int]) -> None:
        self._late_ns = late_ns
        self.answered = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        head = f"GET {PATH}?watch=1 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        transport.write(head.encode())

    def data_received(self, data: bytes) -> None:
        if not self.answered.done():
            assert data.startswith(b"HTTP/1.1 200"), data[:200]
            self.answered.set_result(None)
        now_ns = time.monotonic_ns()
        self._late_ns.extend(now_ns - int(at) for at in _STAMP.findall(data))


async def drive(server: Server, watchers: int, changes: int, seconds: int) -> None:
    """Open the watches, make the changes, print what came of them."""
    context = ssl._create_unverified_context()
    host, _, port = server.url.removeprefix("https://").partition(":")
    late_ns: list[int] = []
    loop = asyncio.get_running_loop()

    async def open_one() -> Any:
        transport, protocol = await loop.create_connection(
            lambda: Watching(late_ns), host, int(port), ssl=context
        )
        await protocol.answered
        return transport

    transports: list[Any] = []
    while len(transports) < watchers:
        wave = min(OPENED_TOGETHER, watchers - len(transports))
        transports += await asyncio.gather(*(open_one() for _ in range(wave)))
    began_cpu_s, began_s = server.cpu_s(), loop.time()
    made = await change(server.url, changes, seconds, context)
    took_s = loop.time() - began_s
    for _ in range(int(SETTLE_S / SETTLE_STEP_S)):
        if len(late_ns) >= made * watchers:
            break
        await asyncio.sleep(SETTLE_STEP_S)
    used_s = server.cpu_s() - began_cpu_s
    for transport in transports:
        transport.abort()
    late_ns.sort()
    print(f"{watchers} watchers, {made / took_s:.0f} changes/s of {changes} asked")
    print(f"delivered: {len(late_ns)} of {made * watchers}")
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        print(f"{name}: {late_ns[int((len(late_ns) - 1) * part)] / 1e6:.1f} ms")
    print(f"server: {used_s / max(1, len(late_ns)) * 1e6:.1f} us of CPU for each delivery")


async def change(url: str, changes: int, seconds: int, context: ssl.SSLContext) -> int:
    """Patch one ConfigMap `changes` times a second; returns how often it was done."""
    made, pending = 0, set()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/merge-patch+json"}
    connector = aiohttp.TCPConnector(ssl=context, limit=16)
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def patch(name: str) -> None:
            body = json.dumps({"data": {"at": str(time.monotonic_ns())}})
            async with session.patch(f"{url}{PATH}/{name}", data=body) as answer:
                assert answer.status == 200, await answer.text()

        began_s = loop.time()
        for number in range(changes * seconds):
            await asyncio.sleep(max(0.0, began_s + number / changes - loop.time()))
            # Different objects: patches of one object that wait for each other are committed as one change.
            task = asyncio.create_task(patch(f"c{number % changes}"))
            pending.add(task)
            task.add_done_callback(pending.discard)
            made += 1
        await asyncio.gather(*pending)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as name, running("sampan", Path(name)) as server:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "watched"}}
        call(f"{server.url}/api/v1/namespaces", "POST", json.dumps(space).encode())
        for number in range(options.changes):
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
            code, body = call(f"{server.url}{PATH}", "POST", json.dumps(made).encode())
            assert code == 201, body
        uvloop.run(drive(server, options.watchers, options.changes, options.seconds))


if __name__ == "__main__":
    main()
