"""From what nodes count to what they use: two looks at counters make a rate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec


class _Cpu(msgspec.Struct, rename="camel"):
    time: datetime
    usage_core_nano_seconds: int


class _Memory(msgspec.Struct, rename="camel"):
    working_set_bytes: int


class ContainerStats(msgspec.Struct, rename="camel"):
    """A container in kubelet's summary."""

    name: str
    cpu: _Cpu
    memory: _Memory
    start_time: datetime | None = None


class PodRef(msgspec.Struct, frozen=True):
    """Which pod it is."""

    name: str
    namespace: str
    uid: str


class PodStats(msgspec.Struct, rename="camel"):
    """A pod in kubelet's summary; `node_name` beside kubelet's fields."""

    pod_ref: PodRef
    containers: list[ContainerStats] = []
    node_name: str = ""


class NodeStats(msgspec.Struct, rename="camel"):
    """The node in kubelet's summary; without amounts where the server speaks for simulated nodes."""

    node_name: str = ""
    cpu: _Cpu | None = None
    memory: _Memory | None = None


class Summary(msgspec.Struct):
    """The part of kubelet's /stats/summary that is needed here."""

    node: NodeStats
    pods: list[PodStats] = []


class Amount(msgspec.Struct, frozen=True):
    """CPU as a rate in billionths of a core over the window that ended at `at`, and memory at its end."""

    cpu_nano: int
    memory_bytes: int
    at: datetime
    window_s: float


class Counter(msgspec.Struct, frozen=True):
    """What was counted at one look."""

    cpu_total_ns: int
    memory_bytes: int
    at: datetime


Container = tuple[PodRef, str]


class Look(msgspec.Struct, frozen=True):
    """All counters of one look: of containers with the node they are on, and of nodes."""

    containers: Mapping[Container, Counter] = {}
    places: Mapping[PodRef, str] = {}
    nodes: Mapping[str, Counter] = {}


class Usage(msgspec.Struct, frozen=True):
    """What containers and nodes use, by pod and by name."""

    pods: Mapping[PodRef, Mapping[str, Amount]] = {}
    nodes: Mapping[str, Amount] = {}


def look(summaries: Iterable[Summary]) -> Look:
    """The counters of these summaries."""
    containers: dict[Container, Counter] = {}
    places: dict[PodRef, str] = {}
    nodes: dict[str, Counter] = {}
    for summary in summaries:
        node = summary.node
        if node.cpu is not None and node.memory is not None:
            nodes[node.node_name] = Counter(
                node.cpu.usage_core_nano_seconds, node.memory.working_set_bytes, node.cpu.time
            )
        for pod in summary.pods:
            places[pod.pod_ref] = pod.node_name or node.node_name
            for one in pod.containers:
                counter = Counter(one.cpu.usage_core_nano_seconds, one.memory.working_set_bytes, one.cpu.time)
                containers[pod.pod_ref, one.name] = counter
    return Look(containers, places, nodes)


def usage(before: Look, after: Look) -> Usage:
    """The rates between two looks. What began or was restarted in between has none yet, and neither has its
    pod: half a pod would mislead an autoscaler.
    """
    pods: dict[PodRef, dict[str, Amount]] = {}
    incomplete = set()
    for key, counter in after.containers.items():
        ref, name = key
        amount = _rate(before.containers.get(key), counter)
        if amount is None:
            incomplete.add(ref)
        else:
            pods.setdefault(ref, {})[name] = amount
    whole = {ref: amounts for ref, amounts in pods.items() if ref not in incomplete}
    nodes = {
        name: amount
        for name, counter in after.nodes.items()
        if (amount := _rate(before.nodes.get(name), counter)) is not None
    }
    return Usage(whole, _of_simulated(after, whole) | nodes)


def _rate(before: Counter | None, after: Counter) -> Amount | None:
    if before is None or after.at <= before.at or after.cpu_total_ns < before.cpu_total_ns:
        return None
    window_s = (after.at - before.at).total_seconds()
    nano = int((after.cpu_total_ns - before.cpu_total_ns) / window_s)
    return Amount(nano, after.memory_bytes, after.at, window_s)


def _of_simulated(after: Look, pods: Mapping[PodRef, Mapping[str, Amount]]) -> dict[str, Amount]:
    """Nodes that are no machines use what their pods use."""
    nodes: dict[str, Amount] = {}
    for ref, amounts in pods.items():
        name = after.places[ref]
        for amount in amounts.values():
            total = nodes.get(name)
            nodes[name] = amount if total is None else _sum(total, amount)
    return nodes


def _sum(one: Amount, other: Amount) -> Amount:
    return Amount(
        one.cpu_nano + other.cpu_nano,
        one.memory_bytes + other.memory_bytes,
        max(one.at, other.at),
        max(one.window_s, other.window_s),
    )
