"""What pods survive: their agent's death, their sandbox's, and people who change their minds."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from sampan.schema import api
from tests.node.pods.cluster import Cluster, condition_of, last_ended, mounts, status_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]


def processes(*words: str) -> list[psutil.Process]:
    """The processes with all of these words in their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or ()
        if all(word in line for word in words):
            found.append(process)
    return found


def test_pods_go_on_while_their_agent_is_killed(cluster: Cluster) -> None:
    cluster.config_map("agent", key="before")
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    pod = cluster.pod(
        "while :; do cat /map/key; echo; sleep 0.1; done",
        container={"volumeMounts": mounts(map="/map"), "livenessProbe": probe, "readinessProbe": probe},
        restartPolicy="Always",
        volumes=[{"name": "map", "configMap": {"name": "agent"}}],
    )
    crashing = cluster.pod("exit 3", restartPolicy="Always")
    crashing.waits("CrashLoopBackOff")
    leaving = cluster.pod(
        "trap 'sleep 1; exit 0' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=20
    )
    leaving.says("up")
    before = pod.ready()
    leaving.delete()
    [agent] = processes("part", "node-1", str(cluster.root))
    agent.kill()
    late = cluster.pod("echo late")
    cluster.until(
        lambda: bool(processes("part", "node-1", str(cluster.root))), "the supervisor starts the agent again"
    )
    assert late.over().status.phase == "Succeeded"
    cluster.patch(api.ConfigMap, "agent", {"data": {"key": "after"}})
    pod.says("after")
    cluster.until(lambda: not cluster.has(api.Pod, leaving.name), "the pod that was leaving is gone")
    after = pod.get()
    [old], [new] = before.status.containerStatuses, after.status.containerStatuses
    assert (new.containerID, new.restartCount, new.ready) == (old.containerID, 0, True)
    assert after.status.podIP == before.status.podIP
    assert after.status.startTime == before.status.startTime
    kept = condition_of(before, "Ready").lastTransitionTime
    assert condition_of(after, "Ready").lastTransitionTime == kept
    assert last_ended(crashing.get()).exitCode == 3


def test_a_pod_gets_a_new_sandbox_when_its_own_dies(cluster: Cluster) -> None:
    pod = cluster.pod(container={"command": ["sleep", "8642197"]}, restartPolicy="Always")
    before = pod.ready()
    [main] = processes("sleep", "8642197")
    shim = main.parent()
    assert shim is not None
    [pause] = [child for child in shim.children() if child.cmdline() == ["/pause"]]
    pause.kill()
    after = pod.until(
        lambda p: status_of(p).restartCount == 1 and condition_of(p, "Ready").status == "True", "up again"
    )
    assert status_of(after).containerID != status_of(before).containerID
    assert after.status.podIP
    assert pod.told("SandboxChanged") == "Pod sandbox changed, it will be killed and re-created."
    assert len(processes("sleep", "8642197")) == 1


def test_a_shorter_grace_hurries_a_deletion(cluster: Cluster) -> None:
    pod = cluster.pod(
        "trap 'echo told' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=600
    )
    pod.says("up")
    pod.delete()
    pod.says("told")
    assert pod.get().metadata.deletionGracePeriodSeconds == 600
    pod.delete(grace_s=1)
    cluster.until(lambda: not cluster.has(api.Pod, pod.name), "the pod is gone")
    cluster.until(lambda: not (cluster.pods_directory / pod.uid).exists(), "its files are gone")


def test_nothing_stays_mounted(cluster: Cluster) -> None:
    pod = cluster.pod(
        container={
            "volumeMounts": [
                {"name": "memory", "mountPath": "/memory", "subPath": "part"},
                {"name": "memory", "mountPath": "/whole"},
            ]
        },
        volumes=[{"name": "memory", "emptyDir": {"medium": "Memory"}}],
    )
    pod.ready()
    place = str(cluster.pods_directory / pod.uid)

    def mounted() -> list[str]:
        return [line for line in Path("/proc/mounts").read_text().splitlines() if place in line]

    assert len(mounted()) == 2  # the tmpfs, and the part of it
    pod.delete()
    cluster.until(lambda: not (cluster.pods_directory / pod.uid).exists(), "the pod's directory is gone")
    assert mounted() == []


def test_the_same_name_again_is_another_pod(cluster: Cluster) -> None:
    first = cluster.pod("trap '' TERM; echo up; while :; do sleep 0.05; done")
    first.says("up")
    first.delete(grace_s=0)
    meta = {"name": first.name, "namespace": "pods"}
    second = cluster.make(api.Pod, {"metadata": meta, "spec": {"containers": [_sleeper()]}})
    assert second.metadata.uid != first.uid
    first.uid = second.metadata.uid or ""
    ready = first.ready()
    assert ready.metadata.uid == second.metadata.uid
    assert status_of(ready).restartCount == 0


def _sleeper() -> dict[str, object]:
    return {"name": "main", "image": "sampan.local/busybox:1", "command": ["sleep", "1000"]}
