"""EndpointSlices: every endpoint stays in the slice it is in, new ones fill what has room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from sampan.client.effects import Create, Effect, Plan, Remove, Update
from sampan.client.resources import ref_of
from sampan.controllers.endpointslice import hints as hinting
from sampan.controllers.endpointslice import view as views
from sampan.controllers.endpointslice.hints import Zones
from sampan.controllers.endpointslice.view import Backend
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api

MANAGER: Final = "endpointslice-controller.k8s.io"
ENDPOINTS_MOST: Final = 100
_INDEX: Final = "service"

# (name, protocol, port, appProtocol) of each port, in the Service's order.
Ports = tuple[tuple[str, str, int, str | None], ...]


class View(msgspec.Struct, frozen=True):
    """A Service with a selector, its pods, and our slices for it."""

    service: api.Service
    backends: tuple[Backend, ...]
    slices: tuple[api.EndpointSlice, ...] = ()
    zones: Zones = Zones()


def gather(caches: Caches, key: Key) -> View | None:
    service = caches.of(api.Service).get(*key)
    if service is None or not views.selects(service) or service.metadata.deletionTimestamp is not None:
        return None
    found = caches.of(api.EndpointSlice).by_index(_INDEX, f"{key.namespace}/{key.name}")
    slices = tuple(one for one in found if one.metadata.deletionTimestamp is None)
    zones = _zones(caches) if hinting.distribution(service) == "Auto" else Zones()
    return View(service, views.backends(caches, service), slices, zones)


def _zones(caches: Caches) -> Zones:
    cpus: dict[str, int] = {}
    for node in caches.of(api.Node).items():
        zone = node.metadata.labels.get(views.ZONE)
        if not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            continue
        amount = node.status.allocatable.get("cpu")
        if not zone or amount is None:
            return Zones()
        cpus[zone] = cpus.get(zone, 0) + amount.milli()
    return Zones(cpus)


def plan(view: View, now: datetime) -> Plan:
    """Bring the slices of each address family and set of ports to what the pods are."""
    effects: list[Effect] = []
    families = views.families(view.service)
    for family in families:
        effects += _plan_family(view, family)
    effects += [_remove(one) for one in view.slices if one.addressType not in families]
    return Plan(tuple(effects))


def _plan_family(view: View, family: str) -> list[Effect]:
    service = view.service
    wanted: dict[Ports, dict[str, api.Endpoint]] = {}
    backends: dict[Ports, list[tuple[Backend, bool]]] = {}
    for backend in view.backends:
        here = [ip for ip in views.addresses(backend.pod) if views.family(ip) == family]
        if here:
            ports = _ports(service, backend.pod)
            made = _endpoint(service, backend, here)
            wanted.setdefault(ports, {})[backend.pod.metadata.uid or ""] = made
            is_ready = made.conditions is not None and bool(made.conditions.ready)
            backends.setdefault(ports, []).append((backend, is_ready))
    for ports, those in backends.items():
        for uid, hint in hinting.hints(service, those, view.zones).items():
            wanted[ports][uid].hints = hint
    existing = sorted(
        (one for one in view.slices if one.addressType == family), key=lambda one: one.metadata.name or ""
    )
    if not wanted:
        wanted[()] = {}  # a Service without pods has a slice that says so
    effects: list[Effect] = []
    for ports, endpoints in wanted.items():
        same = [one for one in existing if _ports_of(one) == ports]
        effects += _fill(view, family, ports, endpoints, same, keep_empty=not any(wanted.values()))
    effects += [_remove(one) for one in existing if _ports_of(one) not in wanted]
    return effects


def _fill(
    view: View,
    family: str,
    ports: Ports,
    endpoints: dict[str, api.Endpoint],
    existing: Sequence[api.EndpointSlice],
    keep_empty: bool,
) -> list[Effect]:
    left = dict(endpoints)
    filled: list[tuple[api.EndpointSlice, list[api.Endpoint]]] = []
    for one in existing:
        kept = [left.pop(uid) for uid in map(_uid_of, one.endpoints) if uid in left]
        filled.append((one, kept))
    pending = list(left.values())
    for _, kept in sorted(filled, key=lambda pair: -len(pair[1])):
        room = ENDPOINTS_MOST - len(kept)
        kept += pending[:room]
        pending = pending[room:]
    effects: list[Effect] = []
    for position, (one, kept) in enumerate(filled):
        if kept or (keep_empty and position == 0):
            effects += _updated(view, one, kept)
        else:
            effects.append(_remove(one))
    starts = range(0, len(pending), ENDPOINTS_MOST)
    batches = [pending[start : start + ENDPOINTS_MOST] for start in starts]
    if not batches and keep_empty and not existing:
        batches = [[]]
    effects += [Create(_new(view, family, ports, batch)) for batch in batches]
    return effects


def _endpoint(service: api.Service, backend: Backend, here: list[str]) -> api.Endpoint:
    pod = backend.pod
    serving = podutil.is_ready(pod)
    terminating = pod.metadata.deletionTimestamp is not None
    ready = bool(service.spec.publishNotReadyAddresses) or (serving and not terminating)
    return api.Endpoint(
        addresses=here,
        conditions=api.EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=views.hostname(pod, service),
        nodeName=pod.spec.nodeName,
        zone=backend.zone,
        targetRef=views.target(pod),
    )


def _ports(service: api.Service, pod: api.Pod) -> Ports:
    found = []
    for port in service.spec.ports:
        number = views.port_number(pod, port)
        if number is not None:
            found.append((port.name or "", port.protocol or "TCP", number, port.appProtocol))
    return tuple(found)


def _ports_of(one: api.EndpointSlice) -> Ports:
    return tuple((p.name or "", p.protocol or "TCP", p.port or 0, p.appProtocol) for p in one.ports)


def _uid_of(endpoint: api.Endpoint) -> str:
    return (endpoint.targetRef.uid or "") if endpoint.targetRef is not None else ""


def _labels(service: api.Service) -> dict[str, str]:
    ours = {views.SERVICE_NAME: service.metadata.name or "", views.MANAGED_BY: MANAGER}
    return {**views.labels_of(service), **ours}


def _new(view: View, family: str, ports: Ports, endpoints: list[api.Endpoint]) -> api.EndpointSlice:
    service = view.service
    return api.EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=api.ObjectMeta(
            generateName=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=_labels(service),
            annotations=_annotations(view, {}),
            ownerReferences=[owner_reference(service)],
        ),
        addressType=family,
        endpoints=endpoints,
        ports=[
            api.DiscoveryEndpointPort(name=name, protocol=protocol, port=number, appProtocol=app)
            for name, protocol, number, app in ports
        ],
    )


def _annotations(view: View, held: Mapping[str, str]) -> dict[str, str]:
    told = [one.metadata.annotations.get(views.TRIGGER, "") for one in view.slices]
    at = views.trigger_time(view.service, view.backends, max(told, default="") or None)
    others = {key: value for key, value in held.items() if key != views.TRIGGER}
    return {**others, views.TRIGGER: at} if at is not None else others


def _updated(view: View, one: api.EndpointSlice, endpoints: list[api.Endpoint]) -> Iterable[Update]:
    labels = _labels(view.service)
    if one.endpoints == endpoints and one.metadata.labels == labels:
        return
    annotations = _annotations(view, one.metadata.annotations)
    meta = msgspec.structs.replace(one.metadata, labels=labels, annotations=annotations)
    yield Update(msgspec.structs.replace(one, metadata=meta, endpoints=endpoints))


def _remove(one: api.EndpointSlice) -> Remove:
    return Remove(msgspec.structs.replace(ref_of(one), resource_version=""))


def controller(batch_s: float = 0.0) -> Controller:
    """With changes of pods, and of slices, looked at together for so many seconds."""
    return Controller(
        name="endpointslice",
        reporter="endpoint-slice-controller",
        kind=api.Service,
        watches=(
            mapped(api.Pod, views.services_of, views.pod_matters, delay_s=batch_s),
            mapped(api.EndpointSlice, views.services_of_slices(MANAGER), delay_s=batch_s),
            mapped(api.Node, views.services_on, views.node_matters),
        ),
        indexes={
            api.Pod: {podutil.ON_NODE: podutil.on_node, views.WITH_LABEL: views.with_label},
            api.EndpointSlice: {_INDEX: views.slices_by_service(MANAGER)},
            api.Service: {views.BY_LABEL: views.by_label},
        },
        gather=gather,
        plan=plan,
    )
