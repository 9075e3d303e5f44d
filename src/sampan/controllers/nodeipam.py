"""Addresses for the pods of each node: a part of the cluster's range, in spec.podCIDR.

Follows kube-controller-manager's range allocator. A node that brings its range keeps it; one that is deleted
gives it back with that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from sampan.client.effects import Emit, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

IPV4_MASK: Final = 24
IPV6_MASK: Final = 64
BY_RANGE: Final = "podCIDR"


class Ranges(msgspec.Struct, frozen=True):
    """What nodes get their ranges from: one network, or one of each family, cut into parts.

    `fixed` are the ranges of nodes, by name, that are set up elsewhere; nobody else gets them.
    """

    networks: tuple[str, ...]
    ipv4_mask: int = IPV4_MASK
    ipv6_mask: int = IPV6_MASK
    fixed: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    def parts(self, network: str) -> int:
        """How many nodes the network is enough for."""
        whole = ipaddress.ip_network(network)
        return 1 << max(self._mask(whole) - whole.prefixlen, 0)

    def part(self, network: str, number: int) -> str:
        """The part with this number, counted from 0."""
        whole = ipaddress.ip_network(network)
        mask = self._mask(whole)
        first = int(whole.network_address) + (number << (whole.max_prefixlen - mask))
        return f"{ipaddress.ip_address(first) if whole.version == 4 else ipaddress.IPv6Address(first)}/{mask}"

    def _mask(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> int:
        return self.ipv4_mask if network.version == 4 else self.ipv6_mask


class View(msgspec.Struct, frozen=True):
    """A node without a range, and the first free part of each network; None where none is left."""

    node: api.Node
    free: tuple[str, ...] | None


def by_range(node: api.Node) -> Iterable[str]:
    """For the index `BY_RANGE`."""
    return tuple(node.spec.podCIDRs) or ((node.spec.podCIDR,) if node.spec.podCIDR else ())


def gather(caches: Caches, key: Key, ranges: Ranges) -> View | None:
    nodes = caches.of(api.Node)
    node = nodes.get("", key.name)
    if node is None or node.metadata.deletionTimestamp is not None or by_range(node):
        return None
    own = ranges.fixed.get(key.name)
    if own is not None:
        return View(node, own)
    kept = {cidr for cidrs in ranges.fixed.values() for cidr in cidrs}
    found = []
    for network in ranges.networks:
        parts = ranges.parts(network)
        # Where nobody left, the part after as many as there are nodes is free: most looks are the first.
        start = max(len(nodes) - 1, 0) % parts
        numbers = (*range(start, parts), *range(start)) if start else range(parts)
        free = next(
            (
                part
                for number in numbers
                if not nodes.count(BY_RANGE, part := ranges.part(network, number)) and part not in kept
            ),
            None,
        )
        if free is None:
            return View(node, None)
        found.append(free)
    return View(node, tuple(found))


def plan(view: View, now: datetime) -> Plan:
    """Give the node its range, or say that none is left."""
    node = view.node
    if view.free is None:
        message = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
        emit = Emit(ref_of(node), "Normal", "CIDRNotAvailable", message)
        return Plan((emit,), "another node to give back its range of pod addresses")
    meta = {"uid": node.metadata.uid}
    return Plan(
        (
            Patch(
                ref_of(node), {"metadata": meta, "spec": {"podCIDR": view.free[0], "podCIDRs": [*view.free]}}
            ),
        )
    )


def _without_range(caches: Caches, node: api.Node) -> Iterable[Key]:
    """When a node goes, one that waits may have its range."""
    if caches.of(api.Node).get("", node.metadata.name or "") is not None:
        return ()
    waiting = (one for one in caches.of(api.Node).items() if not by_range(one))
    return tuple(Key("", one.metadata.name or "") for one in waiting)


def controller(ranges: Ranges) -> Controller:
    """The controller for these ranges. One worker, so that no two nodes get the same part."""
    return Controller(
        name="node-ipam",
        reporter="cidrAllocator",
        kind=api.Node,
        matters=lambda old, new: bool(by_range(old) != by_range(new)),
        watches=(mapped(api.Node, _without_range, lambda _old, _new: False),),
        indexes={api.Node: {BY_RANGE: by_range}},
        gather=lambda caches, key: gather(caches, key, ranges),
        plan=plan,
        workers=1,
    )
