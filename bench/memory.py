"""Memory of the API server's process as it holds more and more pods.

usage: python bench/memory.py [--pods 30000] [--updates 1]

Starts an API server process on SQLite over TLS, creates pods shaped as those of `api_load.py`, updates each,
lists them, and reads the process's PSS after each step: what the machine would have free without it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvloop

from api import Server, _pod, call, running
from channel import request, send

PATH = "/api/v1/namespaces/many/pods"
ASKED_MB = 330


def creates(pods: int) -> Iterator[bytes]:
    for number in range(pods):
        metadata = {"name": f"p-{number:06}", "labels": {"app": "load", "tier": "web"}}
        yield request("POST", PATH, _pod() | {"metadata": metadata})


def updates(pods: int) -> Iterator[bytes]:
    """What a kubelet says of a pod that runs."""
    for number in range(pods):
        status = {
            "phase": "Running",
            "podIP": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
        path = f"{PATH}/p-{number:06}/status"
        yield request("PATCH", path, {"status": status}, "application/merge-patch+json")


def measure(server: Server, process: psutil.Process, pods: int, rounds: int) -> None:
    def say(what: str) -> None:
        pss = process.memory_full_info().pss
        shown = f", {(pss - empty) / pods:.0f} bytes a pod more than without" if empty else ""
        print(f"{what}: PSS {pss / 1e6:.0f} MB{shown}", flush=True)

    empty = 0
    say("empty")
    empty = process.memory_full_info().pss
    port = int(server.url.rpartition(":")[2])
    uvloop.run(send(port, creates(pods)))
    say(f"{pods} pods created ({ASKED_MB} MB asked at 30,000)")
    for _ in range(rounds):
        uvloop.run(send(port, updates(pods)))
        say("each updated")
    body = call(server.url + PATH)[1]
    say(f"listed once ({len(body) / pods:.0f} bytes a pod)")
    selected = call(f"{server.url}{PATH}?labelSelector=app%3Dload&fieldSelector=spec.nodeName%3Dnowhere")[1]
    assert len(json.loads(selected)["items"]) == pods
    say("listed by labels and fields")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=30_000)
    parser.add_argument("--updates", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as name, running("sampan", Path(name)) as server:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}}
        call(f"{server.url}/api/v1/namespaces", "POST", json.dumps(space).encode())
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        call(f"{server.url}/api/v1/namespaces/many/serviceaccounts", "POST", json.dumps(account).encode())
        measure(server, psutil.Process(server.pid), options.pods, options.updates)


if __name__ == "__main__":
    main()
