"""Checks of IP addresses and ranges, worded as Kubernetes words them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from sampan.kinds.loopback import LoopbackEndpoints
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CACHE_SIZE: Final = 4096
_NOT_AN_IP: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_NOT_A_CIDR: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_MULTICAST_LINK_LOCAL_V4: Final = ipaddress.ip_network("224.0.0.0/24")
_MULTICAST_LINK_LOCAL_V6: Final = ipaddress.ip_network("ff02::/16")


@lru_cache(maxsize=_CACHE_SIZE)
def parse_ip(text: str) -> Address | None:
    """The address that `text` writes, or None. Zones (`fe80::1%eth0`) are refused, as in Go."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def is_ipv6(text: str) -> bool:
    """Whether `text` is an IPv6 address."""
    address = parse_ip(text)
    return address is not None and address.version == 6


def validate_ip(text: str, path: Path) -> list[FieldError]:
    """An address of either family, written as every program reads it."""
    detail = ip_error(text)
    return [field.invalid(path, text, detail)] if detail else []


def ip_error(text: str) -> str:
    """What is wrong with an address of a new object; empty where nothing is."""
    address = parse_ip(text)
    if address is None:
        # Such octets are decimal to some, octal to others.
        return _NOT_AN_IP if _without_zeros(text) is None else "must not have leading 0s"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return "must not be an IPv4-mapped IPv6 address"
    return ""


def _without_zeros(text: str) -> Address | None:
    return parse_ip(".".join(part.lstrip("0") or "0" for part in text.split(".") if part))


def validate_cidr(text: str, path: Path) -> list[FieldError]:
    """A range of either family; bits beyond the prefix may be set."""
    return [] if cidr_family(text) else [field.invalid(path, text, _NOT_A_CIDR)]


def cidr_family(text: str) -> int:
    """4 or 6 for a range, 0 for what is none."""
    if "/" not in text:
        return 0
    try:
        return ipaddress.ip_interface(text).version
    except ValueError:
        return 0


def validate_not_special(text: str, path: Path) -> list[FieldError]:
    """Endpoints and external IPs may be neither unspecified, loopback nor link-local."""
    address = parse_ip(text) or _without_zeros(text)
    if address is None:
        return [field.invalid(path, text, "must be a valid IP address")]
    details: list[str] = []
    if address.is_unspecified:
        details.append(f"may not be unspecified ({text})")
    if address.is_loopback and not LoopbackEndpoints.allowed:
        details.append("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if address.is_link_local:
        details.append("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address in _MULTICAST_LINK_LOCAL_V4 or address in _MULTICAST_LINK_LOCAL_V6:
        details.append("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    return [field.invalid(path, text, detail) for detail in details]


def is_dual_stack(texts: Sequence[str]) -> bool:
    """Whether both families are among the addresses."""
    return {address.version for text in texts if (address := parse_ip(text)) is not None} == {4, 6}
