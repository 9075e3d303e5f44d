"""What is known of prepared claims, and which of their devices a container uses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from sampan.kinds.groups.resource.claims import results_of
from sampan.schema import api


class Device(msgspec.Struct, frozen=True):
    """One device as its driver prepared it. Without `requests` it is for every request of its claim."""

    requests: tuple[str, ...]
    pool: str
    name: str
    cdi: tuple[str, ...] = ()
    share: str = ""


class Prepared(msgspec.Struct, frozen=True):
    """A claim that is prepared, or being so, for some pods (by uid). `drivers`: all that have a part in it.

    `devices` are by driver, of those that have answered.
    """

    namespace: str
    name: str
    uid: str
    drivers: tuple[str, ...]
    pods: tuple[str, ...] = ()
    devices: Mapping[str, tuple[Device, ...]] = {}

    @property
    def is_ready(self) -> bool:
        return all(driver in self.devices for driver in self.drivers)


def claim_names(pod: api.Pod) -> dict[str, str]:
    """The names of the pod's claims by what its containers call them; "" for that of extended resources."""
    made = {status.name: status.resourceClaimName for status in pod.status.resourceClaimStatuses}
    found = {claim.name: claim.resourceClaimName or made.get(claim.name) for claim in pod.spec.resourceClaims}
    if pod.status.extendedResourceClaimStatus is not None:
        found[""] = pod.status.extendedResourceClaimStatus.resourceClaimName
    return {name: claim for name, claim in found.items() if claim}


def missing_claim(pod: api.Pod) -> str:
    """The first claim that is still to be made from its template; "" for none."""
    known = {status.name for status in pod.status.resourceClaimStatuses}
    return next(
        (c.name for c in pod.spec.resourceClaims if not c.resourceClaimName and c.name not in known), ""
    )


def drivers_of(claim: api.ResourceClaim) -> tuple[str, ...]:
    """The drivers whose devices the claim has."""
    return tuple(dict.fromkeys(result.driver for result in results_of(claim)))


def used_by(pod: api.Pod, container: api.Container) -> list[tuple[str, str]]:
    """(claim's name, request) that the container uses; an empty request means all of the claim."""
    names = claim_names(pod)
    found = [
        (names[used.name], used.request or "")
        for used in (container.resources.claims if container.resources is not None else ())
        if used.name in names
    ]
    extended = pod.status.extendedResourceClaimStatus
    if extended is not None:
        found += [
            (extended.resourceClaimName, mapping.requestName)
            for mapping in extended.requestMappings
            if mapping.containerName == container.name
        ]
    return found


def cdi_devices(used: Iterable[tuple[str, str]], prepared: Iterable[Prepared]) -> list[str]:
    """The CDI names of the devices behind these claims and requests, each once."""
    by_name = {each.name: each for each in prepared}
    found: dict[str, None] = {}
    for claim, request in used:
        for _, device in devices_of(by_name[claim], request) if claim in by_name else ():
            found |= dict.fromkeys(device.cdi)
    return list(found)


def devices_of(claim: Prepared, request: str) -> Iterator[tuple[str, Device]]:
    """The claim's devices that are for the request, each with its driver; all for an empty request."""
    for driver, devices in claim.devices.items():
        for device in devices:
            if not request or not device.requests or _serves(request, device.requests):
                yield driver, device


def _serves(request: str, requests: Sequence[str]) -> bool:
    """Whether the device is for the request, or for one of the request's alternatives."""
    return any(each == request or each.startswith(f"{request}/") for each in requests)
