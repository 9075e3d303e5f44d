"""EndpointSlices for Services without a selector: copies of the Endpoints that somebody else writes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Emit, Plan, Remove, Update
from sampan.client.resources import ref_of
from sampan.controllers.endpointslice import view as views
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api

MANAGER: Final = "endpointslicemirroring-controller.k8s.io"
SKIP: Final = "endpointslice.kubernetes.io/skip-mirror"
LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"
# Addresses of one subset that are mirrored; the rest is left out, and an event says so.
ADDRESSES_MOST: Final = 1000
SLICE_MOST: Final = 100
_INDEX: Final = "mirrored"


class View(msgspec.Struct, frozen=True):
    """The Endpoints to be mirrored (None: nothing is), and the slices that were made of them."""

    endpoints: api.Endpoints | None
    slices: tuple[api.EndpointSlice, ...] = ()


def gather(caches: Caches, key: Key) -> View | None:
    endpoints = caches.of(api.Endpoints).get(*key)
    service = caches.of(api.Service).get(*key)
    slices = tuple(caches.of(api.EndpointSlice).by_index(_INDEX, f"{key.namespace}/{key.name}"))
    wanted = (
        endpoints is not None
        and endpoints.metadata.deletionTimestamp is None
        and service is not None
        and not service.spec.selector
        and endpoints.metadata.labels.get(SKIP) != "true"
        and LEADER not in endpoints.metadata.annotations
    )
    if not wanted and not slices:
        return None
    return View(endpoints if wanted else None, slices)


def plan(view: View, now: datetime) -> Plan:
    """Slices for each family of each subset; those that are there are used again."""
    endpoints = view.endpoints
    if endpoints is None:
        return Plan(tuple(_remove(one) for one in view.slices))
    wanted, skipped, invalid = _wanted(endpoints)
    effects: list[Effect] = []
    free = sorted(view.slices, key=lambda one: one.metadata.name or "")
    for one in wanted:
        same = [held for held in free if (held.addressType, held.ports) == (one.addressType, one.ports)]
        if not same:
            effects.append(Create(one))
            continue
        held = next((each for each in same if each.endpoints == one.endpoints), same[0])
        free.remove(held)
        effects += _updated(held, one)
    effects += [_remove(one) for one in free]
    return Plan(tuple(effects), notices=tuple(_notices(endpoints, skipped, invalid)))


def _notices(endpoints: api.Endpoints, skipped: int, invalid: int) -> Iterable[Emit]:
    about = ref_of(endpoints)
    if skipped:
        message = (
            f"A max of {ADDRESSES_MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{skipped} addresses were skipped"
        )
        yield Emit(about, "Warning", "TooManyAddressesToMirror", message)
    if invalid:
        message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        yield Emit(about, "Warning", "InvalidIPAddress", message)


def _wanted(endpoints: api.Endpoints) -> tuple[list[api.EndpointSlice], int, int]:
    """The slices, how many addresses were left out for their number, and how many for what they are."""
    made: list[api.EndpointSlice] = []
    skipped = invalid = 0
    for subset in endpoints.subsets:
        every = [(one, True) for one in subset.addresses] + [(one, False) for one in subset.notReadyAddresses]
        skipped += max(len(every) - ADDRESSES_MOST, 0)
        by_family: dict[str, list[api.Endpoint]] = {}
        for address, ready in every[:ADDRESSES_MOST]:
            if not _is_address(address.ip):
                invalid += 1
                continue
            by_family.setdefault(views.family(address.ip), []).append(_endpoint(address, ready))
        for family, found in sorted(by_family.items()):
            for start in range(0, len(found), SLICE_MOST):
                made.append(_slice(endpoints, subset, family, found[start : start + SLICE_MOST]))
    return made, skipped, invalid


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _endpoint(address: api.EndpointAddress, ready: bool) -> api.Endpoint:
    return api.Endpoint(
        addresses=[address.ip],
        conditions=api.EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        nodeName=address.nodeName,
        targetRef=address.targetRef,
    )


def _slice(
    endpoints: api.Endpoints, subset: api.EndpointSubset, family: str, found: list[api.Endpoint]
) -> api.EndpointSlice:
    meta = endpoints.metadata
    ours = {views.SERVICE_NAME: meta.name or "", views.MANAGED_BY: MANAGER}
    dropped = (LAST_APPLIED, LEADER)
    ports = [
        api.DiscoveryEndpointPort(
            name=port.name or "",
            port=port.port,
            protocol=port.protocol or "TCP",
            appProtocol=port.appProtocol,
        )
        for port in subset.ports
    ]
    return api.EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=api.ObjectMeta(
            generateName=f"{meta.name}-",
            namespace=meta.namespace,
            labels={**meta.labels, **ours},
            annotations={k: v for k, v in meta.annotations.items() if k not in dropped},
            ownerReferences=[owner_reference(endpoints)],
        ),
        addressType=family,
        endpoints=found,
        ports=ports,
    )


def _updated(held: api.EndpointSlice, one: api.EndpointSlice) -> Iterable[Update]:
    new = one.metadata
    same = (held.metadata.labels, held.metadata.annotations) == (new.labels, new.annotations)
    if held.endpoints == one.endpoints and same:
        return
    meta = msgspec.structs.replace(held.metadata, labels=new.labels, annotations=new.annotations)
    yield Update(msgspec.structs.replace(held, metadata=meta, endpoints=one.endpoints))


def _remove(one: api.EndpointSlice) -> Remove:
    return Remove(msgspec.structs.replace(ref_of(one), resource_version=""))


def _same_name(_caches: Caches, obj: Any) -> Iterable[Key]:
    yield Key(obj.metadata.namespace or "", obj.metadata.name or "")


def _selected(service: api.Service) -> bool:
    return bool(service.spec.selector)


def controller(batch_s: float = 0.0) -> Controller:
    """With all changes looked at together for so many seconds."""
    return Controller(
        name="endpointslicemirroring",
        reporter="endpoint-slice-mirroring-controller",
        kind=api.Endpoints,
        watches=(
            mapped(
                api.Service,
                _same_name,
                lambda old, new: _selected(old) != _selected(new),
                delay_s=batch_s,
            ),
            mapped(api.EndpointSlice, views.services_of_slices(MANAGER), delay_s=batch_s),
        ),
        indexes={api.EndpointSlice: {_INDEX: views.slices_by_service(MANAGER)}},
        gather=gather,
        plan=plan,
        delay_s=batch_s,
    )
