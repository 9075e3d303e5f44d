"""Requests and limits as the kernel's values: CPU shares and quota, memory, OOM score. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sampan.machinery.quantity import Quantity
from sampan.node.runtimes.runtime import Resources
from sampan.schema import api

CPU_PERIOD_US: Final = 100_000
LEAST_QUOTA_US: Final = 1_000
LEAST_SHARES: Final = 2
MOST_SHARES: Final = 262_144
BEST_EFFORT_OOM: Final = 1000
# A burstable pod stays above what guaranteed ones get and below what best-effort ones get.
BURSTABLE_OOM_LEAST: Final = 3

GUARANTEED: Final = "Guaranteed"
BURSTABLE: Final = "Burstable"
BEST_EFFORT: Final = "BestEffort"


def container_resources(container: api.Container, qos: str, node_memory_bytes: int) -> Resources:
    """The runtime's resources for one container, as kubelet computes them.

    OOM scores are never negative: lowering them needs CAP_SYS_RESOURCE, which not every host gives.
    """
    requests, limits = container.resources.requests, container.resources.limits
    cpu_limit = limits.get("cpu")
    cpu_request = requests.get("cpu", cpu_limit)
    memory_limit = limits.get("memory")
    return Resources(
        cpu_shares=cpu_shares(cpu_request.milli() if cpu_request is not None else 0),
        cpu_quota_us=cpu_quota_us(cpu_limit.milli() if cpu_limit is not None else 0),
        cpu_period_us=CPU_PERIOD_US,
        memory_limit_bytes=memory_limit.whole() if memory_limit is not None else 0,
        oom_score_adj=oom_score(container, qos, node_memory_bytes),
    )


def cpu_shares(milli: int) -> int:
    """Thousandths of a CPU as cgroup shares."""
    return max(LEAST_SHARES, min(milli * 1024 // 1000, MOST_SHARES))


def cpu_quota_us(milli: int) -> int:
    """Thousandths of a CPU as quota in each period; 0 means no limit."""
    return max(milli * CPU_PERIOD_US // 1000, LEAST_QUOTA_US) if milli else 0


def oom_score(container: api.Container, qos: str, node_memory_bytes: int) -> int:
    """How soon the kernel kills the container when memory runs out: the more, the sooner."""
    if qos == GUARANTEED:
        return 0
    request = container.resources.requests.get("memory", container.resources.limits.get("memory"))
    if qos == BEST_EFFORT or node_memory_bytes <= 0:
        return BEST_EFFORT_OOM
    asked = request.whole() if request is not None else 0
    score = 1000 - 1000 * asked // node_memory_bytes
    return max(BURSTABLE_OOM_LEAST, min(score, BEST_EFFORT_OOM - 1))


def qos_class(pod: api.Pod) -> str:
    """The pod's QoS class, from its status or computed as the API server does."""
    if pod.status.qosClass:
        return pod.status.qosClass
    containers = [*pod.spec.containers, *pod.spec.initContainers]
    if not any(_asks(c) for c in containers):
        return BEST_EFFORT
    return GUARANTEED if all(_is_guaranteed(c) for c in containers) else BURSTABLE


def _asks(container: api.Container) -> bool:
    held = container.resources
    return any(q.value > 0 for q in (*_compute(held.requests), *_compute(held.limits)))


def _compute(amounts: Mapping[str, Quantity]) -> Iterable[Quantity]:
    return (amounts[name] for name in ("cpu", "memory") if name in amounts)


def _is_guaranteed(container: api.Container) -> bool:
    limits, requests = container.resources.limits, container.resources.requests
    for name in ("cpu", "memory"):
        limit = limits.get(name)
        if limit is None or limit.value <= 0 or requests.get(name, limit) != limit:
            return False
    return True


def pod_requests(pod: api.Pod) -> dict[str, int]:
    """What the pod asks of its node: cpu in thousandths, the rest in whole units.

    The sum of the main containers and sidecars, or an init container with the sidecars before it where
    that is more, plus the overhead.
    """
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.initContainers:
        asked = _requests(container.resources)
        if container.restartPolicy == "Always":
            sidecars = _sum(sidecars, asked)
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum(sidecars, asked))
    total = dict(sidecars)
    for container in pod.spec.containers:
        total = _sum(total, _requests(container.resources))
    total = _most(total, peak)
    if pod.spec.resources is not None:
        total |= _requests(pod.spec.resources)
    return _sum(total, {name: _units(name, q) for name, q in pod.spec.overhead.items()})


def _requests(resources: api.ResourceRequirements) -> dict[str, int]:
    amounts = {**resources.limits, **resources.requests}
    return {name: _units(name, q) for name, q in amounts.items()}


def _units(name: str, amount: Quantity) -> int:
    return amount.milli() if name == "cpu" else amount.whole()


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}
