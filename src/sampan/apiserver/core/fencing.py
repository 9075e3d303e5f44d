"""Writes that hold only while their author leads.

Who was elected by a Lease names it in the parameter `fencingLease` of each write: namespace, name, number of
the term (`leaseTransitions`) and holder, joined by slashes. The write is committed with a guard on the
Lease's revision, so that nothing which a deposed leader sent is stored once another has taken the Lease, no
matter how long it was under way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sampan.apiserver.core.status import StatusError, bad_request
from sampan.store.backend import Conflict, Guard
from sampan.store.watchcache import WatchCache

PARAMETER: Final = "fencingLease"
LEASES: Final = "/registry/coordination.k8s.io/leases/"


class Fence(msgspec.Struct, frozen=True):
    """The term in which a write was sent."""

    namespace: str
    name: str
    transitions: int
    holder: str


class _Spec(msgspec.Struct):
    holderIdentity: str = ""
    leaseTransitions: int = 0


class _Lease(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decode = msgspec.json.Decoder(_Lease).decode


def fence_of(query: Mapping[str, str]) -> Fence | None:
    """The fence of a request; None where it names none. Raises 400."""
    text = query.get(PARAMETER, "")
    if not text:
        return None
    parts = text.split("/", 3)
    if len(parts) != 4 or not parts[2].isdigit() or not all(parts):
        raise bad_request(
            f"{PARAMETER}: Invalid value: {text!r}: must be <namespace>/<name>/<transitions>/<holder>"
        )
    return Fence(parts[0], parts[1], int(parts[2]), parts[3])


def guard(fence: Fence, cache: WatchCache) -> Guard:
    """What has to hold for a write of this term to be stored. Raises 409 where the term is over."""
    item = cache.kind(LEASES).get(fence.namespace, fence.name)
    spec = _decode(item.data).spec if item is not None else _Spec()
    if item is None or (spec.holderIdentity, spec.leaseTransitions) != (fence.holder, fence.transitions):
        now = f"{spec.holderIdentity or 'nobody'} leads" if item is not None else "it is gone"
        raise StatusError(
            409,
            "Conflict",
            f"{fence.holder} no longer holds the lease {fence.namespace}/{fence.name}: {now}; "
            "stop writing and stand for election again",
        )
    return Guard(item.key, item.revision)


def is_renewal(outcome: Conflict, guards: Sequence[Guard]) -> bool:
    """Whether nothing but the Lease stood against a commit: `guards` are the others."""
    held = {entry.key: entry.mod_revision for entry in outcome.current}
    return all(held.get(one.key, 0) == one.mod_revision for one in guards)
