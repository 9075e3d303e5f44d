"""`kubectl apply` of a one-container pod until it is Running: the median of 20, in a running cluster.

Usage: pods.py [DATA_DIR]. Prints seconds, and the same as a ratio to `ctr run` of the same image.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sampan.cluster import config, lifecycle
from sampan.cluster.config import Layout

RUNS = 20
IMAGE = "sampan.local/busybox:1"


def main() -> None:
    layout = Layout(Path(sys.argv[1]) if len(sys.argv) > 1 else config.default_root())
    settings = config.load(layout)
    if settings is None or not lifecycle.is_up(layout):
        sys.exit(f"There is no running cluster in {layout.root}; start one with `sampan up`.")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        sys.exit("There is no kubectl on the PATH.")
    times = []
    for number in range(RUNS):
        name = f"bench-{number}"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                                "command": ["sleep", "1000"]}],
            },
        }  # fmt: skip
        environment = {**os.environ, "KUBECONFIG": str(layout.kubeconfig)}
        with _changes(layout, settings, name) as changes:
            began_s = time.monotonic()
            subprocess.run([kubectl, "apply", "-f", "-"], input=json.dumps(pod).encode(), check=True,
                           env=environment, stdout=subprocess.DEVNULL)  # fmt: skip
            next(line for line in changes if b'"phase":"Running"' in line)
            times.append(time.monotonic() - began_s)
        # It is gone before the next one comes: taking it down would take the processors from that one.
        subprocess.run([kubectl, "delete", "pod", name], check=True, env=environment,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    bare = _bare(layout, settings)
    median_s = statistics.median(times)
    print(f"apply to Running: median {median_s:.3f} s of {RUNS} (asked 0.5 s), {max(times):.3f} s at most")
    print(f"ctr run of the same image: median {bare:.3f} s; ratio {median_s / bare:.1f}")


@contextmanager
def _changes(layout: Layout, settings: config.Settings, name: str) -> Iterator[IO[bytes]]:
    """The lines of a watch of one pod: asking again and again would take the processors from the node."""
    context = ssl.create_default_context(cafile=str(layout.authority))
    context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", settings.port, context=context, timeout=60)
    query = f"watch=true&fieldSelector=metadata.name%3D{name}"
    connection.request("GET", f"/api/v1/namespaces/default/pods?{query}")
    yield connection.getresponse()
    connection.close()


def _bare(layout: Layout, settings: config.Settings) -> float:
    """What containerd alone needs to start the same program, without network and API."""
    from sampan.cluster.parts.containerd import config_of

    socket = config_of(layout, settings, 0).address
    times = []
    for number in range(5):
        began_s = time.monotonic()
        command = ["ctr", "-a", socket, "-n", "k8s.io", "run", "--rm", IMAGE, f"bare-{number}", "true"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - began_s)
    return statistics.median(times)


if __name__ == "__main__":
    main()
