"""DynamicResources: pods that use ResourceClaims run where their devices are or can be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.devices import extended
from sampan.scheduler.devices.allocator import Claimed, Search, Unallocatable
from sampan.scheduler.devices.binding import is_ready
from sampan.scheduler.devices.inventory import Offered
from sampan.scheduler.devices.ledger import Reserve
from sampan.scheduler.devices.results import allocation
from sampan.scheduler.devices.selectors import SelectorError
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Reason,
    Rejected,
    Verdict,
    nobody,
    row_list,
)
from sampan.scheduler.label_masks import terms_mask
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

ELSEWHERE: Final = "resourceclaim not available on the node"
CANNOT: Final = "cannot allocate all claims"
LEFT_OVER: Final = "cannot schedule extended resource claim"
# How many pods may use one claim (ResourceClaimReservedForMaxSize).
MOST_USERS: Final = 256


class _Wanted(msgspec.Struct, frozen=True):
    """The claims of a pod: those that have devices, and those that need some."""

    pod: api.Pod
    allocated: tuple[api.ResourceClaim, ...] = ()
    open: tuple[api.ResourceClaim, ...] = ()
    extended: tuple[tuple[str, str], ...] = ()  # resources that classes serve, and these


class DynamicResources(Plugin):
    name: ClassVar[str] = "DynamicResources"
    events: ClassVar[frozenset[str]] = frozenset(
        {NODE_EVENT, ASSIGNED_POD, "ResourceClaim", "ResourceSlice", "DeviceClass", "DeviceTaintRule", "Pod"}
    )
    kinds: ClassVar[tuple[type[Any], ...]] = (
        api.ResourceClaim,
        api.ResourceSlice,
        api.DeviceClass,
        api.DeviceTaintRule,
    )

    def prepare(self, pod: PodInfo, world: World) -> _Wanted | Rejected | None:
        served = _extended(pod, world)
        if not pod.spec.resourceClaims and not served:
            return None
        if served and left_over(pod, world) is not None:
            return Rejected(LEFT_OVER)
        names, missing = claim_names(pod.pod)
        if missing:
            return Rejected(f'pod "{"/".join(pod.key)}": ResourceClaim not created yet')
        allocated, open_claims = list[api.ResourceClaim](), list[api.ResourceClaim]()
        for name, own in names:
            claim = world.cache(api.ResourceClaim).get(pod.namespace, name)
            why = _unusable(claim, name, own, pod, world)
            if why:
                return Rejected(why)
            assert claim is not None
            (allocated if claim.status.allocation is not None else open_claims).append(claim)
        try:
            _check_classes(open_claims, world)
        except Unallocatable as problem:
            return Rejected(str(problem))
        return _Wanted(pod.pod, tuple(allocated), tuple(open_claims), served)

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        wanted: _Wanted = state
        away = nobody(world, rows)
        for claim in wanted.allocated:
            selector = claim.status.allocation.nodeSelector if claim.status.allocation else None
            if selector is not None:
                away |= ~terms_mask(selector.nodeSelectorTerms, world.table)[rows]
        reasons = [Reason(ELSEWHERE, away, False)] if away.any() else []
        if wanted.open or wanted.extended:
            reasons += self._short(wanted, world, rows, away)
        if not reasons:
            return None
        return Verdict(np.logical_or.reduce([r.where for r in reasons]), tuple(reasons))

    def _short(self, wanted: _Wanted, world: World, rows: Rows, away: Any) -> list[Reason]:
        """Where the claims without devices cannot get them. Equal devices are one case."""
        told: dict[Any, str] = {}
        where: dict[str, Any] = {}
        everywhere = ~nobody(world, rows)
        for at, row in enumerate(row_list(world, rows)):
            node = world.table.nodes[row]
            if node is None or away[at]:
                continue
            devices = world.devices.inventory.on(node.metadata.name or "", node.metadata.labels)
            served = _served(wanted, world, row)
            key = served, tuple(id(each) for each in devices)
            if key not in told:
                claims = [claim for claim, _ in _open(wanted, served)]
                try:
                    told[key] = _why_not(claims, world, devices) if claims else ""
                except SelectorError as problem:
                    # Something is wrong with the pod: it shall not hide behind nodes where all is well.
                    return [Reason(str(problem), everywhere, False)]
            if told[key]:
                where.setdefault(told[key], nobody(world, rows))[at] = True
        return [Reason(text, mask) for text, mask in where.items()]

    def reserve(self, pod: PodInfo, node: api.Node, world: World) -> Sequence[Any]:
        state = self.prepare(pod, world)
        if not isinstance(state, _Wanted):
            return ()
        name = node.metadata.name or ""
        work = [
            Reserve(claim, name)
            for claim in state.allocated
            if not world.devices.is_user(claim, pod.uid) or not is_ready(claim)
        ]
        needed = _open(state, _served(state, world, world.table.rows[name]))
        if needed:
            devices = world.devices.inventory.on(name, node.metadata.labels)
            found = _search(world).run([claim for claim, _ in needed], devices) or ()
            for claimed, (_, mappings) in zip(found, needed, strict=False):
                got = allocation(claimed, world.devices.inventory, world.devices.classes, name)
                work.append(Reserve(claimed.claim, name, got, mappings))
        return work

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == NODE_EVENT:
            return event.does(ADD, UPDATE_LABELS)
        if event.kind == ASSIGNED_POD:
            return event.does(DELETE)
        if event.kind == "ResourceClaim":
            return _claim_helps(pod, event)
        return event.kind == "Pod" or not event.does(DELETE)


def _extended(pod: PodInfo, world: World) -> tuple[tuple[str, str], ...]:
    """What the pod asks for that a class serves: the resource and the class."""
    known = world.devices.extended
    if not known:
        return ()
    amounts = pod.demand.amounts
    return tuple((name, known[name]) for name in sorted(amounts) if amounts[name] and name in known)


def _served(wanted: _Wanted, world: World, row: int) -> tuple[tuple[str, str], ...]:
    """Those of the resources that the row's node does not offer itself."""
    table = world.table
    return tuple(one for one in wanted.extended if not table.allocatable(one[0])[row])


def _open(
    wanted: _Wanted, served: tuple[tuple[str, str], ...]
) -> list[tuple[api.ResourceClaim, tuple[api.ContainerExtendedResourceRequest, ...]]]:
    """The claims that need devices, and what the one that is made for extended resources is for."""
    claims: list[Any] = [(claim, ()) for claim in wanted.open]
    if served:
        made = extended.claim_for(wanted.pod, dict(served))
        claims.append((made.claim, made.mappings))
    return claims


def left_over(pod: PodInfo, world: World) -> api.ResourceClaim | None:
    """The claim for the pod's extended resources that an earlier try made and did not get to use."""
    for claim in world.cache(api.ResourceClaim).controlled_by(pod.uid):
        if extended.is_special(claim):
            found: api.ResourceClaim = claim
            return found
    return None


def claim_names(pod: api.Pod) -> tuple[list[tuple[str, bool]], bool]:
    """The names of the pod's claims, whether each is its own; and whether one is still to be made."""
    made = {status.name: status.resourceClaimName for status in pod.status.resourceClaimStatuses}
    names: list[tuple[str, bool]] = []
    for claim in pod.spec.resourceClaims:
        if claim.resourceClaimName:
            names.append((claim.resourceClaimName, False))
        elif claim.name not in made:
            return names, True
        elif made[claim.name]:  # else the pod needs no claim after all
            names.append((made[claim.name] or "", True))
    return list(dict.fromkeys(names)), False


def movable(pod: PodInfo, world: World) -> api.ResourceClaim | None:
    """A claim that keeps the pod from nodes, and that nobody else uses: its devices may be given back.

    What is left of an earlier try of the pod comes first.
    """
    if (left := left_over(pod, world)) is not None:
        return left
    for name, _ in claim_names(pod.pod)[0]:
        claim: api.ResourceClaim | None = world.cache(api.ResourceClaim).get(pod.namespace, name)
        if claim is None or claim.status.allocation is None:
            continue
        others = [user for user in claim.status.reservedFor if user.uid != pod.uid]
        if claim.status.allocation.nodeSelector is not None and not others:
            return claim
    return None


def _unusable(claim: api.ResourceClaim | None, name: str, own: bool, pod: PodInfo, world: World) -> str:
    if claim is None:
        return f'resourceclaim "{name}" not found'
    if claim.metadata.deletionTimestamp is not None:
        return f'resourceclaim "{name}" is being deleted'
    if own and all(owner.uid != pod.uid for owner in claim.metadata.ownerReferences):
        whole = f"{pod.namespace}/{name}"
        return f"ResourceClaim {whole} was not created for pod {'/'.join(pod.key)} (pod is not owner)"
    if world.devices.is_promised(claim):
        return f"resource claim {pod.namespace}/{name} is in the process of being allocated"
    users = claim.status.reservedFor
    if len(users) >= MOST_USERS and all(user.uid != pod.uid for user in users):
        return "resourceclaim in use"
    return ""


def _check_classes(claims: Sequence[api.ResourceClaim], world: World) -> None:
    for claim in claims:
        for request in claim.spec.devices.requests if claim.spec.devices else ():
            parts: list[Any] = [request.exactly] if request.exactly is not None else [*request.firstAvailable]
            for part in parts:
                if part.deviceClassName not in world.devices.classes:
                    text = f"request {request.name}: device class {part.deviceClassName} does not exist"
                    raise Unallocatable(text)


def _search(world: World) -> Search:
    devices = world.devices
    inventory = devices.inventory
    return Search(inventory, devices.taken, devices.classes, devices.seen)


def _why_not(claims: Sequence[api.ResourceClaim], world: World, devices: Sequence[Offered]) -> str:
    """Why the claims cannot be served with these devices; "" where they can. Raises SelectorError."""
    try:
        found: list[Claimed] | None = _search(world).run(claims, devices)
    except Unallocatable as problem:
        return str(problem)
    return "" if found is not None else CANNOT


def _claim_helps(pod: PodInfo, event: Event) -> bool:
    """A claim of the pod changed, or one gave devices back."""
    claim = event.new if event.new is not None else event.old
    if (claim.metadata.namespace or "") == pod.namespace:
        names = {name for name, _ in claim_names(pod.pod)[0]}
        if (claim.metadata.name or "") in names or any(
            o.uid == pod.uid for o in claim.metadata.ownerReferences
        ):
            return True
    had = event.old is not None and event.old.status.allocation is not None
    return had and (event.new is None or event.new.status.allocation is None)
