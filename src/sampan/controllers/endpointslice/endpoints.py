"""The Endpoints object of a Service: deprecated, and still what many clients read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Plan, Remove, Update
from sampan.client.resources import ref_of
from sampan.controllers.endpointslice import view as views
from sampan.controllers.endpointslice.view import Backend
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

MANAGED_BY: Final = "endpoints.kubernetes.io/managed-by"
MANAGER: Final = "endpoint-controller"
OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
ADDRESSES_MOST: Final = 1000

Ports = tuple[tuple[str, int, str, str | None], ...]


class View(msgspec.Struct, frozen=True):
    """A Service with a selector (None: it is gone), its pods, and its Endpoints."""

    service: api.Service | None
    backends: tuple[Backend, ...] = ()
    endpoints: api.Endpoints | None = None


def gather(caches: Caches, key: Key) -> View | None:
    service = caches.of(api.Service).get(*key)
    endpoints = caches.of(api.Endpoints).get(*key)
    if service is None or service.metadata.deletionTimestamp is not None:
        is_ours = endpoints is not None and endpoints.metadata.labels.get(MANAGED_BY) == MANAGER
        return View(None, endpoints=endpoints) if is_ours else None
    if not views.selects(service):
        return None
    return View(service, views.backends(caches, service), endpoints)


def plan(view: View, now: datetime) -> Plan:
    """Write the subsets that the pods make; remove what the Service left behind."""
    service, found = view.service, view.endpoints
    if service is None:
        return Plan((Remove(ref_of(found)),)) if found is not None else Plan()
    shown = _shown(service, view.backends)
    subsets = _subsets(service, shown[:ADDRESSES_MOST])
    over = {OVER_CAPACITY: "truncated"} if len(shown) > ADDRESSES_MOST else {}
    labels = {**views.labels_of(service), MANAGED_BY: MANAGER}
    if found is None:
        meta = api.ObjectMeta(
            name=service.metadata.name,
            namespace=service.metadata.namespace,
            labels=labels,
            annotations={**over, **_trigger(view, None)},
        )
        made = api.Endpoints(apiVersion="v1", kind="Endpoints", metadata=meta, subsets=subsets)
        return Plan((Create(made, expect_exists=True),))
    annotations = {**{k: v for k, v in found.metadata.annotations.items() if k != OVER_CAPACITY}, **over}
    if found.subsets == subsets and (found.metadata.labels, found.metadata.annotations) == (
        labels,
        annotations,
    ):
        return Plan()
    before = annotations.pop(views.TRIGGER, None)
    annotations |= _trigger(view, before)
    meta = msgspec.structs.replace(found.metadata, labels=labels, annotations=annotations)
    return Plan((Update(msgspec.structs.replace(found, metadata=meta, subsets=subsets)),))


def _trigger(view: View, before: str | None) -> dict[str, str]:
    assert view.service is not None
    at = views.trigger_time(view.service, view.backends, before)
    return {views.TRIGGER: at} if at is not None else {}


def _shown(service: api.Service, backends: Iterable[Backend]) -> list[Backend]:
    """The pods that count: terminating ones only where the Service wants all; ready ones first."""
    every = bool(service.spec.publishNotReadyAddresses)
    shown = [one for one in backends if every or one.pod.metadata.deletionTimestamp is None]
    return sorted(shown, key=lambda one: not podutil.is_ready(one.pod))


def _subsets(service: api.Service, backends: Iterable[Backend]) -> list[api.EndpointSubset]:
    """One subset for each set of ports, all in an order that stays the same."""
    groups: dict[Ports, api.EndpointSubset] = {}
    family = views.families(service)[0]
    for backend in backends:
        pod = backend.pod
        address = next((ip for ip in views.addresses(pod) if views.family(ip) == family), None)
        ports = _ports(service, pod)
        if address is None or (service.spec.ports and not ports):
            continue
        entry = api.EndpointAddress(
            ip=address,
            hostname=views.hostname(pod, service),
            nodeName=pod.spec.nodeName,
            targetRef=views.target(pod),
        )
        group = groups.setdefault(ports, _subset(ports))
        ready = podutil.is_ready(pod) or service.spec.publishNotReadyAddresses
        (group.addresses if ready else group.notReadyAddresses).append(entry)
    for group in groups.values():
        group.addresses.sort(key=_order)
        group.notReadyAddresses.sort(key=_order)
    return [groups[ports] for ports in sorted(groups, key=str)]


def _order(address: api.EndpointAddress) -> tuple[str, str]:
    return address.ip, (address.targetRef.uid or "") if address.targetRef is not None else ""


def _ports(service: api.Service, pod: api.Pod) -> Ports:
    found = []
    for port in service.spec.ports:
        number = views.port_number(pod, port)
        if number is not None:
            found.append((port.name or "", number, port.protocol or "TCP", port.appProtocol))
    return tuple(sorted(found, key=str))


def _subset(ports: Ports) -> api.EndpointSubset:
    return api.EndpointSubset(
        ports=[
            api.EndpointPort(name=name or None, port=number, protocol=protocol, appProtocol=app)
            for name, number, protocol, app in ports
        ]
    )


def _same_name(_caches: Caches, endpoints: Any) -> Iterable[Key]:
    yield Key(endpoints.metadata.namespace or "", endpoints.metadata.name or "")


def controller(batch_s: float = 0.0) -> Controller:
    """With changes of pods looked at together for so many seconds."""
    return Controller(
        name="endpoint",
        kind=api.Service,
        watches=(
            mapped(api.Pod, views.services_of, views.pod_matters, delay_s=batch_s),
            mapped(api.Endpoints, _same_name),
        ),
        indexes={
            api.Pod: {views.WITH_LABEL: views.with_label},
            api.Service: {views.BY_LABEL: views.by_label},
        },
        gather=gather,
        plan=plan,
    )
