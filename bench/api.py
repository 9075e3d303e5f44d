"""The API server under load, beside a bare aiohttp handler in the same run.

usage: python bench/api.py [--seconds 5] [--connections 32] [--pods 5000] [--profile FILE]

Starts an API server process on SQLite over TLS and lets `api_load.py` (from SAMPAN_SHARED or ../shared/bench)
drive it with wrk; then wrk drives it and, by turns, a bare aiohttp + uvloop TLS handler that gives back a pod
of the same size (GET) or takes one (POST) and does nothing else. What is printed last are ratios of the two.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOKEN = "bench-token"
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SAMPAN_SHARED", ROOT.parent / "shared"))
START_LIMIT_S = 30.0
ROUNDS = 5


# -- the servers, each in a process of its own ---------------------------------------------------------


async def serve_sampan(directory: Path) -> None:
    from sampan.apiserver.core.authn import TokenKeys
    from sampan.apiserver.core.server import ApiServer, Settings
    from sampan.apiserver.core.users import MASTERS, User
    from sampan.apiserver.http.relay import Relay
    from sampan.apiserver.http.serve import HttpServer
    from sampan.base.clock import SystemClock
    from sampan.base.ids import RandomIds
    from sampan.cluster import pki
    from sampan.store.sqlite import SqliteStore

    signing = pki.make_signing_key()
    settings = Settings(
        keys=TokenKeys(signing.key, (signing.certificate,), "bench", ("bench",)),
        static_tokens={TOKEN: User("bench", (MASTERS,))},
    )
    server = ApiServer(SqliteStore(directory / "store.db"), SystemClock(), RandomIds(), settings)
    await server.start()
    print(await HttpServer(server, Relay()).start("127.0.0.1", 0, _tls(directory)), flush=True)
    await asyncio.Event().wait()


async def serve_bare(directory: Path) -> None:
    from aiohttp import web

    pod = (directory / "pod.json").read_bytes()

    async def handle(request: web.BaseRequest) -> web.Response:
        if request.can_read_body:
            await request.read()
            return web.Response(body=pod, status=201, content_type="application/json")
        return web.Response(body=pod, content_type="application/json")

    loop = asyncio.get_running_loop()
    site = await loop.create_server(web.Server(handle), "127.0.0.1", 0, ssl=_tls(directory))
    print(site.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def _tls(directory: Path) -> Any:
    from sampan.cluster import pki

    now = datetime.now(UTC)
    authority = pki.make_authority("bench", now)
    pki.save(directory, "ca", authority)
    pki.save(directory, "server", pki.issue(authority, "apiserver", now, hosts=("127.0.0.1",)))
    return pki.server_context(directory / "ca.crt", directory, "server")


def serve(which: str, directory: Path, profile: str) -> None:
    import cProfile
    import signal

    import uvloop

    work = serve_sampan if which == "sampan" else serve_bare

    async def main() -> None:
        task = asyncio.ensure_future(work(directory))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    if profile:
        profiler.disable()
        profiler.dump_stats(profile)


@contextlib.contextmanager
def running(which: str, directory: Path, profile: str = "") -> Iterator[str]:
    """The URL of a server that ends with the block."""
    command = [sys.executable, __file__, "--serve", which, "--directory", str(directory)]
    child = subprocess.Popen([*command, "--profile", profile], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield f"https://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.terminate()
        child.wait(START_LIMIT_S)


# -- the load ------------------------------------------------------------------------------------------


def call(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    import ssl

    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, method=method, data=body, headers=headers)
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, context=context, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def wrk(url: str, seconds: int, connections: int, body: bytes | None = None) -> float:
    """Requests per second: GETs, or POSTs of `body`."""
    script = ""
    if body is not None:
        script = "wrk.method='POST'; wrk.headers['Content-Type']='application/json'\n"
        script += f"wrk.body=[==[{body.decode()}]==]"
    return run_wrk(url, seconds, connections, script)


def run_wrk(url: str, seconds: int, connections: int, script: str) -> float:
    """Requests per second. Fails where one was refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f'wrk.headers["Authorization"]="Bearer {TOKEN}"\n{script}')
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", file.name, url]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert found is not None, out
    assert "Non-2xx" not in out, out
    return float(found[1])


def patches(url: str, connections: int) -> float:
    """Merge patches of one object per second, none of which may fail."""
    script = """
local n = 0
wrk.method = 'PATCH'
wrk.headers['Content-Type'] = 'application/merge-patch+json'
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"metadata":{"annotations":{"n":"' .. n .. '"}}}')
end"""
    return run_wrk(url, 1, connections, script)


def delete_many(url: str, pods: int) -> float:
    """Seconds that one deletecollection of `pods` pods takes."""
    base = f"{url}/api/v1/namespaces/many"
    post = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}}
    call(f"{url}/api/v1/namespaces", "POST", json.dumps(post).encode())
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    call(f"{base}/serviceaccounts", "POST", json.dumps(account).encode())
    pod = _pod() | {"metadata": {"generateName": "p-", "labels": {"app": "load"}}}
    made = 0
    while made < pods:
        wrk(f"{base}/pods", 1, 32, json.dumps(pod).encode())
        made = len(json.loads(call(f"{base}/pods")[1])["items"])
    items = json.loads(call(f"{base}/pods")[1])["items"]
    for item in items[pods:]:
        call(f"{base}/pods/{item['metadata']['name']}", "DELETE", b'{"gracePeriodSeconds":0}')
    started = time.perf_counter()
    code, _ = call(f"{base}/pods", "DELETE", b'{"gracePeriodSeconds":0}')
    elapsed_s = time.perf_counter() - started
    assert code == 200, code
    assert not json.loads(call(f"{base}/pods")[1])["items"]
    return elapsed_s


def _pod() -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "busybox",
        "command": ["sleep", "3600"],
        "env": [{"name": "A", "value": "B"}],
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
    }
    spec = {"nodeName": "nowhere", "automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec | {"tolerations": [{"operator": "Exists"}]}}


def load(url: str, seconds: int, connections: int) -> dict[str, Any]:
    script = SHARED / "bench" / "api_load.py"
    command = [sys.executable, str(script), url, TOKEN, "--seconds", str(seconds)]
    out = subprocess.run(
        [*command, "--connections", str(connections)], check=True, capture_output=True, text=True
    ).stdout
    figures: dict[str, Any] = json.loads(out.splitlines()[-1])
    return figures


def side_by_side(ours: str, bare: str, connections: int) -> None:
    """Rounds of both by turns, since other work on the machine moves both; medians of the ratios."""
    base = f"{ours}/api/v1/namespaces/many"
    many = _pod() | {"metadata": {"generateName": "p-", "labels": {"app": "load"}}}
    one = _pod() | {"metadata": {"name": "one", "labels": {"app": "load"}}}
    call(f"{base}/pods", "POST", json.dumps(one).encode())
    ratios: dict[str, list[float]] = {"get": [], "create": [], "patch of one object": []}
    for _ in range(ROUNDS):
        bare_get = wrk(bare, 1, connections)
        ratios["get"].append(wrk(f"{base}/pods/one", 1, connections) / bare_get)
        bare_post = wrk(bare, 1, connections, json.dumps(many).encode())
        ratios["create"].append(wrk(f"{base}/pods", 1, connections, json.dumps(many).encode()) / bare_post)
        ratios["patch of one object"].append(patches(f"{base}/pods/one", connections) / bare_post)
        print(f"bare: {bare_get:.0f} GETs/s, {bare_post:.0f} POSTs/s")
    for what, found in ratios.items():
        print(f"{what} / bare: {statistics.median(found):.2f}")


def measure(seconds: int, connections: int, pods: int, profile: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as name, contextlib.ExitStack() as servers:
        directory = Path(name)
        stored = json.dumps(_pod() | {"metadata": {"name": "one", "uid": "0" * 36}}).encode()
        (directory / "pod.json").write_bytes(stored)
        ours = servers.enter_context(running("sampan", directory, profile))
        bare = servers.enter_context(running("bare", directory))
        for what, figure in load(ours, seconds, connections).items():
            print(f"{what}: {figure}")
        print(f"delete_{pods}_pods: {delete_many(ours, pods):.2f} s")
        side_by_side(ours, bare, connections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--profile", default="", help="write the server's cProfile figures to this file")
    parser.add_argument("--serve", choices=("sampan", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.directory, options.profile)
    else:
        measure(options.seconds, options.connections, options.pods, options.profile)


if __name__ == "__main__":
    main()
