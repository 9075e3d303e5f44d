"""Which remembered UDP flows a change makes wrong: pure.

UDP has no end of connection: as long as a client keeps sending, netfilter keeps the flow on the endpoint
(or on the refusal) that it had at first. So flows to an endpoint that is gone, or has another port now, are
forgotten, and those to an address that had no endpoint and now has some (kube-proxy's rules). Host ports
likewise.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sampan.network.proxy.endpoints import IPV4
from sampan.network.proxy.rules import DROP, REJECT, RuleSet, ServiceRules


class Flows(msgspec.Struct, frozen=True, order=True):
    """UDP flows to forget. Empty `ip` or `endpoint`: any."""

    family: int
    ip: str
    port: int
    endpoint: str = ""
    # 0: any of the endpoint's ports.
    endpoint_port: int = 0

    def arguments(self) -> tuple[str, ...]:
        """What `conntrack` is called with."""
        words = ["-D", "-f", "ipv4" if self.family == IPV4 else "ipv6", "-p", "udp"]
        if self.ip:
            words += ["--orig-dst", self.ip]
        words += ["--orig-port-dst", str(self.port)]
        if self.endpoint:
            words += ["--reply-src", self.endpoint]
        if self.endpoint_port:
            words += ["--reply-port-src", str(self.endpoint_port)]
        return tuple(words)


def stale_flows(old: RuleSet, new: RuleSet) -> tuple[Flows, ...]:
    """The flows that must be forgotten once `new` is in place of `old`."""
    after = {service.key: service for service in new.services}
    found: set[Flows] = set()
    for service in old.services:
        if service.protocol == "udp":
            found |= set(_left(service, after.get(service.key)))
    before = {service.key: service for service in old.services}
    for service in new.services:
        if service.protocol == "udp":
            found |= set(_arrived(before.get(service.key), service))
    found |= set(_host_ports(old, new))
    return tuple(sorted(found))


def _host_ports(old: RuleSet, new: RuleSet) -> Iterator[Flows]:
    before, after = set(old.host_ports), set(new.host_ports)
    for port in before - after:
        if port.protocol == "udp":
            yield Flows(port.family, port.host_ip, port.host_port, port.pod_ip)
    for port in after - before:
        if port.protocol == "udp":
            yield Flows(port.family, port.host_ip, port.host_port)


def _left(old: ServiceRules, new: ServiceRules | None) -> Iterator[Flows]:
    kept = {e.ip for e in new.reachable()} if new else set()
    ports = {(e.ip, e.port) for e in new.reachable()} if new else set()
    addresses = {(f.ip, f.port) for f in new.frontends} if new else set()
    for frontend in old.frontends:
        gone = (frontend.ip, frontend.port) not in addresses
        for ip in sorted({e.ip for e in old.reachable()}):
            if gone or ip not in kept:
                yield Flows(old.family, frontend.ip, frontend.port, ip)
        for endpoint in sorted(old.reachable()):
            moved = endpoint.ip in kept and (endpoint.ip, endpoint.port) not in ports
            if moved and not gone:
                yield Flows(old.family, frontend.ip, frontend.port, endpoint.ip, endpoint.port)


def _arrived(old: ServiceRules | None, new: ServiceRules) -> Iterator[Flows]:
    served = {(f.ip, f.port) for f in old.frontends if f.target not in (REJECT, DROP)} if old else set()
    for frontend in new.frontends:
        if frontend.target not in (REJECT, DROP) and (frontend.ip, frontend.port) not in served:
            yield Flows(new.family, frontend.ip, frontend.port)
