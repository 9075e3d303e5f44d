"""Which devices there are, from ResourceSlices: pools in their latest generation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from sampan.kinds.core.node_selection import Matches, term_matches
from sampan.kinds.groups.resource.taints import selects
from sampan.machinery.quantity import Quantity
from sampan.schema import api


class DeviceId(NamedTuple):
    """A device by its driver, its pool and its name: unique in a cluster."""

    driver: str
    pool: str
    device: str


# What one set of counters in a pool is called: driver, pool, set, counter.
CounterId = tuple[str, str, str, str]


class Offered(msgspec.Struct, frozen=True, eq=False):
    """A device that can be had, and where. `node` "" and no `matches`: from every node."""

    id: DeviceId
    device: api.Device
    node: str = ""
    selector: api.NodeSelector | None = None
    matches: tuple[Matches, ...] = ()
    consumes: tuple[tuple[CounterId, Quantity], ...] = ()
    complete: bool = True  # whether all slices of its pool are there
    taints: tuple[api.DeviceTaint, ...] = ()  # the driver's, and those of DeviceTaintRules

    @property
    def shared(self) -> bool:
        """Whether several allocations may have the device, each a part of its capacity."""
        return bool(self.device.allowMultipleAllocations)

    def reaches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a pod on this node can use the device."""
        if self.node:
            return self.node == name
        return self.selector is None or any(match(name, labels) for match in self.matches)


class Inventory:
    """All devices, by the node that they are on, and those that several nodes reach."""

    def __init__(
        self, slices: Iterable[api.ResourceSlice] = (), rules: Iterable[api.DeviceTaintRule] = ()
    ) -> None:
        self._rules = sorted(rules, key=lambda rule: rule.metadata.name or "")
        self.by_node: dict[str, list[Offered]] = {}
        self.shared: list[Offered] = []
        self.counters: dict[CounterId, Quantity] = {}
        self.offers: dict[DeviceId, Offered] = {}
        pools: dict[tuple[str, str], list[api.ResourceSlice]] = {}
        for each in slices:
            pool = each.spec.pool
            if pool is not None:
                pools.setdefault((each.spec.driver, pool.name), []).append(each)
        for key in sorted(pools):
            self._add_pool(key, pools[key])

    def on(self, name: str, labels: Mapping[str, str]) -> list[Offered]:
        """The devices that a pod on the node can use, its own first."""
        wide = [offered for offered in self.shared if offered.reaches(name, labels)]
        return [*self.by_node.get(name, ()), *wide]

    def _add_pool(self, key: tuple[str, str], slices: list[api.ResourceSlice]) -> None:
        latest = max(_generation(each) for each in slices)
        current = sorted(
            (each for each in slices if _generation(each) == latest), key=lambda s: s.metadata.name or ""
        )
        complete = len(current) >= _count(current[0])
        names = [device.name for each in current for device in each.spec.devices]
        if len(names) != len(set(names)):
            complete = False  # upstream calls such a pool invalid; nothing of it is given away
        for each in current:
            for counters in each.spec.sharedCounters:
                for name, counter in counters.counters.items():
                    if counter.value is not None:
                        self.counters[(*key, counters.name, name)] = counter.value
            for device in each.spec.devices:
                self._add_device(key, each.spec, device, complete)

    def _taints(self, name: DeviceId, device: api.Device) -> tuple[api.DeviceTaint, ...]:
        ruled = [r.spec.taint for r in self._rules if r.spec.taint is not None and selects(r, *name)]
        return (*device.taints, *ruled)

    def _add_device(
        self, key: tuple[str, str], spec: api.ResourceSliceSpec, device: api.Device, complete: bool
    ) -> None:
        where: Any = device if spec.perDeviceNodeSelection else spec
        selector = None if where.nodeName else where.nodeSelector
        if not where.nodeName and selector is None and not where.allNodes:
            return
        consumes = [
            ((*key, consumption.counterSet, name), counter.value)
            for consumption in device.consumesCounters
            for name, counter in consumption.counters.items()
            if counter.value is not None
        ]
        offered = Offered(
            id=DeviceId(*key, device.name),
            device=device,
            node=where.nodeName or "",
            selector=selector,
            matches=tuple(term_matches(t) for t in selector.nodeSelectorTerms) if selector else (),
            consumes=tuple(consumes),
            complete=complete,
            taints=self._taints(DeviceId(*key, device.name), device),
        )
        self.offers[offered.id] = offered
        (self.by_node.setdefault(offered.node, []) if offered.node else self.shared).append(offered)


def _generation(each: api.ResourceSlice) -> int:
    return each.spec.pool.generation if each.spec.pool is not None else 0


def _count(each: api.ResourceSlice) -> int:
    return each.spec.pool.resourceSliceCount if each.spec.pool is not None else 0
