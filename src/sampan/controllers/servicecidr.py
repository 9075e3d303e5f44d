"""ServiceCIDRs: ready to be used, and kept while Services have addresses that no other range covers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Effect, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api, codec

FINALIZER: Final = "networking.k8s.io/service-cidr-finalizer"
READY: Final = "Ready"
_READY_TEXT: Final = "Kubernetes Service CIDR is ready"
# Addresses that were being given out when the range was deleted have been stored by then.
GRACE: Final = timedelta(seconds=10)
_STILL: Final = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)


class View(msgspec.Struct, frozen=True):
    """A range, and the addresses in it that would be left without one."""

    cidr: api.ServiceCIDR
    orphans: tuple[str, ...] = ()


def gather(caches: Caches, key: Key) -> View | None:
    cidr = caches.of(api.ServiceCIDR).get(*key)
    if cidr is None or cidr.metadata.deletionTimestamp is None:
        return View(cidr) if cidr is not None else None
    others = [
        network
        for one in caches.of(api.ServiceCIDR).items()
        if one.metadata.name != cidr.metadata.name and one.metadata.deletionTimestamp is None
        for network in networks(one)
    ]
    own = networks(cidr)
    names = (address.metadata.name or "" for address in caches.of(api.IPAddress).items())
    orphans = (n for n in names if _within(n, own) and not _within(n, others))
    return View(cidr, tuple(sorted(orphans)))


def networks(cidr: api.ServiceCIDR) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in cidr.spec.cidrs]


def _within(name: str, ranges: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = ipaddress.ip_address(name)
    return any(address in network for network in ranges)


def plan(view: View, now: datetime) -> Plan:
    """Finalizer and Ready condition; when it is deleted, wait until nothing needs it."""
    meta = view.cidr.metadata
    if meta.deletionTimestamp is None:
        effects: list[Effect] = []
        if FINALIZER not in meta.finalizers:
            effects.append(_finalizers(view.cidr, [*meta.finalizers, FINALIZER]))
        return Plan((*effects, *_ready(view.cidr, "True", "", _READY_TEXT, now)))
    if FINALIZER not in meta.finalizers:
        return Plan()
    if view.orphans:
        return Plan(
            _ready(view.cidr, "False", "Terminating", _STILL, now),
            f"the addresses {', '.join(view.orphans[:5])} to be given back",
        )
    left_s = (meta.deletionTimestamp + GRACE - now).total_seconds()
    if left_s > 0:
        return Plan(waiting_for="addresses that were being given out", requeue_after_s=left_s)
    return Plan((_finalizers(view.cidr, [name for name in meta.finalizers if name != FINALIZER]),))


def _finalizers(cidr: api.ServiceCIDR, wanted: list[str]) -> Patch:
    return Patch(ref_of(cidr), {"metadata": {"uid": cidr.metadata.uid, "finalizers": wanted or None}})


def _ready(cidr: api.ServiceCIDR, status: str, reason: str, message: str, now: datetime) -> tuple[Patch, ...]:
    held = next((c for c in cidr.status.conditions if c.type == READY), None)
    if held is not None and held.status == status and message in (held.message, _READY_TEXT):
        return ()  # whose words they are does not matter: the default range's are the API server's
    since = held.lastTransitionTime if held is not None and held.status == status else kube_time(now)
    condition = api.Condition(
        type=READY, status=status, reason=reason, message=message, lastTransitionTime=since
    )
    others = [c for c in cidr.status.conditions if c.type != READY]
    whole = {
        "metadata": {"uid": cidr.metadata.uid},
        "status": {"conditions": codec.to_builtins([*others, condition])},
    }
    return (Patch(ref_of(cidr), whole, subresource="status"),)


def _going(caches: Caches, _obj: object) -> Iterable[Key]:
    for cidr in caches.of(api.ServiceCIDR).items():
        if cidr.metadata.deletionTimestamp is not None:
            yield Key("", cidr.metadata.name or "")


CONTROLLER: Final = Controller(
    name="servicecidrs",
    reporter="service-cidr-controller",
    kind=api.ServiceCIDR,
    watches=(
        mapped(api.IPAddress, _going, lambda _old, _new: False),
        mapped(api.ServiceCIDR, _going),
    ),
    gather=gather,
    plan=plan,
    workers=1,
)
