"""Addresses and ports for new services."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.network import address


@pytest.mark.parametrize(
    ("cidr", "first", "size", "static"),
    [
        ("10.96.0.0/12", "10.96.0.1", 65536, 256),
        ("10.96.0.0/16", "10.96.0.1", 65534, 256),
        ("10.0.0.0/24", "10.0.0.1", 254, 16),
        ("10.0.0.0/28", "10.0.0.1", 14, 0),
        ("10.0.0.0/30", "10.0.0.1", 2, 0),
        ("fd00::/108", "fd00::1", 65536, 256),
    ],
)
def test_ranges(cidr: str, first: str, size: int, static: int) -> None:
    span = address.cluster_ips(cidr)
    assert (span.first, span.size) == (int(ipaddress.ip_address(first)), size)
    assert span.static == static


@given(st.integers(0, 1 << 40), st.sets(st.integers(1, 14)))
def test_every_address_is_given_out_once_and_the_static_band_last(draw: int, taken: set[int]) -> None:
    used = {f"10.0.0.{n}" for n in taken}
    while (ip := address.allocate_cluster_ip("10.0.0.0/28", used, draw)) is not None:
        assert ip not in used and ipaddress.ip_address(ip) in ipaddress.ip_network("10.0.0.0/28")
        used.add(ip)
    assert used == {f"10.0.0.{n}" for n in range(1, 15)}


@pytest.mark.parametrize("draw", [0, 7, 12345])
def test_dynamic_addresses_and_ports_come_from_the_upper_band_first(draw: int) -> None:
    used: set[str] = set()
    for _ in range(254 - 16):
        ip = address.allocate_cluster_ip("10.0.0.0/24", used, draw)
        assert ip is not None and int(ip.split(".")[3]) > 16
        used.add(ip)
    assert address.allocate_cluster_ip("10.0.0.0/24", used, draw) in {f"10.0.0.{n}" for n in range(1, 17)}
    assert (address.allocate_node_port(30000, 32767, set(), draw) or 0) >= 30086


def test_refusals_are_in_the_words_of_kubernetes() -> None:
    refusal = address.cluster_ip_refusal
    assert refusal("10.96.0.0/16", "10.96.0.10", set()) == ""
    assert refusal("10.96.0.0/16", "10.96.0.10", {"10.96.0.10"}) == "provided IP is already allocated"
    assert refusal("10.96.0.0/16", "10.97.0.1", set()) == (
        "the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
    )
    assert refusal("10.96.0.0/16", "10.96.0.0", set())  # the network's own address
    assert refusal("10.96.0.0/16", "web", set()) == "web is not a valid IP address"
    assert address.node_port_refusal(30000, 32767, 30000, {30000}) == "provided port is already allocated"
    assert address.node_port_refusal(30000, 32767, 80, set()) == (
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    )


@pytest.mark.parametrize("low_high", [(0, 10), (20, 10), (1, 70000)])
def test_bad_ranges_are_refused(low_high: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="node port range"):
        address.node_ports(*low_high)
