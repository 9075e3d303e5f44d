"""What a pod asks for: resources as the scheduler counts them, and host ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sampan.schema import api

# What scoring takes a container to need that asks for nothing (kube-scheduler's non-zero requests).
DEFAULT_MILLI_CPU: Final = 100
DEFAULT_MEMORY_BYTES: Final = 200 * 1024 * 1024
CPU: Final = "cpu"
MEMORY: Final = "memory"
PODS: Final = "pods"


class HostPort(msgspec.Struct, frozen=True):
    """A port that a pod takes on its node."""

    ip: str
    port: int
    protocol: str

    def clashes(self, other: HostPort) -> bool:
        """Whether both cannot be on one node: the wildcard address clashes with every address."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip)


class Demand(msgspec.Struct, frozen=True):
    """What one pod takes from a node. CPU in thousandths, everything else in whole units."""

    amounts: Mapping[str, int]
    scored_cpu: int
    scored_memory: int
    ports: tuple[HostPort, ...]


def demand(pod: api.Pod) -> Demand:
    """The demand of a pod: containers and sidecars together, or the largest init step if that is more."""
    spec = pod.spec
    amounts = _with_init(spec, _requests)
    scored = _with_init(spec, _scored_requests)
    if spec.overhead:
        for name, quantity in spec.overhead.items():
            extra = quantity.milli() if name == CPU else quantity.whole()
            amounts[name] = amounts.get(name, 0) + extra
            scored[name] = scored.get(name, 0) + extra
    amounts[PODS] = 1
    ports = tuple(
        HostPort(port.hostIP or "0.0.0.0", port.hostPort, port.protocol or "TCP")
        for container in (*spec.containers, *spec.initContainers)
        for port in container.ports
        if port.hostPort
    )
    return Demand(amounts, scored.get(CPU, 0), scored.get(MEMORY, 0), ports)


def _requests(container: api.Container) -> dict[str, int]:
    return {
        name: quantity.milli() if name == CPU else quantity.whole()
        for name, quantity in container.resources.requests.items()
    }


def _scored_requests(container: api.Container) -> dict[str, int]:
    asked = _requests(container)
    asked.setdefault(CPU, DEFAULT_MILLI_CPU)
    asked.setdefault(MEMORY, DEFAULT_MEMORY_BYTES)
    return asked


def _with_init(spec: api.PodSpec, of: Callable[[api.Container], dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in spec.containers:
        _add(total, of(container))
    sidecars: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in spec.initContainers:
        if container.restartPolicy == "Always":
            _add(sidecars, of(container))
            step = dict(sidecars)
        else:
            step = dict(sidecars)
            _add(step, of(container))
        for name, amount in step.items():
            most[name] = max(most.get(name, 0), amount)
    _add(total, sidecars)
    for name, amount in most.items():
        total[name] = max(total.get(name, 0), amount)
    return total


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount
