"""How ResourceClaims count for quotas of what their classes serve.

A container may ask for devices of a class as an extended resource (`extendedResourceName` of the
DeviceClass), or a claim may ask for them; a quota of `requests.<resource>` covers both. Of the claim that the
scheduler makes for a pod's extended resources only that counts which the pod does not count for already.
Follows pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sampan.kinds.core.resources import add, is_extended
from sampan.machinery.quantity import Quantity

Usage = dict[str, Quantity]
ZERO: Final = Quantity("0")
DEVICES: Final = ".deviceclass.resource.k8s.io/devices"
# Devices of a class that containers ask for as a resource (`deviceclass.resource.kubernetes.io/gpu`).
IMPLICIT: Final = "deviceclass.resource.kubernetes.io/"
REQUESTS: Final = "requests."
# On a claim that the scheduler made for the extended resources of the pod that controls it.
MADE: Final = "resource.kubernetes.io/extended-resource-claim"
_MOST_DEVICES: Final = 32  # AllocationResultsMaxSize


class Served(NamedTuple):
    """What classes serve: the name of each DeviceClass with its extended resource ("" for none).

    `charged` is what quotas have been charged already for the pod that a claim was made for.
    """

    classes: Mapping[str, str] = {}
    charged: Callable[[Any], Usage] = lambda _claim: {}


NOTHING: Final = Served()


def classes_of(classes: Iterable[Any]) -> dict[str, str]:
    return {each.metadata.name or "": each.spec.extendedResourceName or "" for each in classes}


def covers_served(hard: Iterable[str]) -> bool:
    """Whether one of a quota's resources may be what a class serves."""
    return any(_is_served(name) for name in hard)


def is_of_claims(name: str) -> bool:
    """Whether claims may count for that resource of a quota."""
    return name.endswith(DEVICES) or _is_served(name)


def _is_served(name: str) -> bool:
    bare = name.removeprefix(REQUESTS)
    return bare != name and (bare.startswith(IMPLICIT) or is_extended(bare))


def claim_amounts(claim: Any, served: Served) -> Usage:
    """The devices that a claim asks for, by class and by what the classes serve."""
    by_class: dict[str, int] = {}
    spec = claim.spec
    for request in spec.devices.requests if spec.devices is not None else ():
        for name, count in _asked(request):
            by_class[name] = by_class.get(name, 0) + count
    usage = {f"{name}{DEVICES}": Quantity(str(count)) for name, count in by_class.items()}
    as_served: Usage = {}
    for name, count in by_class.items():
        if name not in served.classes:
            continue
        for resource in filter(None, (f"{IMPLICIT}{name}", served.classes[name])):
            key = f"{REQUESTS}{resource}"
            as_served[key] = add(as_served.get(key, ZERO), Quantity(str(count)))
    if as_served:
        charged = served.charged(claim)
        for name, amount in as_served.items():
            left = amount.value - charged[name].value if name in charged else amount.value
            if left > 0:
                usage[name] = Quantity(f"{left:f}")
    return usage


def _asked(request: Any) -> Iterator[tuple[str, int]]:
    """Class and number of each request; of alternatives the largest number of each class."""
    if request.exactly is not None:
        yield request.exactly.deviceClassName, _number(request.exactly)
        return
    most: dict[str, int] = {}
    for each in request.firstAvailable:
        most[each.deviceClassName] = max(most.get(each.deviceClassName, 0), _number(each))
    yield from most.items()


def _number(request: Any) -> int:
    """How many devices a request may get: of all that match, at worst what a claim can hold."""
    return _MOST_DEVICES if request.allocationMode == "All" else request.count or 1


# -- claims that were made for a pod -----------------------------------------------------------------------


def maker_of(claim: Any) -> tuple[str, str] | None:
    """Name and uid of the pod that the claim says it was made for; None for any other claim."""
    if claim.metadata.annotations.get(MADE) != "true":
        return None
    for owner in claim.metadata.ownerReferences:
        if owner.controller and (owner.kind, owner.apiVersion) == ("Pod", "v1"):
            return owner.name, owner.uid
    return None


def is_made_for(claim: Any, pod: Any, claims: Callable[[], Iterable[Any]]) -> bool:
    """Whether the claim is the one that the pod's extended resources have.

    A pod that does not say so yet has the first of the claims that were made for it (`claims`, all of which
    may be others'): anybody can write the annotation.
    """
    maker = maker_of(claim)
    if maker is None or maker != (pod.metadata.name, pod.metadata.uid):
        return False
    told = pod.status.extendedResourceClaimStatus
    if told is not None:
        return bool(told.resourceClaimName == claim.metadata.name)
    return not any(maker_of(each) == maker and _age(each) < _age(claim) for each in claims())


def _age(claim: Any) -> tuple[bool, Any, str]:
    made = claim.metadata.creationTimestamp
    return made is None, made, claim.metadata.name or ""
