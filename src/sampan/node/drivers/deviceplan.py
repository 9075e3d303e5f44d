"""Which devices of device plugins a container gets, and what there are for the node's status. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from sampan.node.drivers.edits import Edits
from sampan.schema import api


class Held(msgspec.Struct, frozen=True):
    """Devices that a container has of one resource. Without `edits` the plugin has not answered yet.

    `nodes`: the NUMA nodes that devices are near to, of those whose plugin said so.
    """

    pod: str
    container: str
    resource: str
    devices: tuple[str, ...]
    edits: Edits | None = None
    nodes: Mapping[str, tuple[int, ...]] = {}


class Wanted(msgspec.Struct, frozen=True):
    """What one container asks for. `lends`: what it has is free again before the next container starts."""

    container: str
    resource: str
    count: int
    lends: bool


class Choice(msgspec.Struct, frozen=True):
    """What to choose among: those that must be taken, those that may be, and how many in all."""

    must: tuple[str, ...]
    available: tuple[str, ...]
    count: int


class TooFew(Exception):
    """There are not as many devices as asked for; `available` are."""

    def __init__(self, available: int) -> None:
        super().__init__(available)
        self.available = available


def wanted(pod: api.Pod, resources: Collection[str]) -> list[Wanted]:
    """What the pod's containers ask for of these resources, in the order in which they start."""
    found = []
    initial = len(pod.spec.initContainers)
    for index, container in enumerate((*pod.spec.initContainers, *pod.spec.containers)):
        limits = container.resources.limits if container.resources is not None else {}
        lends = index < initial and container.restartPolicy != "Always"
        for name in sorted(limits):
            if name in resources and limits[name].whole() > 0:
                found.append(Wanted(container.name, name, limits[name].whole(), lends))
    return found


def choice(want: Wanted, healthy: Iterable[str], held: Iterable[Held], lent: Collection[str]) -> Choice:
    """What can be chosen for a container. What the pod lends itself is taken first. Raises TooFew."""
    mine = sorted(lent)[: want.count]
    used = {device for each in held if each.resource == want.resource for device in each.devices}
    free = tuple(sorted(set(healthy) - used))
    if len(mine) + len(free) < want.count:
        raise TooFew(len(mine) + len(free))
    return Choice(tuple(mine), (*mine, *free), want.count)


def chosen(options: Choice, preferred: Sequence[str] = ()) -> tuple[str, ...]:
    """The devices that are taken; what a plugin prefers counts where it makes sense."""
    sensible = (
        len(set(preferred)) == options.count
        and set(preferred) <= set(options.available)
        and set(options.must) <= set(preferred)
    )
    if sensible:
        return tuple(sorted(preferred))
    rest = [device for device in options.available if device not in options.must]
    return (*options.must, *rest[: options.count - len(options.must)])


def amounts(
    plugins: Mapping[str, Mapping[str, bool]], stopped: Collection[str]
) -> dict[str, tuple[int, int]]:
    """Capacity and allocatable by resource, from devices and their health; of stopped ones none is."""
    return {
        name: (len(devices), 0 if name in stopped else sum(devices.values()))
        for name, devices in plugins.items()
    }
