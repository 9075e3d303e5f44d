"""Services of type LoadBalancer: an address from a pool, or, where there is none, those of the nodes.

The service proxy answers these addresses on every node; nothing announces a pool's addresses beyond it.
One worker decides for one Service after the other, so that no address is given twice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Final

import msgspec

from sampan.client.effects import Effect, Emit, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api, codec

FINALIZER: Final = "service.kubernetes.io/load-balancer-cleanup"
CLASS: Final = "sampan.io/load-balancer"
EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
TYPE: Final = "LoadBalancer"
# A Service is told this many addresses of nodes at most.
NODES_MOST: Final = 16
# A wider pool is used up to here.
POOL_MOST: Final = 65536
HOLDS: Final = "holds-load-balancer"

# Address and port and protocol that a Service takes of nodes' addresses.
Taken = frozenset[tuple[str, int]]


class Options(msgspec.Struct, frozen=True):
    """`pool` holds CIDRs, ranges (`10.0.0.5-10.0.0.9`) and addresses; empty: the nodes' own addresses, whose
    `reserved` TCP ports belong to the cluster itself.
    """

    pool: tuple[str, ...] = ()
    reserved: frozenset[int] = frozenset({6443, 10250})


class View(msgspec.Struct, frozen=True):
    """A Service, the addresses of the nodes, and the Services that have addresses already."""

    service: api.Service
    nodes: tuple[str, ...]
    others: tuple[api.Service, ...]
    options: Options


def gather(options: Options, caches: Caches, key: Key) -> View | None:
    service = caches.of(api.Service).get(*key)
    if service is None or not (_is_ours(service) or FINALIZER in service.metadata.finalizers):
        return None
    if _is_foreign(service):
        return None
    nodes: tuple[str, ...] = ()
    if not options.pool:
        usable = [node for node in caches.of(api.Node).items() if _is_usable(node)]
        found = [address for node in usable for address in _addresses(node)]
        nodes = tuple(sorted(found, key=lambda text: ipaddress.ip_address(text).packed))
    holders = caches.of(api.Service).by_index(HOLDS, "yes")
    others = [one for one in holders if one.metadata.uid != service.metadata.uid]
    return View(service, nodes, tuple(others), options)


def _is_foreign(service: api.Service) -> bool:
    return bool(service.spec.loadBalancerClass) and service.spec.loadBalancerClass != CLASS


def _is_ours(service: api.Service) -> bool:
    return service.spec.type == TYPE and not _is_foreign(service)


def _is_usable(node: api.Node) -> bool:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    return ready and EXCLUDED not in node.metadata.labels and node.metadata.deletionTimestamp is None


def _addresses(node: api.Node) -> list[str]:
    return [one.address for one in node.status.addresses if one.type == "InternalIP"]


def ingress_of(service: api.Service) -> tuple[str, ...]:
    """The addresses that the Service was given."""
    balancer = service.status.loadBalancer
    return tuple(one.ip for one in balancer.ingress if one.ip) if balancer is not None else ()


def plan(view: View, now: datetime) -> Plan:
    """Give addresses and say so; take them back when the Service goes or changes its type."""
    service = view.service
    meta = service.metadata
    if meta.deletionTimestamp is not None or service.spec.type != TYPE:
        return _cleaned_up(service)
    found, why = _choose(view)
    about = ref_of(service)
    if why:
        message = f"Error syncing load balancer: failed to ensure load balancer: {why}"
        withdrawn = (_status(service, ()),) if ingress_of(service) else ()
        return Plan(withdrawn, why, notices=(Emit(about, "Warning", "SyncLoadBalancerFailed", message),))
    effects: tuple[Effect, ...] = ()
    if FINALIZER not in meta.finalizers:
        effects += (_finalizers(service, [*meta.finalizers, FINALIZER]),)
    if found != ingress_of(service):
        begun = Emit(about, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        done = Emit(about, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        effects += (begun, _status(service, found), done)
    return Plan(effects)


def _cleaned_up(service: api.Service) -> Plan:
    if FINALIZER not in service.metadata.finalizers:
        return Plan()
    about = ref_of(service)
    left = [name for name in service.metadata.finalizers if name != FINALIZER]
    effects: list[Effect] = [Emit(about, "Normal", "DeletingLoadBalancer", "Deleting load balancer")]
    if ingress_of(service):
        effects.append(_status(service, ()))
    effects.append(_finalizers(service, left))
    effects.append(Emit(about, "Normal", "DeletedLoadBalancer", "Deleted load balancer"))
    return Plan(tuple(effects))


def _finalizers(service: api.Service, wanted: list[str]) -> Patch:
    # Only the uid guards it: what was done just before has changed the version.
    meta = {"uid": service.metadata.uid, "finalizers": wanted or None}
    return Patch(ref_of(service), {"metadata": meta})


def _status(service: api.Service, addresses: Sequence[str]) -> Patch:
    ingress = [api.LoadBalancerIngress(ip=ip, ipMode="VIP") for ip in addresses]
    status = {"loadBalancer": {"ingress": codec.to_builtins(ingress) or None}}
    return Patch(ref_of(service), {"metadata": {"uid": service.metadata.uid}, "status": status}, "status")


def _choose(view: View) -> tuple[tuple[str, ...], str]:
    """The addresses, or why there are none."""
    return _from_pool(view) if view.options.pool else _of_nodes(view)


def _of_nodes(view: View) -> tuple[tuple[str, ...], str]:
    service = view.service
    wanted = {(p.protocol or "TCP", p.port) for p in service.spec.ports}
    for protocol, port in sorted(wanted, key=lambda one: one[1]):
        if protocol == "TCP" and port in view.options.reserved:
            return (), f"port {port} of the nodes' addresses belongs to the cluster itself"
    for other in view.others:
        shared = wanted & {(p.protocol or "TCP", p.port) for p in other.spec.ports}
        if shared and not _comes_before(service, other):
            port = min(number for _, number in shared)
            name = f"{other.metadata.namespace}/{other.metadata.name}"
            return (), f"port {port} of the nodes' addresses is taken by service {name}"
    families = service.spec.ipFamilies or ["IPv4"]
    fitting = [ip for ip in view.nodes if _family(ip) in families]
    if service.spec.loadBalancerIP:
        fitting = [ip for ip in fitting if ip == service.spec.loadBalancerIP]
        if not fitting:
            return (), f"{service.spec.loadBalancerIP} is not an address of a node that is ready"
    return (tuple(fitting[:NODES_MOST]), "") if fitting else ((), "no node that is ready has an address")


def _comes_before(service: api.Service, other: api.Service) -> bool:
    """Of two that hold the same port (as after a change of ports) the older one keeps it."""
    return bool(ingress_of(service)) and _age(service) < _age(other)


def _age(service: api.Service) -> tuple[str, str]:
    meta = service.metadata
    return str(meta.creationTimestamp or ""), meta.uid or ""


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def _from_pool(view: View) -> tuple[tuple[str, ...], str]:
    service = view.service
    taken = {ip for other in view.others for ip in ingress_of(other)}
    held, chosen = ingress_of(service), list[str]()
    for family in service.spec.ipFamilies or ["IPv4"]:
        wanted = service.spec.loadBalancerIP
        if wanted and _family(wanted) == family:
            if wanted not in taken and wanted in addresses_of(view.options.pool):
                chosen.append(wanted)
                continue
            what = "is taken" if wanted in taken else f"is not in the pool ({', '.join(view.options.pool)})"
            return (), f"the address {wanted} that loadBalancerIP names {what}"
        known = [ip for ip in addresses_of(view.options.pool) if _family(ip) == family]
        kept = next((ip for ip in held if ip in known and ip not in taken), None)
        found = kept or next((ip for ip in known if ip not in taken), None)
        if found is None:
            return (), f"the address pool ({', '.join(view.options.pool)}) has no free {family} address left"
        chosen.append(found)
    return tuple(chosen), ""


@lru_cache(maxsize=8)
def addresses_of(pool: tuple[str, ...]) -> Mapping[str, None]:
    """Every address of the pool, in its order. Raises ValueError for what is no CIDR, range or address."""
    found: dict[str, None] = {}
    for part in pool:
        for address in _part(part):
            if len(found) >= POOL_MOST:
                return found
            found[address] = None
    return found


def _part(text: str) -> Iterator[str]:
    low, dash, high = (piece.strip() for piece in text.partition("-"))
    if not dash:
        yield from (str(ip) for ip in ipaddress.ip_network(low, strict=False))
        return
    first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{text!r} is not a range of addresses: write the lower one first")
    kind = type(first)
    yield from (str(kind(number)) for number in range(int(first), int(last) + 1))


def _holds(service: api.Service) -> Iterable[str]:
    """For the index `HOLDS`: whether a balancer has addresses."""
    if service.spec.type == TYPE:
        yield "yes" if ingress_of(service) else "no"


def _without(caches: Caches, service: api.Service) -> Iterable[Key]:
    """Whoever waits for an address or a port, when another Service gives some back."""
    if service.spec.type != TYPE:
        return
    for one in caches.of(api.Service).by_index(HOLDS, "no"):
        if _is_ours(one):
            yield Key(one.metadata.namespace or "", one.metadata.name or "")


def _every(caches: Caches, _node: api.Node) -> Iterable[Key]:
    services = caches.of(api.Service)
    for one in (*services.by_index(HOLDS, "yes"), *services.by_index(HOLDS, "no")):
        if _is_ours(one):
            yield Key(one.metadata.namespace or "", one.metadata.name or "")


def _gives_back(old: Any, new: Any) -> bool:
    return _has(old) != _has(new)


def _has(service: api.Service) -> tuple[Any, ...]:
    return service.spec.type, ingress_of(service), [(p.protocol, p.port) for p in service.spec.ports]


def _node_matters(old: Any, new: Any) -> bool:
    return (_is_usable(old), _addresses(old)) != (_is_usable(new), _addresses(new))


def controller(options: Options) -> Controller:
    """The controller. Raises ValueError for a pool that cannot be understood."""
    addresses_of(options.pool)
    of_nodes = () if options.pool else (mapped(api.Node, _every, _node_matters),)
    return Controller(
        name="service",
        kind=api.Service,
        matters=lambda old, new: old.metadata.resourceVersion != new.metadata.resourceVersion,
        watches=(mapped(api.Service, _without, _gives_back), *of_nodes),
        indexes={api.Service: {HOLDS: _holds}},
        gather=partial(gather, options),
        plan=plan,
        workers=1,
    )
