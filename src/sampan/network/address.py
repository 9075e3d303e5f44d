"""Which address or port a new Service gets: pure allocation over what is in use.

Chance is a parameter (`draw`, any non-negative number), so the same inputs always give the same answer.
Follows kube-apiserver: dynamic allocation takes from the upper band of a range and falls back to the lower
one, which is kept for people who choose addresses themselves (KEP-3070 for IPs, KEP-3668 for node ports).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator
from functools import lru_cache
from typing import Final

import msgspec

# kube-apiserver serves at most this many addresses of a range, however wide an IPv6 prefix is.
_MAX_ADDRESSES: Final = 1 << 16


class Range(msgspec.Struct, frozen=True):
    """`size` consecutive numbers from `first`; the first `static` of them are given out last."""

    first: int
    size: int
    static: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.first + self.size


@lru_cache(maxsize=64)
def cluster_ips(cidr: str) -> Range:
    """The allocatable addresses of a service CIDR: without the network address and IPv4's broadcast.

    Raises ValueError where `cidr` is no network or leaves nothing to allocate.
    """
    network = ipaddress.ip_network(cidr)
    unusable = 2 if network.version == 4 else 1
    size = min(network.num_addresses - unusable, _MAX_ADDRESSES)
    if size < 1:
        raise ValueError(f"service CIDR {cidr} holds no address to allocate; use a shorter prefix")
    static = _static_band(size + unusable, 16, 16, 256)
    # A band that takes the whole range keeps nothing for anybody.
    return Range(int(network.network_address) + 1, size, static if static < size else 0)


@lru_cache(maxsize=64)
def node_ports(low: int, high: int) -> Range:
    """The node ports `low` to `high`, both included. Raises ValueError where they make no range."""
    if not 0 < low <= high <= 65535:
        raise ValueError(f"node port range {low}-{high} is not within 1-65535 in ascending order")
    size = high - low + 1
    return Range(low, size, _static_band(size, 32, 16, 128))


def allocate_cluster_ip(cidr: str, used: Container[str], draw: int) -> str | None:
    """A free address of `cidr` in canonical text, or None where all are used.

    `used` holds canonical texts (as `canonical` gives them). Raises ValueError for a bad `cidr`.
    """
    version = ipaddress.ip_network(cidr).version
    for number in _candidates(cluster_ips(cidr), draw):
        text = str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))
        if text not in used:
            return text
    return None


def allocate_node_port(low: int, high: int, used: Container[int], draw: int) -> int | None:
    """A free node port of `low`..`high`, or None where all are used. Raises ValueError for a bad range."""
    return next((port for port in _candidates(node_ports(low, high), draw) if port not in used), None)


def cluster_ip_refusal(cidr: str, address: str, used: Container[str]) -> str:
    """Why `address` cannot be given out from `cidr`, in kube-apiserver's words; "" where it can."""
    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return f"{address} is not a valid IP address"
    network = ipaddress.ip_network(cidr)
    if wanted.version != network.version or int(wanted) not in cluster_ips(cidr):
        return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {cidr}"
    return "provided IP is already allocated" if str(wanted) in used else ""


def node_port_refusal(low: int, high: int, port: int, used: Container[int]) -> str:
    """Why `port` cannot be given out from the range, in kube-apiserver's words; "" where it can."""
    if port not in node_ports(low, high):
        return f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
    return "provided port is already allocated" if port in used else ""


def canonical(address: str) -> str:
    """`address` as kube-apiserver stores it. Raises ValueError where it is none."""
    return str(ipaddress.ip_address(address))


def _candidates(span: Range, draw: int) -> Iterator[int]:
    # Every number once: the upper band from a drawn start, then the lower one.
    for low, size in ((span.static, span.size - span.static), (0, span.static)):
        for step in range(size):
            yield span.first + low + (draw + step) % size


def _static_band(size: int, step: int, least: int, most: int) -> int:
    # A range smaller than `least` has no band at all.
    return 0 if size < least else min(max(size // step, least), most)
