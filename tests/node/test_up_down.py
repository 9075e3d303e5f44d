"""`sampan up` and `sampan down`: what they leave, what they find again, and what lives side by side."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.sampans import Machine, Sampan, cgroups, eventually, own_network, sampan_in, snapshot

pytestmark = [pytest.mark.containers, pytest.mark.timeout(240)]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: sampan.local/busybox:1
        command: [sh, -c]
        args: ["hostname > /www/index.html; date +%s%N >> /kept/starts; exec httpd -f -p 8080 -h /www"]
        volumeMounts: [{name: www, mountPath: /www}, {name: kept, mountPath: /kept}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      volumes:
      - {name: www, emptyDir: {}}
      - {name: kept, hostPath: {path: KEPT, type: DirectoryOrCreate}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: NODEPORT}]}
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_network() as made:
        yield made


@pytest.fixture
def sampan(machine: Machine) -> Iterator[Sampan]:
    with sampan_in(machine) as made:
        yield made


def web(sampan: Sampan, replicas: int = 1, node_port: int = 30080) -> str:
    """The example's file."""
    path = sampan.root.parent / "web.yaml"
    text = WEB.replace("REPLICAS", str(replicas)).replace("NODEPORT", str(node_port))
    path.write_text(text.replace("KEPT", str(sampan.root.parent / "kept")))
    return str(path)


def fetch(machine: Machine, url: str) -> str:
    return eventually(lambda: machine.run("curl", "-s", "-m", "3", "--noproxy", "*", url).stdout.strip())


def containers(sampan: Sampan) -> dict[str, tuple[str, str, int]]:
    """Container id, start and restarts of each pod."""
    found = {}
    for pod in sampan.get("pods", "-A"):
        for status in pod["status"].get("containerStatuses", ()):
            started = status["state"].get("running", {}).get("startedAt", "")
            found[pod["metadata"]["name"]] = (status.get("containerID", ""), started, status["restartCount"])
    return found


def kept(sampan: Sampan) -> list[str]:
    return (sampan.root.parent / "kept/starts").read_text().split()


def test_down_leaves_nothing_and_up_has_everything_back(machine: Machine, sampan: Sampan) -> None:
    before = snapshot(machine)
    sampan.up("--apply", web(sampan))
    sampan.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    (pod,) = sampan.get("pods")
    sampan.kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "echo more > /www/more")
    name = cluster_id(sampan)
    assert cgroups(name) and sampan.traces()

    said = sampan.down()
    assert "objects and volumes are in" in said.out
    assert sampan.traces() == []
    assert cgroups(name) == []
    assert snapshot(machine) == before
    assert "down already" in sampan.down().out
    assert snapshot(machine) == before

    sampan.up()
    assert [c["data"] for c in sampan.get("configmaps") if c["metadata"]["name"] == "kept"] == [{"a": "b"}]
    fetch(machine, "http://127.0.0.1:30080/")
    (again,) = sampan.get("pods")
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    volume = next(sampan.root.glob(f"nodes/*/pods/{pod['metadata']['uid']}/volumes/*/www"))
    assert (volume / "index.html").exists()
    assert len(kept(sampan)) == 2
    sampan.down("--delete")
    assert not sampan.root.exists()
    assert snapshot(machine) == before


def cluster_id(sampan: Sampan) -> str:
    import json

    return str(json.loads((sampan.root / "config.json").read_bytes())["id"])


def test_up_again_changes_nothing(sampan: Sampan) -> None:
    sampan.up("--apply", web(sampan))
    before, parts = containers(sampan), sampan.parts()
    said = sampan.up()
    assert "up already" in said.out
    assert (containers(sampan), sampan.parts()) == (before, parts)
    assert "is up with nodes 1" in sampan.try_up("--nodes", "2").complaint()


def kill_all(sampan: Sampan, *, containerd: bool) -> None:
    """SIGKILL to every process of Sampan, the supervisor first."""
    pids = [sampan.supervisor(), *sampan.parts().values()]
    if containerd:
        import json

        for path in sampan.root.glob("nodes/*/containerd/containerd.pid"):
            pids.append(json.loads(path.read_bytes())["pid"])
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    eventually(lambda: not any(running(pid) for pid in pids))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("containerd", [False, True])
def test_what_ran_before_a_crash_runs_on(machine: Machine, sampan: Sampan, containerd: bool) -> None:
    sampan.up("--apply", web(sampan))
    before = containers(sampan)
    assert len(before) == 2, before
    kill_all(sampan, containerd=containerd)
    assert fetch(machine, "http://127.0.0.1:30080/")  # pods and rules go on without us

    sampan.up()
    assert containers(sampan) == before
    assert len(kept(sampan)) == 1
    # The node works: a pod more starts and the old one can be replaced.
    sampan.kubectl("scale", "deployment", "web", "--replicas=0")
    eventually(lambda: not sampan.get("pods"))


def test_down_after_a_crash_leaves_nothing(machine: Machine, sampan: Sampan) -> None:
    before = snapshot(machine)
    sampan.up("--apply", web(sampan))
    name = cluster_id(sampan)
    kill_all(sampan, containerd=True)
    assert sampan.traces()
    sampan.down()
    assert sampan.traces() == []
    assert cgroups(name) == []
    assert snapshot(machine) == before


def test_delete_with_damaged_settings_leaves_nothing(machine: Machine, sampan: Sampan) -> None:
    before = snapshot(machine)
    sampan.up()
    name = cluster_id(sampan)
    kill_all(sampan, containerd=False)
    (sampan.root / "config.json").write_text('{"id": "')
    assert "is damaged" in sampan("down").complaint()
    sampan.down("--delete")
    assert sampan.traces() == [] and cgroups(name) == [] and not sampan.root.exists()
    assert snapshot(machine) == before


def test_two_clusters_side_by_side(machine: Machine, sampan: Sampan) -> None:
    with sampan_in(machine) as other:
        sampan.up("--apply", web(sampan))
        other.up("--apply", web(other, node_port=30081))
        pairs = [(sampan, 30080), (other, 30081)]
        for each, port in pairs:
            (pod,) = each.get("pods")
            assert fetch(machine, f"http://127.0.0.1:{port}/") == pod["metadata"]["name"]
            assert by_name(each, pod) == pod["metadata"]["name"]
        before = containers(sampan)
        other.down()
        assert other.traces() == []
        (pod,) = sampan.get("pods")
        assert fetch(machine, "http://127.0.0.1:30080/") == pod["metadata"]["name"]
        assert by_name(sampan, pod) == pod["metadata"]["name"]
        assert containers(sampan) == before
        other.up()
        assert fetch(machine, "http://127.0.0.1:30081/")


def by_name(sampan: Sampan, pod: dict[str, Any]) -> str:
    """What the Service says, asked from within a pod by its name."""
    command = (
        "exec",
        pod["metadata"]["name"],
        "--",
        "wget",
        "-q",
        "-O",
        "-",
        "http://web.default.svc.cluster.local/",
    )
    return eventually(lambda: sampan.kubectl(*command).out.strip())


def test_two_nodes_are_one_network(machine: Machine, sampan: Sampan) -> None:
    sampan.up("--nodes", "2", "--apply", web(sampan))
    (first,) = sampan.get("pods")
    sampan.kubectl("cordon", first["spec"]["nodeName"])
    sampan.kubectl("scale", "deployment", "web", "--replicas=2")
    said = sampan.kubectl("rollout", "status", "deployment", "web", "--timeout=60s")
    assert said.status == 0, said.errors
    pods = sampan.get("pods")
    names = {pod["metadata"]["name"] for pod in pods}
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    for pod in pods:
        for target in pods:
            url = f"http://{target['status']['podIP']}:8080/"
            said = sampan.kubectl("exec", pod["metadata"]["name"], "--", "wget", "-q", "-O", "-", url)
            assert said.out.strip() == target["metadata"]["name"], said.errors
        seen: set[str] = set()
        eventually(lambda pod=pod, seen=seen: seen.add(by_name(sampan, pod)) or seen == names)
    reached: set[str] = set()
    eventually(lambda: reached.add(fetch(machine, "http://127.0.0.1:30080/")) or reached == names)


def test_foreground_ends_on_interrupt(machine: Machine, sampan: Sampan) -> None:
    before = snapshot(machine)
    argv = machine.argv(*sampan.argv("up", "--no-merge", "--foreground", "--port", str(sampan.port)))
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env=sampan.env, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Try next" in line:
            break
    # As a terminal does it: to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    assert sampan.traces() == []
    assert snapshot(machine) == before


def test_simulated_nodes(sampan: Sampan) -> None:
    sampan.up("--runtime", "simulated", "--nodes", "50")
    assert len(sampan.get("nodes")) == 50
    sampan.kubectl("create", "deployment", "web", "--image=nothing", "--replicas=100")
    eventually(lambda: len([p for p in sampan.get("pods") if p["status"]["phase"] == "Running"]) == 100)
    sampan.down()
    assert sampan.traces() == []


PROCESS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: files}
spec:
  replicas: 2
  selector: {matchLabels: {app: files}}
  template:
    metadata: {labels: {app: files}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: files
        image: host
        command: [sh, -c, "exec python3 -m http.server 8000 --bind $SAMPAN_POD_IP --directory DIRECTORY"]
        readinessProbe: {tcpSocket: {port: 8000}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: files}
spec: {type: NodePort, selector: {app: files}, ports: [{port: 80, targetPort: 8000, nodePort: 30082}]}
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def as_nobody() -> tuple[str, ...]:
    """How to become an ordinary user who can read this Python, which may lie in root's own directory."""
    import sys

    code = "import subprocess, sys; subprocess.check_call([sys.executable, '-c', 'import sampan'])"
    done = subprocess.run([*NOBODY, sys.executable, "-c", code], capture_output=True, check=False)
    reading = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    return NOBODY if done.returncode == 0 else (*NOBODY, *reading)


def test_processes_for_who_is_not_root(machine: Machine) -> None:
    with sampan_in(machine, *as_nobody()) as sampan:
        home = sampan.root.parent
        shutil.chown(home, 65534, 65534)
        (home / "hello.txt").write_text("hello from a process\n")
        manifest = home / "files.yaml"
        manifest.write_text(PROCESS.replace("DIRECTORY", str(home)))
        said = sampan.up("--apply", str(manifest))
        assert "http://127.0.0.1:30082/" in said.out
        assert fetch(machine, "http://127.0.0.1:30082/hello.txt") == "hello from a process"
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in sampan.parts().values()}
        assert owners == {65534}
        before = containers(sampan)
        kill_all(sampan, containerd=False)
        sampan.up()
        assert containers(sampan) == before
        assert fetch(machine, "http://127.0.0.1:30082/hello.txt") == "hello from a process"
        sampan.down()
        assert sampan.traces() == []
