"""When a node is short of something, and which pod goes first: pure, by kubelet's rules.

A signal is named as kubelet's flags name it (`memory.available`); a threshold says below which amount, or
part of the capacity, the node is short of it. Only hard thresholds: what is crossed is acted on at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from sampan.kinds.groups.scheduling import SYSTEM_PRIORITIES
from sampan.machinery.quantity import binary, quantity
from sampan.machinery.tolerations import tolerates
from sampan.node.admission import rejection
from sampan.node.model import Trouble
from sampan.node.resources import pod_requests, qos_class
from sampan.schema import api

REASON: Final = "Evicted"
CRITICAL_PRIORITY: Final = SYSTEM_PRIORITIES["system-cluster-critical"]

# signal: (node condition, what is short), in the order in which shortages are dealt with.
SIGNALS: Final = {
    "memory.available": ("MemoryPressure", "memory"),
    "nodefs.available": ("DiskPressure", "ephemeral-storage"),
    "imagefs.available": ("DiskPressure", "ephemeral-storage"),
    "nodefs.inodesFree": ("DiskPressure", "inodes"),
    "imagefs.inodesFree": ("DiskPressure", "inodes"),
    "pid.available": ("PIDPressure", "pids"),
}


class Amount(msgspec.Struct, frozen=True):
    """What is left of something, and how much there is of it in all: bytes or a number."""

    available: int
    capacity: int


class Threshold(msgspec.Struct, frozen=True):
    """The least that has to be left: `least`, or `least_percent` of the capacity."""

    signal: str
    least: int = 0
    least_percent: float = 0.0

    def of(self, capacity: int) -> int:
        """The amount for something of that capacity."""
        return int(capacity * self.least_percent / 100) if self.least_percent else self.least


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod uses: memory and disk (its own layer and logs) by container, disk by emptyDir volume."""

    pod: api.Pod
    memory: Mapping[str, int] = msgspec.field(default_factory=dict)
    disk: Mapping[str, int] = msgspec.field(default_factory=dict)
    volumes: Mapping[str, int] = msgspec.field(default_factory=dict)
    files: int = 0

    @property
    def disk_bytes(self) -> int:
        return sum(self.disk.values()) + sum(self.volumes.values())


def written(words: Iterable[str]) -> dict[str, str]:
    """The thresholds of a command line: `memory.available<100Mi` as for kubelet, or with `=`, one a word."""
    found = {}
    for word in words:
        signal, sign, amount = word.partition("<" if "<" in word else "=")
        found[signal.strip()] = amount.strip() if sign else ""
    return found


def thresholds(given: Mapping[str, str]) -> tuple[Threshold, ...]:
    """Read `{"memory.available": "100Mi", "nodefs.available": "10%"}`. Raises ValueError."""
    found = []
    for signal, text in given.items():
        if signal not in SIGNALS:
            raise ValueError(f"{signal} is no eviction signal; there are {', '.join(SIGNALS)}")
        try:
            if text.endswith("%"):
                found.append(Threshold(signal, least_percent=float(text[:-1])))
            else:
                found.append(Threshold(signal, least=quantity(text).whole()))
        except ValueError:
            what = f"{signal} has to be an amount such as 100Mi or a part such as 10%, not {text!r}"
            raise ValueError(what) from None
        if found[-1].least < 0 or not 0 <= found[-1].least_percent <= 100:
            raise ValueError(f"{signal} has to be at least 0 and at most 100%, not {text!r}")
    return tuple(found)


def crossed(limits: Iterable[Threshold], amounts: Mapping[str, Amount]) -> list[Threshold]:
    """The thresholds below which the node is, the most pressing first."""
    order = list(SIGNALS)
    found = [
        limit
        for limit in limits
        if limit.signal in amounts
        and amounts[limit.signal].available < limit.of(amounts[limit.signal].capacity)
    ]
    return sorted(found, key=lambda limit: order.index(limit.signal))


def pressing(
    found: Iterable[Threshold], before: Mapping[str, datetime], now: datetime, transition_s: float
) -> dict[str, datetime]:
    """When each node condition was last seen; it holds until it has not been seen for the transition time."""
    held = {c: at for c, at in before.items() if (now - at).total_seconds() < transition_s}
    return held | {SIGNALS[limit.signal][0]: now for limit in found}


def is_critical(pod: api.Pod) -> bool:
    """Whether the system needs the pod: it is neither evicted nor refused for want of anything."""
    return (pod.spec.priority or 0) >= CRITICAL_PRIORITY


def refusal(pod: api.Pod, conditions: Sequence[str]) -> Trouble | None:
    """Why a node with these pressures takes no such pod; None where it does.

    Short of memory only, it refuses best-effort pods that do not tolerate that, else all but critical ones.
    """
    if not conditions or is_critical(pod):
        return None
    if list(conditions) == ["MemoryPressure"]:
        taint = api.Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule")
        if qos_class(pod) != "BestEffort" or any(tolerates(held, taint) for held in pod.spec.tolerations):
            return None
    return rejection(REASON, f"The node had condition: [{' '.join(conditions)}]. ")


def ranked(short_of: str, uses: Iterable[Use]) -> list[Use]:
    """Who goes first: who uses more than it asked for, who matters less, who uses most beyond its request."""

    def key(use: Use) -> tuple[bool, int, int]:
        over = _used(short_of, use) - _asked(short_of, use.pod)
        return (short_of != "pids" and over <= 0, use.pod.spec.priority or 0, -over)

    return sorted((use for use in uses if not is_critical(use.pod)), key=key)


def _used(short_of: str, use: Use) -> int:
    match short_of:
        case "memory":
            return sum(use.memory.values())
        case "ephemeral-storage":
            return use.disk_bytes
        case "inodes":
            return use.files
    return 0


def _asked(short_of: str, pod: api.Pod) -> int:
    return pod_requests(pod).get(short_of, 0)


def message(limit: Threshold, amount: Amount, use: Use) -> str:
    """What the evicted pod's status and event say."""
    short_of = SIGNALS[limit.signal][1]
    parts = [
        f"The node was low on resource: {short_of}. ",
        f"Threshold quantity: {binary(limit.of(amount.capacity))}, available: {binary(amount.available)}. ",
    ]
    used = {"memory": use.memory, "ephemeral-storage": use.disk}.get(short_of, {})
    for container in (*use.pod.spec.containers, *use.pod.spec.initContainers):
        request = container.resources.requests.get(short_of)
        if used.get(container.name, 0) > (request.whole() if request is not None else 0):
            parts.append(
                f"Container {container.name} was using {binary(used[container.name])}, request is "
                f"{request.text if request is not None else 0}, has larger consumption of {short_of}. "
            )
    return "".join(parts)


def over_limit(use: Use) -> str:
    """Which of the pod's own limits of disk it exceeds, in kubelet's words; empty where none."""
    for volume in use.pod.spec.volumes:
        limit = volume.emptyDir.sizeLimit if volume.emptyDir is not None else None
        if limit is not None and 0 < limit.whole() < use.volumes.get(volume.name, 0):
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit.text}". '
    limits = [c.resources.limits.get("ephemeral-storage") for c in use.pod.spec.containers]
    if limits and all(limit is not None for limit in limits):
        total = sum(limit.whole() for limit in limits if limit is not None)
        if use.disk_bytes > total:
            return (
                f"Pod ephemeral local storage usage exceeds the total limit of containers {binary(total)}. "
            )
    for container in (*use.pod.spec.containers, *use.pod.spec.initContainers):
        limit = container.resources.limits.get("ephemeral-storage")
        if limit is not None and 0 < limit.whole() < use.disk.get(container.name, 0):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{limit.text}". '
    return ""


def has_disk_limits(pod: api.Pod) -> bool:
    """Whether it has to be measured how much the pod has on the disk."""
    containers = (*pod.spec.containers, *pod.spec.initContainers)
    return any("ephemeral-storage" in c.resources.limits for c in containers) or any(
        v.emptyDir is not None and v.emptyDir.sizeLimit is not None and v.emptyDir.medium != "Memory"
        for v in pod.spec.volumes
    )
