"""How long 5,000 CustomResourceDefinitions take to install, and whether the server then answers in a second.

In-process, over SQLite on disk, 32 at once; then discovery, one object of the last kind, and a list of it.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.server import ApiServer, Settings
from sampan.apiserver.core.users import ADMIN
from sampan.base import garbage
from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.cluster import pki
from sampan.cluster.parts.apiserver import SWITCH_S
from sampan.store.sqlite import SqliteStore

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
AT_ONCE = 32
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FIELDS = {f"field{number}": {"type": "string", "maxLength": 64} for number in range(40)}
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": FIELDS}}}


def definition(number: int) -> bytes:
    plural = f"things{number}"
    return msgspec.json.encode(
        {
            "metadata": {"name": f"{plural}.bench.example.com"},
            "spec": {
                "group": "bench.example.com",
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": f"Thing{number}"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": SCHEMA},
                    }
                ],
            },
        }
    )


async def call(server: ApiServer, method: str, path: str, body: bytes = b"", accept: str = "") -> bytes:
    headers = {"content-type": "application/json", "accept": accept or "application/json"}
    answer = await server.handle(
        Request(method=method, path=path, query={}, headers=headers, body=body, user=ADMIN, host="h")
    )
    assert answer.status < 300, (path, answer.body[:300])
    return answer.body


async def measure_documents(server: ApiServer, path: str) -> None:
    """How long others wait, at most, while an OpenAPI document of all kinds is made."""
    for document in ("/openapi/v3", "/openapi/v3/apis/bench.example.com/v1", "/openapi/v2"):
        began_s = time.monotonic()
        making = asyncio.create_task(call(server, "GET", document))
        longest_s = 0.0
        while not making.done():
            asked_s = time.monotonic()
            await call(server, "GET", path)
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.monotonic() - asked_s)
        size_mb = len(await making) / 1e6
        print(
            f"{document}: {size_mb:.0f} MB after {time.monotonic() - began_s:.1f} s; "
            f"a list meanwhile at most {1000 * longest_s:.0f} ms (asked 1000 ms)"
        )


async def main() -> None:
    pair = pki.make_signing_key()
    keys = TokenKeys(pair.key, (pair.certificate,), "https://bench", ("https://bench",))
    with TemporaryDirectory(prefix="sampan-bench-") as folder:
        store = SqliteStore(Path(folder) / "state.db")
        server = ApiServer(store, SystemClock(), RandomIds(), Settings(keys=keys))
        await server.start()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began_s, cpu_s = time.monotonic(), time.process_time()
        numbers = iter(range(COUNT))

        async def work() -> None:
            for number in numbers:
                await call(server, "POST", CRDS, definition(number))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        last = f"/apis/bench.example.com/v1/namespaces/default/things{COUNT - 1}"
        while True:
            try:
                await call(server, "GET", last)
                break
            except AssertionError:
                await asyncio.sleep(0.01)
        took_s = time.monotonic() - began_s
        print(f"{COUNT} definitions established after {took_s:.1f} s (asked 60 s), "
              f"{time.process_time() - cpu_s:.1f} s of CPU")  # fmt: skip
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for what, method, path, body, accept in (
            ("discovery", "GET", "/apis", b"", aggregated),
            ("create", "POST", last, b'{"metadata":{"name":"a"},"spec":{"field1":"x"}}', ""),
            ("list", "GET", last, b"", ""),
            ("the same discovery again", "GET", "/apis", b"", aggregated),
        ):
            began_s = time.monotonic()
            await call(server, method, path, body, accept)
            print(f"{what:<25} {1000 * (time.monotonic() - began_s):7.1f} ms (asked 1000 ms)")
        await measure_documents(server, last)
        after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"memory: {after_kb / 1024:.0f} MB, {(after_kb - before_kb) / 1024:.0f} MB of it for them")
        await server.close()
        await store.close()


if __name__ == "__main__":
    # As in the process of an API server.
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    garbage.look_seldom()
    uvloop.run(main())
