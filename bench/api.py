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
from typing import Any, NamedTuple

TOKEN = "bench-token"
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SAMPAN_SHARED", ROOT.parent / "shared"))
START_LIMIT_S = 30.0
# All rights, but by a role: members of system:masters are not asked for any.
BINDING = {
    "metadata": {"name": "bench"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bench"}],
}
ROUNDS = 5
APPLY_S = 3


# -- the servers, each in a process of its own ---------------------------------------------------------


async def serve_sampan(directory: Path) -> None:
    """The API server as `sampan up` runs it, for a user with rights by a role and a limited share."""
    from sampan.apiserver.core.authn import TokenKeys
    from sampan.apiserver.core.server import ApiServer, Settings
    from sampan.apiserver.core.users import ADMIN, AUTHENTICATED, User
    from sampan.apiserver.direct import DirectTransport
    from sampan.apiserver.http.relay import Relay
    from sampan.apiserver.http.serve import HttpServer
    from sampan.base.clock import SystemClock
    from sampan.base.ids import RandomIds
    from sampan.cluster import pki
    from sampan.cluster.parts.apiserver import SWITCH_S
    from sampan.store.sqlite import SqliteStore

    sys.setswitchinterval(SWITCH_S)
    signing = pki.make_signing_key()
    settings = Settings(
        keys=TokenKeys(signing.key, (signing.certificate,), "bench", ("bench",)),
        static_tokens={TOKEN: User("bench", (AUTHENTICATED,))},
    )
    server = ApiServer(SqliteStore(directory / "store.db"), SystemClock(), RandomIds(), settings)
    await server.start()
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    made = await DirectTransport(server, ADMIN).request("POST", bindings, body=json.dumps(BINDING).encode())
    assert made.status == 201, made.body
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
    from sampan.cluster.tls import server_context

    now = datetime.now(UTC)
    authority = pki.make_authority("bench", now)
    pki.save(directory, "ca", authority)
    pki.save(directory, "server", pki.issue(authority, "apiserver", now, hosts=("127.0.0.1",)))
    return server_context(directory / "ca.crt", directory, "server")


def serve(which: str, directory: Path, profile: str) -> None:
    import cProfile

    import uvloop

    from sampan.cluster.parts.process import run_until_told_to_stop

    work = serve_sampan if which == "sampan" else serve_bare
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # With the garbage collector set as in every process of a cluster.
        runner.run(run_until_told_to_stop(work(directory)))
    if profile:
        profiler.disable()
        profiler.dump_stats(profile)


class Server:
    """A server process and where it listens."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        # The kernel's clock of the process, with all of its threads: clock_getcpuclockid(3).
        self._cpu_clock = (~pid << 3) | 2

    def cpu_s(self) -> float:
        return time.clock_gettime(self._cpu_clock)


@contextlib.contextmanager
def running(which: str, directory: Path, profile: str = "") -> Iterator[Server]:
    """A server that ends with the block."""
    command = [sys.executable, __file__, "--serve", which, "--directory", str(directory)]
    child = subprocess.Popen([*command, "--profile", profile], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield Server(f"https://127.0.0.1:{int(child.stdout.readline())}", child.pid)
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


class Rate(NamedTuple):
    """What one run of wrk found."""

    per_s: float
    # Processor time of the server for each request: what other work on the machine moves less.
    cpu_us: float


def wrk(server: Server, path: str, seconds: int, connections: int, body: bytes | None = None) -> Rate:
    """GETs, or POSTs of `body`."""
    script = ""
    if body is not None:
        script = "wrk.method='POST'; wrk.headers['Content-Type']='application/json'\n"
        script += f"wrk.body=[==[{body.decode()}]==]"
    return run_wrk(server, path, seconds, connections, script)


def run_wrk(server: Server, path: str, seconds: int, connections: int, script: str) -> Rate:
    """Drive the server with wrk. Fails where a request was refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f'wrk.headers["Authorization"]="Bearer {TOKEN}"\n{script}')
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", file.name]
        began_s = server.cpu_s()
        out = subprocess.run([*command, server.url + path], capture_output=True, text=True, check=True).stdout
        used_s = server.cpu_s() - began_s
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    count = re.search(r"(\d+) requests in", out)
    assert rate is not None and count is not None, out
    assert "Non-2xx" not in out, out
    return Rate(float(rate[1]), used_s / int(count[1]) * 1e6)


def patches(server: Server, path: str, connections: int) -> Rate:
    """Merge patches of one object, none of which may fail."""
    script = """
local n = 0
wrk.method = 'PATCH'
wrk.headers['Content-Type'] = 'application/merge-patch+json'
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{"metadata":{"annotations":{"n":"' .. n .. '"}}}')
end"""
    return run_wrk(server, path, 1, connections, script)


def applies(server: Server, path: str, connections: int) -> Rate:
    """Server-side applies of 64 Deployments by turns, each with a new image."""
    body = json.dumps(_deployment("d-NUMBER", "IMAGE"))
    script = f"""
local n = 0
local body = [==[{body}]==]
wrk.method = 'PATCH'
wrk.headers['Content-Type'] = 'application/apply-patch+yaml'
request = function()
  n = n + 1
  local made = body:gsub('NUMBER', tostring(n % 64)):gsub('IMAGE', 'web:' .. n)
  return wrk.format(nil, '{path}/d-' .. (n % 64) .. '?fieldManager=bench&force=true', nil, made)
end"""
    # So long that the connections' handshakes, which are no applies, come to little.
    return run_wrk(server, path, APPLY_S, connections, script)


def _deployment(name: str, image: str) -> dict[str, Any]:
    def container(of: str, port: int) -> dict[str, Any]:
        return {
            "name": of,
            "image": image,
            "ports": [{"name": "http", "containerPort": port}],
            "env": [{"name": "A", "value": "B"}, {"name": "C", "value": "D"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 5},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
        }

    spec = {
        "containers": [container("web", 8080), container("side", 9090)],
        "volumes": [{"name": "config", "configMap": {"name": "web"}}],
        "securityContext": {"runAsNonRoot": True},
    }
    labels = {"app": name, "tier": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def delete_many(server: Server, pods: int) -> float:
    """Seconds that one deletecollection of `pods` pods takes."""
    url, path = server.url, "/api/v1/namespaces/many/pods"
    base = f"{url}/api/v1/namespaces/many"
    post = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}}
    call(f"{url}/api/v1/namespaces", "POST", json.dumps(post).encode())
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    call(f"{base}/serviceaccounts", "POST", json.dumps(account).encode())
    pod = _pod() | {"metadata": {"generateName": "p-", "labels": {"app": "load"}}}
    made = 0
    while made < pods:
        wrk(server, path, 1, 32, json.dumps(pod).encode())
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


def side_by_side(ours: Server, bare: Server, connections: int) -> None:
    """Rounds of both by turns, since other work on the machine moves both; medians of each."""
    path = "/api/v1/namespaces/many/pods"
    many = json.dumps(_pod() | {"metadata": {"generateName": "p-", "labels": {"app": "load"}}}).encode()
    one = _pod() | {"metadata": {"name": "one", "labels": {"app": "load"}}}
    call(ours.url + path, "POST", json.dumps(one).encode())
    deployments = "/apis/apps/v1/namespaces/many/deployments"
    applies(ours, deployments, connections)  # the first are creations
    found: dict[str, list[Rate]] = {}
    for _ in range(ROUNDS):
        found.setdefault("bare GET", []).append(wrk(bare, path, 1, connections))
        found.setdefault("get", []).append(wrk(ours, f"{path}/one", 1, connections))
        found.setdefault("bare POST", []).append(wrk(bare, path, 1, connections, many))
        found.setdefault("create", []).append(wrk(ours, path, 1, connections, many))
        found.setdefault("patch of one object", []).append(patches(ours, f"{path}/one", connections))
        found.setdefault("apply of a Deployment", []).append(applies(ours, deployments, connections))
    for what, rates in found.items():
        beside = found["bare GET" if "get" in what.lower() else "bare POST"]
        per_s = statistics.median(rate.per_s for rate in rates)
        cpu_us = statistics.median(rate.cpu_us for rate in rates)
        ratio = statistics.median(x.per_s / y.per_s for x, y in zip(rates, beside, strict=True))
        print(f"{what}: {per_s:.0f}/s, {cpu_us:.0f} us of CPU each, {ratio:.2f} of the bare handler's rate")


def measure(seconds: int, connections: int, pods: int, profile: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as name, contextlib.ExitStack() as servers:
        directory = Path(name)
        stored = json.dumps(_pod() | {"metadata": {"name": "one", "uid": "0" * 36}}).encode()
        (directory / "pod.json").write_bytes(stored)
        ours = servers.enter_context(running("sampan", directory, profile))
        bare = servers.enter_context(running("bare", directory))
        for what, figure in load(ours.url, seconds, connections).items():
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
