"""A rule set as an nftables table.

The way of a new connection: `services` looks its destination up in one map (address . protocol . port, or a
node port where the address is the node's own) and goes to the chain of that service port, which draws an
endpoint. What no service claims may be a pod's host port. Connections that are under way never come here:
netfilter remembers where they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sampan.network.proxy import rules as targets
from sampan.network.proxy.endpoints import IPV4, IPV6, Endpoint
from sampan.network.proxy.host_ports import HostPort
from sampan.network.proxy.rules import Frontend, NodeFacts, RuleSet, ServiceRules
from sampan.network.proxy.table import Chain, Set, Table

# The bit of the packet mark that asks for masquerading at the way out: kube-proxy's own.
_MARK: Final = 0x4000
_SET_MARK: Final = f"meta mark set meta mark | {_MARK:#x}"
_CLEAR_MARK: Final = f"meta mark set meta mark & {0xFFFFFFFF ^ _MARK:#x}"
_MASQUERADE: Final = "masquerade fully-random"
_L3: Final = {IPV4: "ip", IPV6: "ip6"}
_TYPE: Final = {IPV4: "ipv4_addr", IPV6: "ipv6_addr"}
_NFPROTO: Final = {IPV4: "meta nfproto ipv4", IPV6: "meta nfproto ipv6"}
_MULTICAST: Final = {IPV4: "224.0.0.0/4", IPV6: "ff00::/8"}
# How many clients one affinity set remembers; with more the kernel forgets the affinity of new ones.
_AFFINITY_CLIENTS: Final = 65535


def table(rules: RuleSet, name: str) -> Table:
    """The table `name` (letters, digits and dashes) that carries out `rules`."""
    families = _families(rules)
    sets: dict[str, Set] = {}
    for family in families:
        sets |= _family_sets(rules, family)
    chains = _base_chains(rules.node, families)
    for service in rules.services:
        chains |= _service_chains(service)
        if service.affinity_s:
            for endpoint in service.reachable():
                sets[_named("aff", service, endpoint)] = _affinity_set(service)
    return Table(name, chains, sets)


def _families(rules: RuleSet) -> tuple[int, ...]:
    cidrs = (*rules.node.pod_cidrs, *rules.node.cluster_cidrs)
    wide = (
        any(":" in cidr for cidr in cidrs)
        or any(service.family == IPV6 for service in rules.services)
        or any(port.family == IPV6 for port in rules.host_ports)
    )
    return (IPV4, IPV6) if wide else (IPV4,)


def _family_sets(rules: RuleSet, family: int) -> dict[str, Set]:
    kind = _TYPE[family]
    own = [s for s in rules.services if s.family == family]
    ports = [p for p in rules.host_ports if p.family == family]
    by_address, by_port = f"{kind} . inet_proto . inet_service", "inet_proto . inet_service"
    return {
        f"node-pods{family}": _intervals(kind, _of_family(rules.node.pod_cidrs, family)),
        f"pods{family}": _intervals(kind, _of_family(rules.node.cluster_cidrs, family)),
        f"cluster-ips{family}": Set(f"type {kind};", dict.fromkeys(sorted(_cluster_ips(own)), "")),
        f"hairpin{family}": Set(f"type {kind} . {kind};", dict.fromkeys(sorted(_hairpins(own, ports)), "")),
        f"services{family}": _verdicts(by_address, _routes(own, node_ports=False)),
        f"nodeports{family}": _verdicts(by_port, _routes(own, node_ports=True)),
        f"refused{family}": _verdicts(by_address, _refusals(own, node_ports=False)),
        f"refused-ports{family}": _verdicts(by_port, _refusals(own, node_ports=True)),
        f"firewall{family}": _verdicts(by_address, _firewalls(own)),
        f"hostports{family}": _targets(by_port, kind, [p for p in ports if not p.host_ip]),
        f"hostports-at{family}": _targets(by_address, kind, [p for p in ports if p.host_ip]),
    }


def _base_chains(node: NodeFacts, families: Iterable[int]) -> dict[str, Chain]:
    refuse = ("ct state new jump refuse",)
    return {
        # With route_localnet the kernel no longer keeps others from talking to 127.0.0.1: this does.
        "loopback-guard": Chain(
            ('iif != "lo" ip daddr 127.0.0.0/8 drop',), "type filter hook prerouting priority -300;"
        ),
        "firewall-prerouting": Chain(
            ("ct state new jump firewall",), "type filter hook prerouting priority -110;"
        ),
        "firewall-output": Chain(("ct state new jump firewall",), "type filter hook output priority -110;"),
        "nat-prerouting": Chain(("jump services",), "type nat hook prerouting priority -100;"),
        "nat-output": Chain(("jump services",), "type nat hook output priority -100;"),
        "nat-postrouting": Chain(
            tuple(_postrouting(node, families)), "type nat hook postrouting priority 100;"
        ),
        "filter-input": Chain(refuse, "type filter hook input priority 0;"),
        "filter-forward": Chain(refuse, "type filter hook forward priority 0;"),
        "filter-output": Chain(refuse, "type filter hook output priority 0;"),
        "firewall": Chain(
            tuple(f"{_L3[f]} daddr . meta l4proto . th dport vmap @firewall{f}" for f in families)
        ),
        "services": Chain(tuple(_lookup(node, families))),
        "refuse": Chain(tuple(_refuse(node, families))),
        "reject-it": Chain(("meta l4proto tcp reject with tcp reset", "reject")),
        "masquerade-it": Chain((_CLEAR_MARK, _MASQUERADE)),
    }


def _lookup(node: NodeFacts, families: Iterable[int]) -> Iterator[str]:
    for family in families:
        l3 = _L3[family]
        if node.masquerade_all:
            yield f"{l3} daddr @cluster-ips{family} {_SET_MARK}"
        elif _of_family(node.cluster_cidrs, family):
            yield f"{l3} daddr @cluster-ips{family} {l3} saddr != @pods{family} {_SET_MARK}"
        yield f"{l3} daddr . meta l4proto . th dport vmap @services{family}"
        yield f"{_own_address(node, family)} meta l4proto . th dport vmap @nodeports{family}"
    for family in families:
        l3, local = _L3[family], f"{_NFPROTO[family]} fib daddr type local"
        place = "meta l4proto . th dport"
        yield f"{local} dnat {l3} to {l3} daddr . {place} map @hostports-at{family}"
        yield f"{local} dnat {l3} to {place} map @hostports{family}"


def _refuse(node: NodeFacts, families: Iterable[int]) -> Iterator[str]:
    for family in families:
        l3 = _L3[family]
        yield f"{l3} daddr . meta l4proto . th dport vmap @refused{family}"
        yield f"{_own_address(node, family)} meta l4proto . th dport vmap @refused-ports{family}"
        # A port that the service does not have: say so at once instead of letting the client wait.
        yield f"{l3} daddr @cluster-ips{family} goto reject-it"


def _own_address(node: NodeFacts, family: int) -> str:
    if not node.nodeport_cidrs:
        return f"{_NFPROTO[family]} fib daddr type local"
    cidrs = _of_family(node.nodeport_cidrs, family) or (_MULTICAST[family],)  # none of this family: never
    return f"{_L3[family]} daddr {{ {', '.join(cidrs)} }} fib daddr type local"


def _postrouting(node: NodeFacts, families: Iterable[int]) -> Iterator[str]:
    yield f"meta mark & {_MARK:#x} == {_MARK:#x} goto masquerade-it"
    # A host port of 127.0.0.1: the pod could not answer to an address that it has itself.
    yield f"ct status dnat ip saddr 127.0.0.0/8 {_MASQUERADE}"
    for family in families:
        l3 = _L3[family]
        yield f"ct status dnat {l3} saddr . {l3} daddr @hairpin{family} {_MASQUERADE}"
        if not node.bridge_netfilter:
            yield (
                f"ct status dnat {l3} saddr @node-pods{family} {l3} daddr @node-pods{family} {_MASQUERADE}"
            )
        yield (
            f"{l3} saddr @node-pods{family} {l3} daddr != @pods{family} "
            f"{l3} daddr != {_MULTICAST[family]} {_MASQUERADE}"
        )


def _service_chains(service: ServiceRules) -> dict[str, Chain]:
    wanted = {frontend.target for frontend in service.frontends}
    chosen = service.endpoints
    chains: dict[str, Chain] = {}
    if wanted & {targets.CLUSTER, targets.EXTERNAL, targets.EXTERNAL_LOCAL}:
        chains[_named("svc", service)] = Chain(tuple(_balance(service, chosen.cluster)))
    if wanted & {targets.LOCAL, targets.EXTERNAL_LOCAL} and chosen.local:
        chains[_named("local", service)] = Chain(tuple(_balance(service, chosen.local)))
    if targets.EXTERNAL in wanted:
        chains[_named("ext", service)] = Chain((_SET_MARK, f"goto {_named('svc', service)}"))
    if targets.EXTERNAL_LOCAL in wanted:
        chains[_named("ext", service)] = Chain(tuple(_external_local(service)))
    if service.affinity_s:
        for endpoint in service.reachable():
            chains[_named("ep", service, endpoint)] = Chain(tuple(_sticky(service, endpoint)))
    for frontend in service.frontends:
        if frontend.sources and frontend.target not in (targets.REJECT, targets.DROP):
            chains[_named("fw", service)] = Chain(tuple(_sources(service, frontend)))
    return chains


def _balance(service: ServiceRules, endpoints: tuple[Endpoint, ...]) -> Iterator[str]:
    if not service.affinity_s:
        yield from _drawn([_dnat(service, endpoint) for endpoint in endpoints])
        return
    l3 = _L3[service.family]
    chains = [_named("ep", service, endpoint) for endpoint in endpoints]
    for endpoint, chain in zip(endpoints, chains, strict=True):
        yield f"{l3} saddr @{_named('aff', service, endpoint)} goto {chain}"
    yield from _drawn([f"goto {chain}" for chain in chains])


def _drawn(statements: Sequence[str]) -> Iterator[str]:
    """One rule for each statement; a packet gets to each of them with the same chance.

    One rule with an anonymous map would be shorter, and lose connections: when a transaction replaces such a
    rule, the kernel ends the old map's elements for packets that are still on their way through the old rule.
    They find nothing there and go on without a translation.
    """
    for left, statement in zip(range(len(statements), 0, -1), statements, strict=True):
        yield f"numgen random mod {left} 0 {statement}" if left > 1 else statement


def _dnat(service: ServiceRules, endpoint: Endpoint) -> str:
    ip = endpoint.ip if service.family == IPV4 else f"[{endpoint.ip}]"
    return f"meta l4proto {service.protocol} dnat {_L3[service.family]} to {ip}:{endpoint.port}"


def _sticky(service: ServiceRules, endpoint: Endpoint) -> Iterator[str]:
    yield f"update @{_named('aff', service, endpoint)} {{ {_L3[service.family]} saddr }}"
    yield _dnat(service, endpoint)


def _external_local(service: ServiceRules) -> Iterator[str]:
    # The policy is for clients from outside; pods and the node itself may use every endpoint.
    everywhere = _named("svc", service)
    yield f"{_L3[service.family]} saddr @pods{service.family} goto {everywhere}"
    yield f"fib saddr type local {_SET_MARK}"
    yield f"fib saddr type local goto {everywhere}"
    yield f"goto {_named('local', service)}" if service.endpoints.local else "drop"


def _sources(service: ServiceRules, frontend: Frontend) -> Iterator[str]:
    yield f"{_L3[service.family]} saddr != {{ {', '.join(frontend.sources)} }} drop"


def _routes(services: Iterable[ServiceRules], node_ports: bool) -> Iterator[tuple[str, str]]:
    for service, frontend in _frontends(services, node_ports):
        match frontend.target:
            case targets.CLUSTER:
                yield _place(service, frontend), f"goto {_named('svc', service)}"
            case targets.LOCAL:
                yield _place(service, frontend), f"goto {_named('local', service)}"
            case targets.EXTERNAL | targets.EXTERNAL_LOCAL:
                yield _place(service, frontend), f"goto {_named('ext', service)}"
            case targets.DROP:
                yield _place(service, frontend), "drop"


def _refusals(services: Iterable[ServiceRules], node_ports: bool) -> Iterator[tuple[str, str]]:
    for service, frontend in _frontends(services, node_ports):
        if frontend.target == targets.REJECT:
            yield _place(service, frontend), "goto reject-it"


def _firewalls(services: Iterable[ServiceRules]) -> Iterator[tuple[str, str]]:
    for service, frontend in _frontends(services, node_ports=False):
        if frontend.sources and frontend.target not in (targets.REJECT, targets.DROP):
            yield _place(service, frontend), f"goto {_named('fw', service)}"


def _frontends(services: Iterable[ServiceRules], node_ports: bool) -> Iterator[tuple[ServiceRules, Frontend]]:
    return ((s, f) for s in services for f in s.frontends if (not f.ip) == node_ports)


def _place(service: ServiceRules, frontend: Frontend) -> str:
    where = f"{service.protocol} . {frontend.port}"
    return f"{frontend.ip} . {where}" if frontend.ip else where


def _cluster_ips(services: Iterable[ServiceRules]) -> set[str]:
    return {service.cluster_ip for service in services if service.cluster_ip}


def _hairpins(services: Iterable[ServiceRules], host_ports: Iterable[HostPort]) -> set[str]:
    # A pod that reaches itself through the node: the answer must come back through the translation.
    ips = {e.ip for s in services for e in s.reachable() if e.local} | {p.pod_ip for p in host_ports}
    return {f"{ip} . {ip}" for ip in ips}


def _targets(key: str, kind: str, ports: Iterable[HostPort]) -> Set:
    elements: dict[str, str] = {}
    for port in ports:
        place = f"{port.protocol} . {port.host_port}"
        elements[f"{port.host_ip} . {place}" if port.host_ip else place] = f"{port.pod_ip} . {port.pod_port}"
    return Set(f"type {key} : {kind} . inet_service;", elements, is_map=True)


def _verdicts(key: str, routes: Iterable[tuple[str, str]]) -> Set:
    # Where two services claim one address and port the first one keeps it, in the order of their names.
    elements: dict[str, str] = {}
    for place, verdict in routes:
        elements.setdefault(place, verdict)
    return Set(f"type {key} : verdict;", elements, is_map=True)


def _intervals(kind: str, cidrs: Iterable[str]) -> Set:
    return Set(f"type {kind}; flags interval; auto-merge;", dict.fromkeys(cidrs, ""))


def _affinity_set(service: ServiceRules) -> Set:
    return Set(
        f"type {_TYPE[service.family]}; size {_AFFINITY_CLIENTS}; flags dynamic,timeout; "
        f"timeout {service.affinity_s}s;"
    )


def _of_family(cidrs: Iterable[str], family: int) -> tuple[str, ...]:
    return tuple(cidr for cidr in cidrs if (":" in cidr) == (family == IPV6))


def _named(kind: str, service: ServiceRules, endpoint: Endpoint | None = None) -> str:
    text = f"{kind}-{service.key}"
    if kind == "aff":
        text += f"/{service.affinity_s}"  # another timeout is another set: a set's timeout cannot change
    return f"{text}/{endpoint.ip.replace(':', '.')}/{endpoint.port}" if endpoint else text
