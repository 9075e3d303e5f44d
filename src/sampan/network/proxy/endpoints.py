"""Which endpoints a service port has on this node: merged from slices, filtered as kube-proxy does."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from sampan.schema import api

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
IPV4, IPV6 = 4, 6
_ADDRESS_TYPES: Final[Mapping[str, int]] = {"IPv4": IPV4, "IPv6": IPV6}


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """Where traffic may go. `local`: it runs on the node that the rules are for."""

    ip: str
    port: int
    local: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """An endpoint with what decides whether it is used."""

    endpoint: Endpoint
    ready: bool
    serving: bool
    terminating: bool
    nodes: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()


class Chosen(msgspec.Struct, frozen=True):
    """Endpoints by traffic policy: `cluster` for Cluster, `local` for Local."""

    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()


def slices_by_service(slices: Iterable[api.EndpointSlice]) -> dict[tuple[str, str], list[api.EndpointSlice]]:
    """Slices by (namespace, service name); those that belong to no service are left out."""
    found: dict[tuple[str, str], list[api.EndpointSlice]] = {}
    for item in slices:
        service = item.metadata.labels.get(SERVICE_NAME_LABEL)
        if service:
            found.setdefault((item.metadata.namespace or "", service), []).append(item)
    return found


def candidates(
    slices: Iterable[api.EndpointSlice], port_name: str, protocol: str, family: int, nodes: Collection[str]
) -> list[Candidate]:
    """All endpoints of one port, those on one of `nodes` being local.

    An address that two slices name counts once, ready if it is in either.
    """
    found: dict[tuple[str, int], Candidate] = {}
    for item in slices:
        if _ADDRESS_TYPES.get(item.addressType) != family:
            continue
        for number in _port_numbers(item, port_name, protocol):
            for given in item.endpoints:
                candidate = _candidate(given, number, nodes)
                if candidate is None:
                    continue
                key = (candidate.endpoint.ip, number)
                if key not in found or (candidate.ready and not found[key].ready):
                    found[key] = candidate
    return list(found.values())


def choose(found: Iterable[Candidate], node: str, zone: str) -> Chosen:
    """What kube-proxy's CategorizeEndpoints chooses.

    Ready endpoints, or where there is none those that still serve while they terminate. Topology hints
    narrow the cluster-wide ones when every ready endpoint carries them and at least one is for us.
    """
    found = list(found)
    ready = [c for c in found if c.ready]
    draining = [c for c in found if c.serving and c.terminating]
    cluster = _near(ready, node, zone) or draining
    local = [c for c in ready if c.endpoint.local] or [c for c in draining if c.endpoint.local]
    return Chosen(_sorted(cluster), _sorted(local))


def _near(ready: list[Candidate], node: str, zone: str) -> list[Candidate]:
    if all(c.nodes for c in ready):
        here = [c for c in ready if node in c.nodes]
        if here:
            return here
    if zone and all(c.zones for c in ready):
        here = [c for c in ready if zone in c.zones]
        if here:
            return here
    return ready


def _sorted(found: Iterable[Candidate]) -> tuple[Endpoint, ...]:
    return tuple(sorted(c.endpoint for c in found))


def _port_numbers(item: api.EndpointSlice, name: str, protocol: str) -> list[int]:
    return [
        port.port
        for port in item.ports
        if port.port and (port.name or "") == name and (port.protocol or "TCP") == protocol
    ]


def _candidate(given: api.Endpoint, port: int, nodes: Collection[str]) -> Candidate | None:
    if not given.addresses:
        return None
    try:  # the first address stands for all: they are the same endpoint (KEP-4974)
        ip = str(ipaddress.ip_address(given.addresses[0]))
    except ValueError:
        return None
    conditions, hints = given.conditions, given.hints
    ready = conditions is None or conditions.ready is not False
    return Candidate(
        Endpoint(ip, port, bool(given.nodeName) and given.nodeName in nodes),
        ready=ready,
        serving=ready if conditions is None or conditions.serving is None else conditions.serving,
        terminating=conditions is not None and bool(conditions.terminating),
        nodes=frozenset(n.name for n in hints.forNodes) if hints else frozenset(),
        zones=frozenset(z.name for z in hints.forZones) if hints else frozenset(),
    )
