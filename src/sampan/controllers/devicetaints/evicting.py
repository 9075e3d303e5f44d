"""Pods leave devices whose NoExecute taints their claims do not tolerate, or no longer tolerate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Emit, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.devicetaints.taints import (
    POOL,
    Device,
    Evicting,
    claims_of,
    leaving,
    pool_key,
    pool_of,
    taints_of,
)
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.disruption import disrupt
from sampan.kinds.groups.resource.claims import claim_names, results_of
from sampan.schema import api

_MESSAGE: Final = "Device Taint manager: deleting due to NoExecute taint"
# Claims by the pools of their devices.
USES: Final = "device-pools"


class View(msgspec.Struct, frozen=True):
    """A pod on a node, its claims, and the NoExecute taints of their devices."""

    pod: api.Pod
    claims: tuple[api.ResourceClaim, ...]
    taints: dict[Device, list[Evicting]]


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    if pod is None or not pod.spec.nodeName or not podutil.is_active(pod):
        return None
    return view_of(caches, pod, tuple(caches.of(api.DeviceTaintRule).items()))


def view_of(caches: Caches, pod: api.Pod, rules: tuple[api.DeviceTaintRule, ...]) -> View | None:
    """What taints do to a pod under these rules; None where no device of it has one."""
    claims = claims_of(pod, caches.of(api.ResourceClaim))
    taints: dict[Device, list[Evicting]] = {}
    for result in (result for claim in claims for result in results_of(claim)):
        device = result.driver, result.pool, result.device
        slices = caches.of(api.ResourceSlice).by_index(POOL, pool_key(result.driver, result.pool))
        found = taints_of(device, slices, rules)
        if found:
            taints[device] = found
    return View(pod, tuple(claims), taints) if taints else None


def plan(view: View, now: datetime) -> Plan:
    """Delete the pod once a taint is not tolerated, or has been for long enough."""
    due = leaving(view.claims, view.taints, now)
    if due is None:
        return Plan()
    if due.at > now:
        wait_s = (due.at - now).total_seconds()
        return Plan(waiting_for=f"its tolerations to run out in {wait_s:.0f} s", requeue_after_s=wait_s)
    about = ref_of(view.pod)
    return Plan(
        (
            Emit(about, "Normal", "DeviceTaintManagerEviction", "Marking for deletion"),
            disrupt(view.pod, "DeletionByDeviceTaintManager", _MESSAGE, now),
            Remove(msgspec.structs.replace(about, resource_version="")),
        )
    )


def pools_of(claim: api.ResourceClaim) -> Iterable[str]:
    """The index USES."""
    return dict.fromkeys(pool_key(result.driver, result.pool) for result in results_of(claim))


def users(claim: api.ResourceClaim) -> Iterable[Key]:
    """The pods that a claim is reserved for."""
    for user in claim.status.reservedFor:
        if user.resource == "pods" and not user.apiGroup:
            yield Key(claim.metadata.namespace or "", user.name)


def _of_claim(caches: Caches, claim: Any) -> Iterable[Key]:
    return users(claim)


def _of_slice(caches: Caches, piece: Any) -> Iterable[Key]:
    for pool in pool_of(piece):
        for claim in caches.of(api.ResourceClaim).by_index(USES, pool):
            yield from users(claim)


def _of_rule(caches: Caches, rule: Any) -> Iterable[Key]:
    for claim in caches.of(api.ResourceClaim).items():
        yield from users(claim)


def _pod_matters(old: Any, new: Any) -> bool:
    return bool(claim_names(new)) and (
        old.spec.nodeName != new.spec.nodeName or claim_names(old) != claim_names(new)
    )


CONTROLLER: Final = Controller(
    name="device-taint-eviction",
    kind=api.Pod,
    matters=_pod_matters,
    wants=lambda _caches, pod: bool(claim_names(pod)),
    watches=(
        mapped(api.ResourceClaim, _of_claim, lambda old, new: old.status != new.status),
        mapped(api.ResourceSlice, _of_slice, lambda old, new: old.spec != new.spec),
        mapped(api.DeviceTaintRule, _of_rule, lambda old, new: old.spec != new.spec),
    ),
    indexes={api.ResourceSlice: {POOL: pool_of}, api.ResourceClaim: {USES: pools_of}},
    gather=gather,
    plan=plan,
)
