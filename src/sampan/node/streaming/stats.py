"""`/stats/summary`: what the containers of a node use, in the shape of kubelet's summary API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from sampan.node.runtimes.runtime import Usage
from sampan.node.streaming.host import bare_id
from sampan.schema import api


class MachineUsage(msgspec.Struct, frozen=True):
    """What a machine as a whole uses."""

    cpu_total_ns: int
    memory_working_set_bytes: int
    memory_available_bytes: int


def summary(
    name: str, pods: Iterable[api.Pod], usages: Iterable[Usage], machine: MachineUsage | None, now: datetime
) -> dict[str, Any]:
    """The document. Pods say which node they are on, beside kubelet's fields: one server may speak for many.

    Containers that are not running have no usage and are left out, and so are pods without any.
    """
    used = {usage.container_id: usage for usage in usages}
    stats = [one for pod in pods if (one := _pod(pod, used, now)) is not None]
    node: dict[str, Any] = {"nodeName": name}
    if machine is not None:
        node |= _amounts(machine.cpu_total_ns, machine.memory_working_set_bytes, now)
        node["memory"]["availableBytes"] = machine.memory_available_bytes
    return {"node": node, "pods": stats}


def _pod(pod: api.Pod, used: Mapping[str, Usage], now: datetime) -> dict[str, Any] | None:
    containers: list[dict[str, Any]] = []
    status = pod.status
    for one in (*status.containerStatuses, *status.initContainerStatuses):
        usage = used.get(bare_id(one.containerID or ""))
        running = one.state.running if one.state is not None else None
        if usage is not None and running is not None:
            amounts = _amounts(usage.cpu_total_ns, usage.memory_working_set_bytes, now)
            containers.append({"name": one.name, "startTime": running.startedAt, **amounts})
    if not containers:
        return None
    meta = pod.metadata
    return {
        "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "nodeName": pod.spec.nodeName,
        "startTime": status.startTime,
        "containers": containers,
        **_amounts(
            sum(c["cpu"]["usageCoreNanoSeconds"] for c in containers),
            sum(c["memory"]["workingSetBytes"] for c in containers),
            now,
        ),
    }


def _amounts(cpu_total_ns: int, memory_bytes: int, now: datetime) -> dict[str, dict[str, Any]]:
    return {
        "cpu": {"time": now, "usageCoreNanoSeconds": cpu_total_ns},
        "memory": {"time": now, "workingSetBytes": memory_bytes},
    }
