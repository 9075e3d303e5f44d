"""Which ports of the node lead to pods (`hostPort` of containers): pure.

The meaning is that of the CNI plugin portmap, which kubelet's runtimes use: a pod that holds an address and
has not ended is reached at its host ports, on the address that `hostIP` names or on every one of the node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from sampan.kinds.core.phases import is_finished
from sampan.schema import api

_PROTOCOLS: Final = ("tcp", "udp", "sctp")


class HostPort(msgspec.Struct, frozen=True, order=True):
    """A port of the node that leads to a port of one pod. An empty `host_ip` is every address of the node."""

    family: int
    protocol: str
    host_ip: str
    host_port: int
    pod_ip: str
    pod_port: int


class Claims(msgspec.Struct, frozen=True):
    """The host ports that one pod asks for."""

    ports: tuple[HostPort, ...] = ()
    is_terminating: bool = False


def claims(pod: api.Pod | None) -> Claims:
    """What the pod asks for now: nothing without an address of its own, and nothing after its end."""
    if pod is None or pod.spec.hostNetwork or is_finished(pod):
        return Claims()
    ports = tuple(dict.fromkeys(_host_ports(pod)))
    return Claims(ports, bool(ports) and pod.metadata.deletionTimestamp is not None)


def granted(asked: Mapping[tuple[str, str], Claims]) -> tuple[HostPort, ...]:
    """The host ports of all pods, by (namespace, name). Sorted, so that equal states are equal values.

    No two are for one place. The scheduler sees to that on one node; where several nodes share a machine each
    pod keeps the address of its own node, and the first one has the others. A pod on its way out gives way.
    """
    places: dict[tuple[int, str, str, int], HostPort] = {}
    for key in sorted(asked, key=lambda key: (asked[key].is_terminating, key)):
        for port in asked[key].ports:
            places.setdefault((port.family, port.protocol, port.host_ip, port.host_port), port)
    return tuple(sorted(places.values()))


def _host_ports(pod: api.Pod) -> Iterator[HostPort]:
    sidecars = [c for c in pod.spec.initContainers if c.restartPolicy == "Always"]
    wanted = [port for c in (*pod.spec.containers, *sidecars) for port in c.ports if port.hostPort]
    if not wanted:
        return
    status = pod.status
    node_ips = _by_family([entry.ip for entry in status.hostIPs] or [status.hostIP])
    for family, pod_ip in _by_family([entry.ip for entry in status.podIPs] or [status.podIP]).items():
        for port in wanted:
            protocol = (port.protocol or "TCP").lower()
            if protocol not in _PROTOCOLS:
                continue
            for host_ip in _host_ips(port.hostIP or "", family, node_ips.get(family, "")):
                yield HostPort(family, protocol, host_ip, port.hostPort or 0, pod_ip, port.containerPort)


def _host_ips(given: str, family: int, node_ip: str) -> Iterator[str]:
    if given:
        try:
            address = ipaddress.ip_address(given)
        except ValueError:
            return
        if address.version != family:
            return
        if not address.is_unspecified:
            yield str(address)
            return
    yield ""
    if node_ip:
        yield node_ip


def _by_family(addresses: list[str | None]) -> dict[int, str]:
    """The first address of each family, in canonical text."""
    found: dict[int, str] = {}
    for text in addresses:
        try:
            address = ipaddress.ip_address(text or "")
        except ValueError:
            continue
        found.setdefault(address.version, str(address))
    return found
