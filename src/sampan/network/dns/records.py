"""The records that one Service has: pure, as text (DNS-based service discovery 1.1.0)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from sampan.network.dns import wire
from sampan.network.dns.views import EndpointSlice, Port, ServiceSpec

VERSION: Final = "1.1.0"
_SRV_WEIGHTS: Final = 100


class Text(msgspec.Struct, frozen=True):
    """A record as a person would write it: `data` is what `wire.encode_data` reads."""

    name: str
    type: int
    data: str


def service_records(
    namespace: str, name: str, spec: ServiceSpec, slices: Iterable[EndpointSlice], domain: str
) -> list[Text]:
    """Every record of a service, reverse names included.

    A headless service without a ready endpoint has none: its name does not exist then, as the
    specification asks.
    """
    own = f"{name}.{namespace}.svc.{domain}"
    if spec.type == "ExternalName":
        return [_external(own, spec.externalName or "")] if spec.externalName else []
    ips = [ip for ip in (spec.clusterIPs or [spec.clusterIP or ""]) if ip]
    if ips and ips[0] == "None":
        return list(dict.fromkeys(_headless(own, spec, slices)))
    return list(_cluster_ip(own, spec, [ip for ip in ips if _is_address(ip)]))


def reverse_name(ip: str) -> str:
    """The name under in-addr.arpa or ip6.arpa for an address."""
    return ipaddress.ip_address(ip).reverse_pointer


def address_of_pod_name(label: str) -> str | None:
    """The address that a pod's name is made of: `10-88-0-5` or `fd00--5`; None where it is none."""
    text = label.replace("-", ".") if label.count("-") == 3 and ":" not in label else ""
    for candidate in (text, label.replace("-", ":")):
        if candidate and _is_address(candidate):
            return str(ipaddress.ip_address(candidate))
    return None


def _external(own: str, target: str) -> Text:
    if _is_address(target):
        return Text(own, _address_type(target), target)
    return Text(own, wire.CNAME, target.rstrip(".").lower())


def _cluster_ip(own: str, spec: ServiceSpec, ips: list[str]) -> Iterator[Text]:
    for ip in ips:
        yield Text(own, _address_type(ip), ip)
        yield Text(reverse_name(ip), wire.PTR, own)
    for port in (spec.ports or ()) if ips else ():
        data = f"0 {_SRV_WEIGHTS} {port.port} {own}"
        yield Text(own, wire.SRV, data)
        if port.name:
            yield Text(_srv_name(own, port), wire.SRV, data)


def _headless(own: str, spec: ServiceSpec, slices: Iterable[EndpointSlice]) -> Iterator[Text]:
    found = [(ip, host, item) for item in slices for ip, host in _published(item, spec)]
    weight = max(1, _SRV_WEIGHTS // len({host for _, host, _ in found})) if found else 0
    for ip, host, item in found:
        target = f"{host}.{own}"
        yield Text(own, _address_type(ip), ip)
        yield Text(target, _address_type(ip), ip)
        yield Text(reverse_name(ip), wire.PTR, target)
        for port in item.ports or ():
            if not port.port:
                continue
            data = f"0 {weight} {port.port} {target}"
            yield Text(own, wire.SRV, data)
            if port.name:
                yield Text(_srv_name(own, port), wire.SRV, data)


def _published(item: EndpointSlice, spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    if item.addressType not in ("IPv4", "IPv6"):
        return
    for endpoint in item.endpoints or ():
        ready = endpoint.conditions is None or endpoint.conditions.ready is not False
        if not ready and not spec.publishNotReadyAddresses:
            continue
        for ip in endpoint.addresses or ():
            if _is_address(ip):
                yield ip, endpoint.hostname or ip.replace(".", "-").replace(":", "-")


def _srv_name(own: str, port: Port) -> str:
    return f"_{port.name}._{(port.protocol or 'TCP').lower()}.{own}"


def _address_type(ip: str) -> int:
    return wire.AAAA if ":" in ip else wire.A


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
