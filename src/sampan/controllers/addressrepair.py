"""Mends what people break of Services' addresses, which are made in one commit with their IPAddress objects.

A Service whose address has no IPAddress gets one; an IPAddress that no Service needs goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import Create, Effect, Emit, Plan, Remove
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

MANAGED_BY: Final = "ipaddress.kubernetes.io/managed-by"
MANAGER: Final = "ipallocator.k8s.io"
FAMILY: Final = "ipaddress.kubernetes.io/ip-family"
# Younger addresses may be of a Service that is not seen yet.
GRACE: Final = timedelta(seconds=60)
_BY_ADDRESS: Final = "cluster-ip"


class ServiceView(msgspec.Struct, frozen=True):
    """A Service, and the IPAddress objects of its addresses (None: missing)."""

    service: api.Service
    held: tuple[tuple[str, api.IPAddress | None], ...]


class AddressView(msgspec.Struct, frozen=True):
    """An IPAddress that the allocator made, and the Service that it names."""

    address: api.IPAddress
    service: api.Service | None


def cluster_ips(service: api.Service) -> list[str]:
    """The addresses that the Service holds."""
    if service.spec.type == "ExternalName":
        return []
    return [ip for ip in service.spec.clusterIPs or [service.spec.clusterIP or ""] if ip and ip != "None"]


def gather(caches: Caches, key: Key) -> ServiceView | None:
    service = caches.of(api.Service).get(*key)
    if service is None:
        return None
    known = caches.of(api.IPAddress)
    return ServiceView(service, tuple((ip, known.get("", ip)) for ip in cluster_ips(service)))


async def survey(client: Client, view: ServiceView) -> ServiceView:
    """The cache may lag behind: what looks missing is asked for."""
    return msgspec.structs.replace(
        view, held=tuple([(ip, one or await _find(client, ip)) for ip, one in view.held])
    )


async def _find(client: Client, ip: str) -> api.IPAddress | None:
    try:
        return await client.get(api.IPAddress, ip)
    except ApiError as error:
        if not is_not_found(error):
            raise
        return None


def plan(view: ServiceView, now: datetime) -> Plan:
    service, effects, notices = view.service, list[Effect](), list[Emit]()
    meta, about = service.metadata, ref_of(service)
    for ip, held in view.held:
        if held is None:
            message = f"Cluster IP [IPv{6 if ':' in ip else 4}]: {ip} is not allocated; repairing"
            effects += [
                Emit(about, "Warning", "ClusterIPNotAllocated", message),
                Create(_made(service, ip), True),
            ]
        elif not _names(held, service):
            message = (
                f"Cluster IP [IPv{6 if ':' in ip else 4}]: {ip} was assigned to multiple services; "
                f"please recreate service {meta.namespace}/{meta.name}"
            )
            notices.append(Emit(about, "Warning", "ClusterIPAlreadyAllocated", message))
    return Plan(tuple(effects), notices=tuple(notices))


def _names(address: api.IPAddress, service: api.Service) -> bool:
    parent, meta = address.spec.parentRef, service.metadata
    return parent is not None and (parent.resource, parent.namespace, parent.name) == (
        "services",
        meta.namespace,
        meta.name,
    )


def _made(service: api.Service, ip: str) -> api.IPAddress:
    labels = {FAMILY: "IPv6" if ":" in ip else "IPv4", MANAGED_BY: MANAGER}
    parent = api.ParentReference(
        resource="services", namespace=service.metadata.namespace, name=service.metadata.name or ""
    )
    return api.IPAddress(
        apiVersion="networking.k8s.io/v1",
        kind="IPAddress",
        metadata=api.ObjectMeta(name=ip, labels=labels),
        spec=api.IPAddressSpec(parentRef=parent),
    )


def gather_address(caches: Caches, key: Key) -> AddressView | None:
    address = caches.of(api.IPAddress).get(*key)
    if address is None or address.metadata.labels.get(MANAGED_BY) != MANAGER:
        return None
    parent = address.spec.parentRef
    if parent is None or parent.resource != "services":
        return None
    return AddressView(address, caches.of(api.Service).get(parent.namespace or "", parent.name or ""))


def plan_address(view: AddressView, now: datetime) -> Plan:
    """Remove what no Service needs, once it is old enough for that to be certain."""
    address, parent = view.address, view.address.spec.parentRef
    assert parent is not None
    if view.service is not None and address.metadata.name in cluster_ips(view.service):
        return Plan()
    left_s = ((address.metadata.creationTimestamp or now) + GRACE - now).total_seconds()
    if left_s > 0:
        return Plan(waiting_for="a Service that needs the address", requeue_after_s=left_s)
    owner = f"{parent.namespace}/{parent.name}"
    message = f"IPAddress: {address.metadata.name} for Service {owner} appears to have leaked: cleaning up"
    return Plan((Emit(ref_of(address), "Warning", "IPAddressNotAllocated", message), Remove(ref_of(address))))


def _by_address(service: api.Service) -> Iterable[str]:
    return cluster_ips(service)


def _services(caches: Caches, address: api.IPAddress) -> Iterable[Key]:
    for service in caches.of(api.Service).by_index(_BY_ADDRESS, address.metadata.name or ""):
        yield Key(service.metadata.namespace or "", service.metadata.name or "")


def _addresses(_caches: Caches, service: api.Service) -> Iterable[Key]:
    for ip in cluster_ips(service):
        yield Key("", ip)


def _address_matters(old: api.Service, new: api.Service) -> bool:
    return cluster_ips(old) != cluster_ips(new)


SERVICES: Final = Controller(
    name="service-ip-repair",
    reporter="ipallocator-repair-controller",
    kind=api.Service,
    matters=_address_matters,
    watches=(mapped(api.IPAddress, _services, lambda _old, _new: False),),
    indexes={api.Service: {_BY_ADDRESS: _by_address}},
    gather=gather,
    survey=survey,
    plan=plan,
    workers=1,
)
ADDRESSES: Final = Controller(
    name="ipaddress-repair",
    reporter="ipallocator-repair-controller",
    kind=api.IPAddress,
    watches=(mapped(api.Service, _addresses, _address_matters),),
    gather=gather_address,
    plan=plan_address,
    workers=1,
)
