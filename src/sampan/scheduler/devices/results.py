"""What is written into a claim that gets devices. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sampan.scheduler.devices.allocator import Chosen, Claimed
from sampan.scheduler.devices.capacity import published_names
from sampan.scheduler.devices.inventory import Inventory
from sampan.schema import api

FROM_CLASS = "FromClass"
FROM_CLAIM = "FromClaim"


def allocation(
    claimed: Claimed, inventory: Inventory, classes: Mapping[str, api.DeviceClass], node: str
) -> api.AllocationResult:
    """The allocation of one claim: devices, what drivers are told, and the nodes it holds for."""
    results = [
        _result(claimed.claim, number, chosen, inventory) for number, chosen in enumerate(claimed.devices)
    ]
    return api.AllocationResult(
        devices=api.DeviceAllocationResult(results=results, config=_config(claimed, classes)),
        nodeSelector=_selector(claimed, inventory, node),
    )


def _result(
    claim: api.ResourceClaim, number: int, chosen: Chosen, inventory: Inventory
) -> api.DeviceRequestAllocationResult:
    result = api.DeviceRequestAllocationResult(
        request=chosen.request,
        driver=chosen.id.driver,
        pool=chosen.id.pool,
        device=chosen.id.device,
        adminAccess=True if chosen.admin else None,
        tolerations=list(chosen.tolerations),
        bindingConditions=list(inventory.offers[chosen.id].device.bindingConditions),
        bindingFailureConditions=list(inventory.offers[chosen.id].device.bindingFailureConditions),
    )
    if chosen.share is not None:
        device = inventory.offers[chosen.id].device
        result.consumedCapacity = published_names(device, chosen.id.driver, chosen.share)
        result.shareID = _share_id(claim, number)
    return result


def _share_id(claim: api.ResourceClaim, number: int) -> str:
    """A UUID for one allocation of a shared device: another one for each version of each claim."""
    meta = claim.metadata
    digest = hashlib.sha256(f"{meta.uid}/{meta.resourceVersion}/{number}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def _config(
    claimed: Claimed, classes: Mapping[str, api.DeviceClass]
) -> list[api.DeviceAllocationConfiguration]:
    wanted = claimed.claim.spec.devices or api.DeviceClaim()
    names = dict.fromkeys(chosen.request for chosen in claimed.devices)
    found = []
    for name in names:
        known = classes.get(_class_of(wanted.requests, name))
        for config in known.spec.config if known is not None else ():
            found.append(
                api.DeviceAllocationConfiguration(source=FROM_CLASS, requests=[name], opaque=config.opaque)
            )
    for each in wanted.config:
        if not each.requests or any(n in names or _is_split(n, names) for n in each.requests):
            found.append(
                api.DeviceAllocationConfiguration(
                    source=FROM_CLAIM, requests=list(each.requests), opaque=each.opaque
                )
            )
    return found


def _is_split(name: str, names: Mapping[str, None]) -> bool:
    """Whether one of a request's alternatives was chosen."""
    return any(each.startswith(f"{name}/") for each in names)


def _class_of(requests: Sequence[api.DeviceRequest], name: str) -> str:
    first, _, rest = name.partition("/")
    for request in requests:
        if request.name != first:
            continue
        if request.exactly is not None:
            return request.exactly.deviceClassName
        return next((s.deviceClassName for s in request.firstAvailable if s.name == rest), "")
    return ""


def _selector(claimed: Claimed, inventory: Inventory, node: str) -> api.NodeSelector | None:
    """Which nodes can use all the devices: one node, those that all selectors choose, or every one (None)."""
    offers = [inventory.offers[chosen.id] for chosen in claimed.devices]
    if any(offered.node or offered.device.bindsToNode for offered in offers):
        only = api.NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
        return api.NodeSelector(nodeSelectorTerms=[api.NodeSelectorTerm(matchFields=[only])])
    merged = api.NodeSelectorTerm()
    for offered in offers:
        for term in offered.selector.nodeSelectorTerms if offered.selector is not None else ():
            merged.matchExpressions += [e for e in term.matchExpressions if e not in merged.matchExpressions]
            merged.matchFields += [f for f in term.matchFields if f not in merged.matchFields]
    if not merged.matchExpressions and not merged.matchFields:
        return None
    return api.NodeSelector(nodeSelectorTerms=[merged])
