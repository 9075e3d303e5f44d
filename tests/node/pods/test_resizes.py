"""Pods of several containers are resized while they run: cgroups and statuses follow, nothing restarts."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api, codec
from tests.node.pods.cluster import NAMESPACE, Cluster, Pod, lines_of

pytestmark = [pytest.mark.containers, pytest.mark.timeout(120)]

# Thousandths of a CPU and MiB, for requests and limits alike.
Size = tuple[int, int]
READ = (
    "cd /sys/fs/cgroup; for f in cpu/cpu.shares cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes "
    "cpu.weight cpu.max memory.max; do [ -e $f ] && echo $f=$(cat $f); done; true"
)


def resources(limits: Size | None, requests: Size | None = None) -> dict[str, Any]:
    def amounts(size: Size) -> dict[str, str]:
        return {"cpu": f"{size[0]}m", "memory": f"{size[1]}Mi"}

    given = {"limits": limits, "requests": requests or limits}
    return {name: amounts(size) for name, size in given.items() if size is not None}


def create(cluster: Cluster, wanted: dict[str, dict[str, Any]]) -> Pod:
    containers = [
        {"name": name, "image": BUSYBOX, "command": ["sleep", "1000"], "resources": each}
        for name, each in wanted.items()
    ]
    pod = cluster.pod(containers=containers)
    pod.ready()
    return pod


def shown(pod: api.Pod) -> dict[str, Any]:
    return {c.name or "": codec.to_builtins(c.resources) for c in pod.status.containerStatuses}


def limits_in_cgroup(pod: Pod, container: str) -> Size:
    """What the kernel holds the container to; 0 where to nothing."""
    seen = lines_of(pod.exec(READ, container))
    memory = seen.get("memory/memory.limit_in_bytes") or seen["memory.max"]
    quota = seen.get("cpu/cpu.cfs_quota_us") or seen["cpu.max"].split()[0]
    cpu = 0 if quota in ("-1", "max") else int(quota) // 100
    bytes_ = 0 if memory == "max" or int(memory) > 1 << 60 else int(memory)
    return cpu, bytes_ >> 20


def resize(cluster: Cluster, pod: Pod, wanted: dict[str, dict[str, Any]]) -> None:
    """Ask for these sizes, and wait until the status and the cgroups have them."""
    before = {c.name: c.containerID for c in pod.get().status.containerStatuses}
    change = [{"name": name, "resources": each} for name, each in wanted.items()]
    cluster.patch(api.Pod, pod.name, {"spec": {"containers": change}}, "resize")
    check(cluster, pod, wanted, before)


def check(
    cluster: Cluster, pod: Pod, wanted: dict[str, dict[str, Any]], before: dict[str | None, str | None]
) -> None:
    resized = pod.until(
        lambda p: all(shown(p)[name] == each for name, each in wanted.items()), f"resized to {wanted}"
    )
    assert {c.name: c.containerID for c in resized.status.containerStatuses} == before
    assert [c.restartCount for c in resized.status.containerStatuses] == [0] * len(before)
    for name, each in wanted.items():
        limits = each.get("limits", {})
        size = (int(limits.get("cpu", "0m")[:-1]), int(limits.get("memory", "0Mi")[:-2]))
        cluster.until(lambda name=name, size=size: limits_in_cgroup(pod, name) == size, f"{name} has {size}")  # type: ignore[misc]
    pod.until(
        lambda p: not any(c.type in ("PodResizePending", "PodResizeInProgress") for c in p.status.conditions),
        "told to be resized",
    )


@pytest.mark.conformance(
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem "
    "on c1, c2, decrease cpu & mem on c3 - net increase"
)
@pytest.mark.conformance(
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem "
    "on c1, decrease cpu & mem on c2, c3 - net decrease"
)
@pytest.mark.conformance(
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU "
    "(c1,c3), memory (c2, c3) ; decrease: CPU (c2)"
)
def test_a_guaranteed_pod_of_three(cluster: Cluster) -> None:
    first: dict[str, Size] = {"c1": (100, 50), "c2": (100, 50), "c3": (100, 50)}
    pod = create(cluster, {name: resources(size) for name, size in first.items()})
    for change in (
        {"c1": (140, 70), "c2": (130, 60), "c3": (60, 30)},
        {"c1": (150, 75), "c2": (70, 40), "c3": (50, 25)},
        {"c1": (160, 75), "c2": (60, 45), "c3": (70, 35)},
    ):
        resize(cluster, pod, {name: resources(size) for name, size in change.items()})
    assert pod.get().status.qosClass == "Guaranteed"


@pytest.mark.conformance(
    "Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed "
    "(including adding limits and requests)"
)
def test_a_burstable_pod_of_six(cluster: Cluster) -> None:
    low, high = (50, 40), (100, 60)
    pod = create(
        cluster,
        {
            "grows": resources(high, low),
            "shrinks": resources(high, low),
            "asks-more": resources(high, low),
            "gets-limits": resources(None, low),
            "gets-both": {},
            "stays": resources(high, low),
        },
    )
    resize(
        cluster,
        pod,
        {
            "grows": resources((140, 80), (70, 50)),
            "shrinks": resources((80, 50), (40, 30)),
            "asks-more": resources(high, (80, 50)),
            "gets-limits": resources(high, low),
            "gets-both": resources(high, low),
        },
    )
    assert limits_in_cgroup(pod, "stays") == high
    assert pod.get().status.qosClass == "Burstable"


@pytest.mark.conformance("Pod InPlace Resize Container burstable pods - extended resize with equivalents")
def test_amounts_written_in_another_way(cluster: Cluster) -> None:
    pod = create(cluster, {"main": resources((200, 64), (100, 32))})
    before = pod.get()
    same = {
        "limits": {"cpu": "0.2", "memory": str(64 << 20)},
        "requests": {"cpu": "1e-1", "memory": "32768Ki"},
    }
    change = [{"name": "main", "resources": same}]
    cluster.patch(api.Pod, pod.name, {"spec": {"containers": change}}, "resize")
    seen = pod.until(lambda p: p.status.observedGeneration == p.metadata.generation, "seen")
    assert limits_in_cgroup(pod, "main") == (200, 64)
    assert seen.status.containerStatuses[0].containerID == before.status.containerStatuses[0].containerID


@pytest.mark.conformance("Pod InPlace Resize Container resize pod via the replace endpoint")
def test_a_pod_is_resized_by_an_update(cluster: Cluster) -> None:
    pod = create(cluster, {"main": resources((100, 50))})
    now = pod.get()
    before = {c.name: c.containerID for c in now.status.containerStatuses}
    wanted = resources((150, 70))
    now.spec.containers[0].resources = codec.from_builtins(wanted, api.ResourceRequirements)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.name}/resize"
    reply = cluster.run(cluster.client.transport.request("PUT", path, None, codec.encode(now)))
    assert reply.status == 200, reply.body
    check(cluster, pod, {"main": wanted}, before)
