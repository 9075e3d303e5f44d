"""Kubernetes' CEL functions for URLs, IP addresses and networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from sampan.machinery.cel.values import CelError, Opaque

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Url(Opaque):
    """An absolute URI or absolute path."""

    __slots__ = ("parts", "text")
    type_name = "kubernetes.URL"

    def __init__(self, text: str, parts: SplitResult) -> None:
        self.text = text
        self.parts = parts

    def __eq__(self, other: object) -> bool:
        return type(other) is Url and self.text == other.text

    __hash__ = None  # type: ignore[assignment]


def parse_url(text: Any) -> Url:
    """Raises CelError."""
    broken = CelError(
        f'URL parse error during conversion from string: parse "{str(text)[:200]}": invalid URI for request'
    )
    if type(text) is not str or not text or any(c <= " " or c == "\x7f" for c in text):
        raise broken
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise broken from None
    if not parts.scheme and not text.startswith("/"):
        raise broken
    return Url(text, parts)


def _is(parse: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        try:
            parse(value)
        except CelError:
            return False
        return True

    return check


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


# -- addresses -------------------------------------------------------------------------------------------


class Ip(Opaque):
    """An IP address."""

    __slots__ = ("address",)
    type_name = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def as_string(self) -> str:
        return str(self.address)

    def __eq__(self, other: object) -> bool:
        return type(other) is Ip and self.address == other.address

    __hash__ = None  # type: ignore[assignment]


class Cidr(Opaque):
    """A network, with the address that it was written with."""

    __slots__ = ("interface",)
    type_name = "net.CIDR"

    def __init__(self, interface: Network) -> None:
        self.interface = interface

    def as_string(self) -> str:
        return str(self.interface)

    def __eq__(self, other: object) -> bool:
        return type(other) is Cidr and self.interface == other.interface

    __hash__ = None  # type: ignore[assignment]


def _ip(value: Any) -> Ip:
    if type(value) is Cidr:
        return Ip(value.interface.ip)
    try:
        if type(value) is not str or "%" in value:
            raise ValueError
        address = ipaddress.ip_address(value)
    except ValueError:
        raise CelError(f'IP Address "{str(value)[:60]}" parse error during conversion from string') from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{value}" is not allowed')
    return Ip(address)


def _cidr(value: Any) -> Cidr:
    try:
        if type(value) is not str or "/" not in value or not value.rpartition("/")[2].isdigit():
            raise ValueError
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise CelError(
            f'network address parse error during conversion from string: "{str(value)[:60]}"'
        ) from None
    if isinstance(interface, ipaddress.IPv6Interface) and interface.ip.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{value}" is not allowed')
    return Cidr(interface)


def _unicast(ip: Ip) -> bool:
    address = ip.address
    broadcast = address == ipaddress.IPv4Address("255.255.255.255")
    out = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not (out or broadcast)


def _link_local_multicast(ip: Ip) -> bool:
    if ip.address.version == 4:
        return ip.address in ipaddress.IPv4Network("224.0.0.0/24")
    return ip.address.packed[0] == 0xFF and ip.address.packed[1] & 0x0F == 0x02


def _contains_ip(cidr: Cidr, ip: Any) -> bool:
    return (ip if type(ip) is Ip else _ip(ip)).address in cidr.interface.network


def _contains_cidr(cidr: Cidr, other: Any) -> bool:
    inner = (other if type(other) is Cidr else _cidr(other)).interface
    outer = cidr.interface.network
    same = outer.version == inner.version
    return same and inner.ip in outer and inner.network.prefixlen >= outer.prefixlen


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "url": parse_url,
    "isURL": _is(parse_url),
    "getScheme": lambda url: url.parts.scheme,
    "getHost": _host,
    "getHostname": _hostname,
    "getPort": lambda url: str(url.parts.port) if url.parts.port is not None else "",
    "getEscapedPath": lambda url: quote(url.parts.path, safe="/%:@!$&'()*+,;=~-._"),
    "getQuery": lambda url: parse_qs(url.parts.query, keep_blank_values=True),
    "ip": _ip,
    "isIP": _is(_ip),
    "ip.isCanonical": lambda text: str(_ip(text).address) == text,
    "family": lambda ip: ip.address.version,
    "isUnspecified": lambda ip: ip.address.is_unspecified,
    "isLoopback": lambda ip: ip.address.is_loopback,
    "isLinkLocalMulticast": _link_local_multicast,
    "isLinkLocalUnicast": lambda ip: ip.address.is_link_local,
    "isGlobalUnicast": _unicast,
    "cidr": _cidr,
    "isCIDR": _is(_cidr),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "masked": lambda cidr: Cidr(ipaddress.ip_interface(str(cidr.interface.network))),
    "prefixLength": lambda cidr: cidr.interface.network.prefixlen,
}
_URL = "kubernetes.URL"
DECLARATIONS: Final = (
    f"url(string) {_URL}",
    "isURL(string) bool",
    *(f"{_URL}.get{part}() string" for part in ("Scheme", "Host", "Hostname", "Port", "EscapedPath")),
    f"{_URL}.getQuery() map<string, list<string>>",
    "ip(string) net.IP",
    "isIP(string) bool",
    "ip.isCanonical(string) bool",
    "net.IP.family() int",
    *(
        f"net.IP.is{what}() bool"
        for what in ("Unspecified", "Loopback", "LinkLocalMulticast", "LinkLocalUnicast", "GlobalUnicast")
    ),
    "cidr(string) net.CIDR",
    "isCIDR(string) bool",
    *(f"net.CIDR.containsIP({kind}) bool" for kind in ("string", "net.IP")),
    *(f"net.CIDR.containsCIDR({kind}) bool" for kind in ("string", "net.CIDR")),
    "net.CIDR.ip() net.IP",
    "net.CIDR.masked() net.CIDR",
    "net.CIDR.prefixLength() int",
)
