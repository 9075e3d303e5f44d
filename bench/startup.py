"""How long `sampan up` takes on an installed machine: API ready, node Ready, DNS answering from a pod.

Prints the median of five starts from nothing. Needs root and the Debian packages. k3d takes 19.9 s and kind
33 s until DNS answers (measured elsewhere, on a comparable machine).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from sampan.cluster import config, readiness
from sampan.cluster.config import Layout

RUNS = 5
PORT = 17444
LIMIT_S = 60.0
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "asker", "namespace": "default"},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "asker",
                "image": "sampan.local/busybox:1",
                "imagePullPolicy": "IfNotPresent",
                "command": [
                    "sh",
                    "-c",
                    "until nslookup kubernetes.default.svc.cluster.local; do usleep 50000; done",
                ],
            }
        ],
    },
}


def start_once(root: Path) -> dict[str, float]:
    """Seconds from the moment the command is typed to each milestone."""
    layout = Layout(root)
    began_s = time.monotonic()
    command = [sys.executable, "-m", "sampan.cli.main", "up", "--data-dir", str(root)]
    up = subprocess.Popen([*command, "--port", str(PORT), "--no-merge"], stderr=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL)  # fmt: skip
    times: dict[str, float] = {}
    while not layout.kubeconfig.exists():
        time.sleep(0.005)
    settings = config.load(layout)
    assert settings is not None
    api = readiness.Api(layout, settings)
    asked = False
    while "dns" not in times:
        now_s = time.monotonic() - began_s
        assert now_s < LIMIT_S, f"not up after {LIMIT_S} s; it got to {times}"
        if "api" not in times:
            if api.get("/readyz")[0] == 200:
                times["api"] = now_s
        elif "node" not in times:
            nodes = api.items("/api/v1/nodes")
            if nodes and all(readiness.condition(n, "Ready") for n in nodes):
                times["node"] = now_s
        elif not asked:
            asked = api.post("/api/v1/namespaces/default/pods", json.dumps(POD).encode())[0] == 201
        elif api.items("/api/v1/namespaces/default/pods?fieldSelector=status.phase%3DSucceeded"):
            times["dns"] = now_s
        time.sleep(0.01)
    up.wait()
    return times


def main() -> None:
    runs = []
    for _ in range(RUNS):
        with TemporaryDirectory(prefix="sb-") as folder:
            root = Path(folder) / "d"
            try:
                runs.append(start_once(root))
            finally:
                subprocess.run(
                    [sys.executable, "-m", "sampan.cli.main", "down", "--delete", "--data-dir", str(root)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
    for name, asked_s in (("api", 1.0), ("node", 3.0), ("dns", 6.0)):
        values = [run[name] for run in runs]
        median_s = statistics.median(values)
        print(
            f"{name:<5} {median_s:5.2f} s (asked {asked_s:.0f} s; {min(values):.2f} to {max(values):.2f} s)"
        )


if __name__ == "__main__":
    main()
