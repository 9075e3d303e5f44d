"""When a pod has to leave because of the taints of its devices, and which taints these are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.client.cache import Cache
from sampan.kinds.groups.resource.claims import claim_names, results_of
from sampan.kinds.groups.resource.taints import selects
from sampan.machinery.tolerations import NO_EXECUTE, tolerates
from sampan.schema import api

# A device by its driver, its pool and its name.
Device = tuple[str, str, str]
# Index of slices by driver and pool.
POOL: Final = "device-pool"


class Evicting(msgspec.Struct, frozen=True):
    """A NoExecute taint of a device that somebody has. `rule` is the uid of the rule behind it, if any."""

    taint: api.DeviceTaint
    rule: str = ""


class Leaving(msgspec.Struct, frozen=True):
    """When a pod has to go, and the rules that want it to."""

    at: datetime
    rules: frozenset[str] = frozenset()


def claims_of(pod: api.Pod, claims: Cache[api.ResourceClaim]) -> list[api.ResourceClaim]:
    """The claims that have devices for the pod, and are reserved for it."""
    found = [claims.get(pod.metadata.namespace or "", name) for name in claim_names(pod)]
    return [
        claim
        for claim in found
        if claim is not None
        and claim.status.allocation is not None
        and any(user.uid == pod.metadata.uid for user in claim.status.reservedFor)
    ]


def pool_key(driver: str, pool: str) -> str:
    """The value of the index POOL."""
    return f"{driver}/{pool}"


def pool_of(piece: api.ResourceSlice) -> Iterable[str]:
    """The index POOL."""
    return [pool_key(piece.spec.driver, piece.spec.pool.name)] if piece.spec.pool is not None else []


def taints_of(
    device: Device, slices: Iterable[api.ResourceSlice], rules: Iterable[api.DeviceTaintRule]
) -> list[Evicting]:
    """The NoExecute taints of a device: those in the latest generation of its pool, and those of rules."""
    pieces = list(slices)
    latest = max((_generation(piece) for piece in pieces), default=0)
    found = [
        Evicting(taint)
        for piece in pieces
        if _generation(piece) == latest
        for one in piece.spec.devices
        if one.name == device[2]
        for taint in one.taints
        if taint.effect == NO_EXECUTE
    ]
    for rule in rules:
        taint = rule.spec.taint
        if taint is not None and taint.effect == NO_EXECUTE and selects(rule, *device):
            found.append(Evicting(taint, rule.metadata.uid or ""))
    return found


def leaving(
    claims: Iterable[api.ResourceClaim], taints: Mapping[Device, Sequence[Evicting]], now: datetime
) -> Leaving | None:
    """When a pod with these claims has to go; None where it may stay."""
    at: datetime | None = None
    rules: set[str] = set()
    for claim in claims:
        for result in results_of(claim):
            for each in taints.get((result.driver, result.pool, result.device), ()):
                end = _tolerated_until(each.taint, result.tolerations, now)
                if end is not None:
                    at = end if at is None else min(at, end)
                    rules |= {each.rule} - {""}
    return Leaving(at, frozenset(rules)) if at is not None else None


def _tolerated_until(
    taint: api.DeviceTaint, tolerations: Sequence[api.DeviceToleration], now: datetime
) -> datetime | None:
    """When the taint takes effect; None for never."""
    since = taint.timeAdded or now  # the API server sets it; one without is new
    limits = [t.tolerationSeconds for t in tolerations if t.effect == NO_EXECUTE and tolerates(t, taint)]
    if None in limits:
        return None
    least = min((max(limit, 0) for limit in limits if limit is not None), default=0)
    return since + timedelta(seconds=least)


def _generation(piece: api.ResourceSlice) -> int:
    return piece.spec.pool.generation if piece.spec.pool is not None else 0
