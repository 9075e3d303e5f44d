"""The main job, end to end: the example on real containers, driven by the real kubectl."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.kubectl import Kubectl
from tests.ports import free_port

pytestmark = [pytest.mark.containers, pytest.mark.clients, pytest.mark.timeout(400)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "guestbook" / "guestbook.yaml"
NAMESPACE = "guestbook"
WAIT_S = 90.0


class Running:
    """A cluster of its own with the example on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.node_port = _free_node_port()
        manifest = EXAMPLE.read_text().replace("30080", str(self.node_port))
        self.manifest = root.parent / f"{root.name}.yaml"
        self.manifest.write_text(manifest.replace("/var/lib/sampan-guestbook", str(root.parent / "state")))

    def sampan(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sampan.cli.main", *arguments, "--data-dir", str(self.root)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_logs(self.root)}"
        return done.stdout

    def up(self) -> str:
        return self.sampan("up", "--port", str(self.port), "--no-merge")

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.root / "kubeconfig")

    def fetch(self, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.node_port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def pods(self, tier: str) -> list[dict[str, Any]]:
        listed = self.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", f"tier={tier}")
        return [pod for pod in listed["items"] if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        running = Running(Path(folder) / "d")
        try:
            running.up()
            running.kubectl("apply", "-f", str(running.manifest))
            for name in ("guestbook-backend", "guestbook"):
                running.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{name}", "--timeout=90s")
            yield running
        finally:
            running.sampan("down", "--delete")


@pytest.mark.conformance("Kubectl client Guestbook application should create and stop a working application")
def test_visitors_sign_through_the_node_port(cluster: Running) -> None:
    cluster.fetch("/?entry=hello+from+outside")
    page = cluster.fetch()
    assert "<h1>Guest book</h1>" in page
    assert "<li>hello from outside" in page
    assert "version 1" in page


def test_another_pod_finds_it_by_name(cluster: Running) -> None:
    url = "http://guestbook.guestbook.svc.cluster.local/"
    kubectl = cluster.kubectl
    kubectl(
        "run", "visitor", "--image=sampan.local/busybox:1", "--image-pull-policy=IfNotPresent",
        "--restart=Never", "--", "wget", "-q", "-O", "-", url,
    )  # fmt: skip
    kubectl("wait", "pod/visitor", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert "<h1>Guest book</h1>" in kubectl("logs", "visitor")
    kubectl("delete", "pod", "visitor", "--wait=true")


def test_each_replica_answers(cluster: Running) -> None:
    names = {pod["metadata"]["name"] for pod in cluster.pods("front")}
    assert len(names) == 3
    seen: set[str] = set()
    _until(lambda: bool(seen.add(_server(cluster.fetch())) or seen >= names), "every replica answered")


def test_a_killed_container_comes_back(cluster: Running) -> None:
    pod = cluster.pods("front")[0]
    name = pod["metadata"]["name"]
    status = pod["status"]["containerStatuses"][0]
    before = status["restartCount"]
    _kill_container(status["containerID"].partition("://")[2])

    def restarted() -> bool:
        status = cluster.kubectl.json("get", "pod", "-n", NAMESPACE, name)["status"]
        container = status["containerStatuses"][0]
        return container["restartCount"] > before and container["ready"]

    _until(restarted, "the container was restarted and is ready")


def test_it_scales(cluster: Running) -> None:
    for replicas in (5, 3):
        cluster.kubectl("scale", "-n", NAMESPACE, "deployment/guestbook", f"--replicas={replicas}")
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/guestbook", "--timeout=60s")
        _until(lambda n=replicas: len(cluster.pods("front")) == n, f"there are {replicas} pods")


def test_an_update_and_its_rollback_lose_no_request(cluster: Running) -> None:
    # Old pods still serve for a moment after the rollout is told to be over: their endpoints go after it.
    with Visitors(cluster) as visitors:
        cluster.kubectl("set", "env", "-n", NAMESPACE, "deployment/guestbook", "VERSION=2")
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/guestbook", "--timeout=90s")
        _until(lambda: "version 2" in cluster.fetch(), "visitors get version 2")
        cluster.kubectl("rollout", "undo", "-n", NAMESPACE, "deployment/guestbook")
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/guestbook", "--timeout=90s")
        _until(lambda: "version 1" in cluster.fetch(), "visitors get version 1")
    assert visitors.failed == []
    assert visitors.served > 20


def test_everything_is_found_running_after_every_process_was_killed(cluster: Running) -> None:
    cluster.fetch("/?entry=before+the+crash")
    before = {
        p["metadata"]["uid"]: _containers(p) for tier in ("front", "backend") for p in cluster.pods(tier)
    }
    killed = _kill_sampan(cluster.root)
    assert len(killed) >= 4, killed
    assert "already" not in cluster.up()
    after = {
        p["metadata"]["uid"]: _containers(p) for tier in ("front", "backend") for p in cluster.pods(tier)
    }
    assert after == before
    _until(lambda: "<li>before the crash" in cluster.fetch(), "the guest book answers again")
    cluster.kubectl("scale", "-n", NAMESPACE, "deployment/guestbook", "--replicas=4")
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/guestbook", "--timeout=60s")


class Visitors:
    """Visitors that come all the time, each on a connection of its own."""

    def __init__(self, cluster: Running) -> None:
        self._cluster = cluster
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(2)]
        self.failed: list[str] = []
        self.served = 0

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._done.wait(0.05):
            try:
                page = self._cluster.fetch()
                assert "</ul>" in page
                self.served += 1
            except (OSError, urllib.error.URLError, AssertionError) as problem:
                self.failed.append(repr(problem))


def _all_containers(cluster: Running) -> dict[str, list[tuple[str, int]]]:
    pods = cluster.pods("front") + cluster.pods("backend")
    return {pod["metadata"]["uid"]: _containers(pod) for pod in pods}


def _containers(pod: dict[str, Any]) -> list[tuple[str, int]]:
    return sorted((c["containerID"], c["restartCount"]) for c in pod["status"]["containerStatuses"])


def _server(page: str) -> str:
    return page.rpartition("served by ")[2].split("<")[0].strip()


def _kill_container(container_id: str) -> None:
    """SIGKILL to a container's processes, from outside: within, nobody can kill its first one."""
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if container_id in Path(f"/proc/{process.pid}/cgroup").read_text():
                process.kill()
                killed += 1
    assert killed, f"container {container_id} has no process"


def _kill_sampan(root: Path) -> list[str]:
    """SIGKILL to every process of the cluster but its containers; what they were."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        is_ours = str(root) in line and "shim" not in line and process.pid != os.getpid()
        if is_ours and ("sampan.cluster.main" in line or "containerd --config" in line):
            found[process] = line
    # The kernel ends the parts with their supervisor, so that some may be gone before they are reached.
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    return list(found.values())


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    last = ""
    while time.monotonic() < deadline_s:
        try:
            if condition():
                return
        except (OSError, urllib.error.URLError) as problem:
            last = repr(problem)
        time.sleep(0.2)
    pytest.fail(f"within {WAIT_S:.0f} s it did not happen that {what} {last}")


def _logs(root: Path) -> str:
    return "\n".join(f"== {p.name}\n{p.read_text()[-2000:]}" for p in sorted((root / "logs").glob("*.log")))


def _free_node_port() -> int:
    """A node port that no other cluster of this machine uses: asked of the kernel, within the range."""
    for port in range(30100, 32768):
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    pytest.fail("no node port is free")
