"""What a pod asks for: resources as the scheduler counts them, and host ports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sampan.machinery.quantity import Quantity
from sampan.schema import api

# What scoring takes a container to need that asks for nothing (kube-scheduler's non-zero requests).
DEFAULT_MILLI_CPU: Final = 100
DEFAULT_MEMORY_BYTES: Final = 200 * 1024 * 1024
CPU: Final = "cpu"
MEMORY: Final = "memory"
PODS: Final = "pods"
WILDCARD: Final = "0.0.0.0"
# Amounts are capped here, so that sums of a full node fit an int64 and shares are exact as floats.
MOST_AMOUNT: Final = 2**53
# What a pod may ask for as a whole, besides its containers (k8s.io/component-helpers/resource).
_POD_LEVEL: Final = (CPU, MEMORY)
_POD_LEVEL_PREFIX: Final = "hugepages-"

Amounts = dict[str, int]


class HostPort(msgspec.Struct, frozen=True):
    """A port that a pod takes on its node."""

    ip: str
    port: int
    protocol: str

    def clashes(self, other: HostPort) -> bool:
        """Whether both cannot be on one node: the wildcard address clashes with every address."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        return self.ip == other.ip or WILDCARD in (self.ip, other.ip)


class Demand(msgspec.Struct, frozen=True):
    """What one pod takes from a node. CPU in thousandths, everything else in whole units.

    `scored_cpu` and `scored_memory` take containers that ask for nothing to need a little all the same.
    """

    amounts: Mapping[str, int]
    scored_cpu: int
    scored_memory: int
    ports: tuple[HostPort, ...]

    @property
    def best_effort(self) -> bool:
        """Whether the pod asks for neither CPU nor memory."""
        return not self.amounts.get(CPU) and not self.amounts.get(MEMORY)


def amount_of(resource: str, quantity: Quantity) -> int:
    """A quantity as the scheduler counts it, rounded up."""
    return min(quantity.milli() if resource == CPU else quantity.whole(), MOST_AMOUNT)


def demand(pod: api.Pod, *, resized: bool = True) -> Demand:
    """The demand of a pod: containers and sidecars together, or the largest init step if that is more.

    Follows resourcehelper.PodRequests: requests of the pod as a whole override the sum of its containers,
    a container that is being resized counts with the larger of what it has and what it shall have, and the
    RuntimeClass's overhead comes on top. With `resized` False the status is not looked at.
    """
    spec = pod.spec
    held = (*pod.status.containerStatuses, *pod.status.initContainerStatuses) if resized else ()
    statuses = {s.name: s for s in held}

    def asked(container: api.Container) -> Amounts:
        return _asked(container, statuses.get(container.name))

    pod_level = _pod_level(spec)
    amounts = _with_init(spec, asked)
    amounts.update(pod_level)
    defaults = {CPU: DEFAULT_MILLI_CPU, MEMORY: DEFAULT_MEMORY_BYTES}
    if pod_level:
        defaults = {name: amount for name, amount in defaults.items() if name not in amounts}
    scored = _with_init(spec, lambda container: {**defaults, **asked(container)})
    scored.update(pod_level)
    for total in (amounts, scored):
        _add(total, {name: amount_of(name, quantity) for name, quantity in spec.overhead.items()})
    amounts[PODS] = 1
    capped = {name: min(amount, MOST_AMOUNT) for name, amount in amounts.items()}
    return Demand(
        capped,
        min(scored.get(CPU, 0), MOST_AMOUNT),
        min(scored.get(MEMORY, 0), MOST_AMOUNT),
        tuple(host_ports(spec)),
    )


def host_ports(spec: api.PodSpec) -> list[HostPort]:
    """The host ports of containers and sidecars."""
    sidecars = [c for c in spec.initContainers if c.restartPolicy == "Always"]
    return [
        HostPort(port.hostIP or WILDCARD, port.hostPort, port.protocol or "TCP")
        for container in (*spec.containers, *sidecars)
        for port in container.ports
        if port.hostPort
    ]


def _pod_level(spec: api.PodSpec) -> Amounts:
    if spec.resources is None:
        return {}
    return {
        name: amount_of(name, quantity)
        for name, quantity in spec.resources.requests.items()
        if name in _POD_LEVEL or name.startswith(_POD_LEVEL_PREFIX)
    }


def _asked(container: api.Container, status: api.ContainerStatus | None) -> Amounts:
    asked = _amounts(container.resources.requests) if container.resources is not None else {}
    if status is None:
        return asked
    held = [status.allocatedResources]
    if status.resources is not None:
        held.append(status.resources.requests)
    for resources in held:
        for name, amount in _amounts(resources).items():
            asked[name] = max(asked.get(name, 0), amount)
    return asked


def _amounts(resources: Mapping[str, Quantity]) -> Amounts:
    return {name: amount_of(name, quantity) for name, quantity in resources.items()}


def _with_init(spec: api.PodSpec, of: Callable[[api.Container], Amounts]) -> Amounts:
    total: Amounts = {}
    for container in spec.containers:
        _add(total, of(container))
    sidecars: Amounts = {}
    most: Amounts = {}
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


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount
