"""What a node does with traffic to Services, as data: no nftables here, no clock, no input or output.

Follows kube-proxy: which endpoints count, what Local policies mean, which traffic is masqueraded, what is
rejected (no endpoint anywhere) and what is dropped (endpoints, but none that the policy allows here).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from sampan.network.proxy.endpoints import IPV4, IPV6, Chosen, Endpoint, candidates, choose, slices_by_service
from sampan.network.proxy.host_ports import HostPort, claims, granted
from sampan.schema import api

# A service with this label belongs to another proxy.
_PROXY_NAME_LABEL: Final = "service.kubernetes.io/service-proxy-name"
_DEFAULT_AFFINITY_S: Final = 10800
_PROTOCOLS: Final = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}
_FAMILIES: Final = {"IPv4": IPV4, "IPv6": IPV6}

# Where a frontend leads.
CLUSTER: Final = "cluster"  # to any endpoint
LOCAL: Final = "local"  # to endpoints of this node, and nowhere where there is none
EXTERNAL: Final = "external"  # from outside: to any endpoint, masqueraded
EXTERNAL_LOCAL: Final = "external-local"  # from outside: to endpoints of this node, the client's address kept
REJECT: Final = "reject"  # refused at once: the service has no endpoint
DROP: Final = "drop"  # not answered: the policy leaves no endpoint here
Target = Literal["cluster", "local", "external", "external-local", "reject", "drop"]


class NodeFacts(msgspec.Struct, frozen=True):
    """What the rules need to know about the node.

    `pod_cidrs` are this node's pods, `cluster_cidrs` those of all nodes. `nodeport_cidrs` limits the local
    addresses on which node ports are served; empty means all of them, loopback included. `service_cidrs` get
    a route where the node has none, so that its own processes reach cluster IPs without a default route.
    `bridge_netfilter`: the kernel shows bridged packets to netfilter; without that, traffic between pods of
    this node through a service is masqueraded, to come back the same way. `masquerade_all` hides all clients.
    `beside` names other nodes of the same kernel, whose pods are as local as the node's own.
    """

    name: str
    zone: str = ""
    pod_cidrs: tuple[str, ...] = ()
    cluster_cidrs: tuple[str, ...] = ()
    nodeport_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    bridge_netfilter: bool = True
    masquerade_all: bool = False
    beside: tuple[str, ...] = ()


class Frontend(msgspec.Struct, frozen=True, order=True):
    """An address that clients use. An empty `ip` is a node port.

    `sources` limits who may come in (spec.loadBalancerSourceRanges); empty means everybody.
    """

    ip: str
    port: int
    target: Target
    sources: tuple[str, ...] = ()


class ServiceRules(msgspec.Struct, frozen=True):
    """One port of one service in one IP family."""

    namespace: str
    name: str
    port_name: str
    protocol: str
    family: int
    port: int
    frontends: tuple[Frontend, ...]
    endpoints: Chosen
    cluster_ip: str = ""
    affinity_s: int = 0

    @property
    def key(self) -> str:
        """Unique among all, readable, the same as long as the service port lives."""
        suffix = "" if self.family == IPV4 else "/v6"
        return f"{self.namespace}/{self.name}/{self.protocol}/{self.port_name or self.port}{suffix}"

    def reachable(self) -> tuple[Endpoint, ...]:
        """Every endpoint that any client could be sent to."""
        return tuple(sorted(set(self.endpoints.cluster) | set(self.endpoints.local)))


class HealthCheck(msgspec.Struct, frozen=True):
    """spec.healthCheckNodePort: load balancers ask there whether this node has endpoints of its own."""

    namespace: str
    name: str
    port: int
    local_endpoints: int


class RuleSet(msgspec.Struct, frozen=True):
    """Everything that one node does for services and host ports. Sorted: equal states are equal values."""

    node: NodeFacts
    services: tuple[ServiceRules, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    host_ports: tuple[HostPort, ...] = ()


def rule_set(
    services: Iterable[api.Service],
    endpoint_slices: Iterable[api.EndpointSlice],
    node: NodeFacts,
    pods: Iterable[api.Pod] = (),
) -> RuleSet:
    """The rules for these services on this node, and for host ports of `pods`, which are this node's.

    Headless and ExternalName services have none.
    """
    slices = slices_by_service(endpoint_slices)
    rules: list[ServiceRules] = []
    checks: list[HealthCheck] = []
    for service in services:
        if not _proxied(service):
            continue
        own = list(_of_service(service, slices.get(_key(service), []), node))
        rules += own
        if _external_local(service) and service.spec.healthCheckNodePort:
            local = {endpoint.ip for rule in own for endpoint in rule.endpoints.local}
            checks.append(HealthCheck(*_key(service), service.spec.healthCheckNodePort, len(local)))
    rules.sort(key=lambda r: (r.namespace, r.name, r.port, r.protocol, r.family))
    checks.sort(key=lambda c: (c.namespace, c.name))
    asked = {(pod.metadata.namespace or "", pod.metadata.name or ""): claims(pod) for pod in pods}
    return RuleSet(node, tuple(rules), tuple(checks), granted(asked))


def cluster_ips(service: api.Service) -> list[str]:
    """The service's cluster IPs in canonical text; empty for headless and ExternalName."""
    spec = service.spec
    given = spec.clusterIPs or ([spec.clusterIP] if spec.clusterIP else [])
    return [] if spec.type == "ExternalName" else list(_addresses(given))


def _proxied(service: api.Service) -> bool:
    return _PROXY_NAME_LABEL not in service.metadata.labels and bool(cluster_ips(service))


def _of_service(
    service: api.Service, slices: list[api.EndpointSlice], node: NodeFacts
) -> Iterator[ServiceRules]:
    namespace, name = _key(service)
    for family in _families(service):
        for port in service.spec.ports:
            protocol = port.protocol or "TCP"
            if protocol not in _PROTOCOLS:
                continue
            found = candidates(slices, port.name or "", protocol, family, (node.name, *node.beside))
            chosen = choose(found, node.name, node.zone)
            yield ServiceRules(
                namespace,
                name,
                port.name or "",
                _PROTOCOLS[protocol],
                family,
                port.port,
                tuple(sorted(set(_frontends(service, port, family, chosen)))),
                chosen,
                next(_of_family(cluster_ips(service), family), ""),
                _affinity_s(service),
            )


def _frontends(
    service: api.Service, port: api.ServicePort, family: int, chosen: Chosen
) -> Iterator[Frontend]:
    spec = service.spec
    inward = _target(chosen, LOCAL if spec.internalTrafficPolicy == "Local" else CLUSTER)
    outward = _target(chosen, EXTERNAL_LOCAL if _external_local(service) else EXTERNAL)
    taken: set[str] = set()
    for ip in _of_family(cluster_ips(service), family):
        taken.add(ip)
        yield Frontend(ip, port.port, inward)
    for ip in _of_family(_addresses(spec.externalIPs), family):
        if ip not in taken:  # one address means one thing; the first one named wins
            taken.add(ip)
            yield Frontend(ip, port.port, outward)
    for ip in _of_family(_ingress_ips(service), family):
        if ip not in taken:
            taken.add(ip)
            yield Frontend(ip, port.port, outward, _source_ranges(service, family))
    if port.nodePort and spec.type in ("NodePort", "LoadBalancer"):
        yield Frontend("", port.nodePort, outward)


def _target(chosen: Chosen, wanted: Target) -> Target:
    if not chosen.cluster and not chosen.local:
        return REJECT
    # EXTERNAL_LOCAL stays even with no local endpoint: pods and the node itself still reach the others.
    return DROP if wanted == LOCAL and not chosen.local else wanted


def _external_local(service: api.Service) -> bool:
    return service.spec.externalTrafficPolicy == "Local" and _external(service)


def _external(service: api.Service) -> bool:
    return service.spec.type in ("NodePort", "LoadBalancer") or bool(service.spec.externalIPs)


def _ingress_ips(service: api.Service) -> Iterator[str]:
    balancer = service.status.loadBalancer
    if service.spec.type != "LoadBalancer" or balancer is None:
        return iter(())
    # ipMode Proxy: the balancer rewrites the destination itself, its address must not be cut short here.
    return _addresses(i.ip for i in balancer.ingress if i.ip and i.ipMode != "Proxy")


def _source_ranges(service: api.Service, family: int) -> tuple[str, ...]:
    found = set()
    for given in service.spec.loadBalancerSourceRanges:
        try:
            network = ipaddress.ip_network(given.strip(), strict=False)
        except ValueError:
            continue
        if network.version == family:
            found.add(str(network))
    if not found and service.spec.loadBalancerSourceRanges:
        # Ranges of the other family only: nobody of this family is let in.
        return ("255.255.255.255/32",) if family == IPV4 else ("ff00::/128",)
    return tuple(sorted(found))


def _affinity_s(service: api.Service) -> int:
    if service.spec.sessionAffinity != "ClientIP":
        return 0
    config = service.spec.sessionAffinityConfig
    given = config.clientIP.timeoutSeconds if config and config.clientIP else None
    return given or _DEFAULT_AFFINITY_S


def _families(service: api.Service) -> list[int]:
    named = [_FAMILIES[f] for f in service.spec.ipFamilies if f in _FAMILIES]
    return named or sorted({ipaddress.ip_address(ip).version for ip in cluster_ips(service)})


def _of_family(addresses: Iterable[str], family: int) -> Iterator[str]:
    return (ip for ip in addresses if ipaddress.ip_address(ip).version == family)


def _addresses(given: Iterable[str]) -> Iterator[str]:
    for text in given:
        try:
            yield str(ipaddress.ip_address(text))
        except ValueError:  # "None", or what validation has let through
            continue


def _key(service: api.Service) -> tuple[str, str]:
    return service.metadata.namespace or "", service.metadata.name or ""
