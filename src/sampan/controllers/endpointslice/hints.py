"""Topology hints: which zone or node an endpoint should serve, as spec.trafficDistribution asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sampan.controllers.endpointslice.view import Backend
from sampan.schema import api

SAME_ZONE: Final = frozenset({"PreferClose", "PreferSameZone"})
SAME_NODE: Final = "PreferSameNode"
MODES: Final = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
# An endpoint for each zone's share of the CPUs, as long as no zone has more than so much too few.
OVERLOAD_MOST: Final = 0.2
_ON: Final = frozenset({"Auto", "auto"})


class Zones(msgspec.Struct, frozen=True):
    """The CPUs (in thousandths) of the ready nodes of each zone; none where a node has no zone."""

    cpus: Mapping[str, int] = msgspec.field(default_factory=dict)


def distribution(service: api.Service) -> str:
    """What the Service asks for: a trafficDistribution, "Auto" for the annotation of old, or ""."""
    if service.spec.trafficDistribution:
        return service.spec.trafficDistribution
    given = next((service.metadata.annotations[k] for k in MODES if k in service.metadata.annotations), "")
    return "Auto" if given in _ON else ""


def hints(
    service: api.Service, backends: Sequence[tuple[Backend, bool]], zones: Zones
) -> dict[str, api.EndpointHints]:
    """The hints of ready endpoints, by the uid of their pods. `backends` come with whether they are ready."""
    ready = [one for one, is_ready in backends if is_ready]
    mode = distribution(service)
    if mode in SAME_ZONE:
        return {_uid(one): _zone(one.zone) for one in ready if one.zone}
    if mode == SAME_NODE:
        return {_uid(one): _node(one) for one in ready if one.pod.spec.nodeName}
    return _by_cpus(ready, zones.cpus) if mode == "Auto" else {}


def _by_cpus(ready: Sequence[Backend], cpus: Mapping[str, int]) -> dict[str, api.EndpointHints]:
    """Endpoints in proportion to the zones' CPUs: own ones first, surplus ones where they are short.

    None at all where that cannot be even enough: better no hint than one that overloads a zone.
    """
    total = sum(cpus.values())
    if len(cpus) < 2 or len(ready) < len(cpus) or total == 0 or any(one.zone not in cpus for one in ready):
        return {}
    wanted = {zone: len(ready) * share / total for zone, share in cpus.items()}
    room = {zone: max(int(want), 1) for zone, want in wanted.items()}
    rest = len(ready) - sum(room.values())
    for zone in sorted(room, key=lambda z: (room[z] - wanted[z], z))[: max(rest, 0)]:
        room[zone] += 1
    if any(want > room[zone] * (1 + OVERLOAD_MOST) for zone, want in wanted.items()):
        return {}
    chosen: dict[str, str] = {}
    surplus: list[Backend] = []
    for one in ready:
        zone = one.zone or ""
        if room[zone] > 0:
            room[zone] -= 1
            chosen[_uid(one)] = zone
        else:
            surplus.append(one)
    for one in surplus:
        zone = max(sorted(room), key=lambda z: room[z])
        room[zone] -= 1
        chosen[_uid(one)] = zone
    return {uid: _zone(zone) for uid, zone in chosen.items()}


def _uid(one: Backend) -> str:
    return one.pod.metadata.uid or ""


def _zone(name: str | None) -> api.EndpointHints:
    return api.EndpointHints(forZones=[api.ForZone(name=name or "")])


def _node(one: Backend) -> api.EndpointHints:
    # The zone as well, for proxies that know no hints for nodes.
    found = api.EndpointHints(forNodes=[api.ForNode(name=one.pod.spec.nodeName or "")])
    if one.zone:
        found.forZones = [api.ForZone(name=one.zone)]
    return found
