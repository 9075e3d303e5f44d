"""Leases of API servers that are gone: kept up while a server runs, removed when they have run out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.client.effects import Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.schema import api

NAMESPACE: Final = "kube-system"
LABEL: Final = "apiserver.kubernetes.io/identity"
DURATION_S: Final = 3600


class View(msgspec.Struct, frozen=True):
    """The Lease of an API server, and when we saw it change."""

    lease: api.Lease
    seen_at: datetime | None


def gather(caches: Caches, key: Key) -> View | None:
    leases = caches.of(api.Lease)
    lease = leases.get(*key)
    return View(lease, leases.seen_at(*key)) if lease is not None else None


def plan(view: View, now: datetime) -> Plan:
    """Remove the Lease once it has run out; one that nobody ever renewed counts from when it was made."""
    lease = view.lease
    renewed = _time(lease.spec.renewTime) or lease.metadata.creationTimestamp or view.seen_at or now
    if view.seen_at is not None:
        renewed = min(renewed, view.seen_at)  # its holder's clock may be ahead of ours
    left_s = (
        renewed + timedelta(seconds=lease.spec.leaseDurationSeconds or DURATION_S) - now
    ).total_seconds()
    if left_s <= 0:
        return Plan((Remove(ref_of(lease)),))
    return Plan(requeue_after_s=left_s)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _of_servers(_caches: Caches, lease: Any) -> Iterable[Key]:
    if LABEL in lease.metadata.labels and lease.metadata.namespace == NAMESPACE:
        yield Key(NAMESPACE, lease.metadata.name)


CONTROLLER: Final = Controller(
    name="apiserver-lease-gc", watches=(mapped(api.Lease, _of_servers),), gather=gather, plan=plan, workers=1
)
