"""`kubectl apply` of a one-container pod until it is Running: the median of 20, in a running cluster.

Usage: pods.py [DATA_DIR]. Prints seconds, and the same as a ratio to `ctr run` of the same image.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

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
    api = lifecycle.Api(layout, settings)
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
        began_s = time.monotonic()
        environment = {**os.environ, "KUBECONFIG": str(layout.kubeconfig)}
        subprocess.run([kubectl, "apply", "-f", "-"], input=json.dumps(pod).encode(), check=True,
                       env=environment, stdout=subprocess.DEVNULL)  # fmt: skip
        path = f"/api/v1/namespaces/default/pods/{name}"
        while b'"phase":"Running"' not in api.get(path)[1]:
            time.sleep(0.002)
        times.append(time.monotonic() - began_s)
        subprocess.run([kubectl, "delete", "pod", name, "--wait=false"], check=True, env=environment,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    bare = _bare(layout, settings)
    median_s = statistics.median(times)
    print(f"apply to Running: median {median_s:.3f} s of {RUNS} (asked 0.5 s), {max(times):.3f} s at most")
    print(f"ctr run of the same image: median {bare:.3f} s; ratio {median_s / bare:.1f}")


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
