"""Which devices claims get on a node: a search with backtracking, complete up to a named limit. Pure.

Requests are served in order, each with the first devices that its selectors, the constraints and the counters
of partitionable devices allow; a choice that leaves nothing for a later request is taken back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from sampan.machinery.quantity import Quantity
from sampan.scheduler.devices.capacity import CapacityConflict, leaves_room, taken_by
from sampan.scheduler.devices.inventory import CounterId, DeviceId, Inventory, Offered
from sampan.scheduler.devices.selectors import attribute_values, matches, tolerated
from sampan.schema import api

# Choices that are tried for the claims of one pod on one node; beyond it the node counts as not fitting.
MOST_CHOICES: Final = 50_000
# Devices that one claim may get, as upstream (AllocationResultsMaxSize).
MOST_RESULTS: Final = 32


class Unallocatable(Exception):
    """No node will do whatever is free; the text says why."""


class Chosen(msgspec.Struct, frozen=True):
    """One device for one request; `request` is `name` or `name/subrequest`."""

    request: str
    id: DeviceId
    admin: bool = False
    tolerations: tuple[api.DeviceToleration, ...] = ()
    share: Mapping[str, Quantity] | None = None  # of each capacity, by full name; None: the whole device


class Taken(msgspec.Struct, frozen=True):
    """What other claims have: whole devices, shares of others by capacity, and what all use of counters."""

    devices: frozenset[DeviceId] = frozenset()
    shares: Mapping[DeviceId, Mapping[str, Decimal]] = {}
    counters: Mapping[CounterId, int] = {}  # in thousandths


class Claimed(msgspec.Struct, frozen=True):
    """What one claim gets."""

    claim: api.ResourceClaim
    devices: tuple[Chosen, ...]


class _Part(msgspec.Struct, frozen=True):
    """One request, or one of its alternatives, with the candidates that its selectors leave."""

    name: str
    wanted: Any  # ExactDeviceRequest or DeviceSubRequest
    everything: bool
    count: int
    admin: bool
    candidates: tuple[Offered, ...]
    amounts: tuple[Mapping[str, Quantity], ...]  # what each candidate would give of its capacities

    @property
    def has_shared(self) -> bool:
        return not self.admin and any(each.shared for each in self.candidates)


class Search:
    """Allocates for the claims of one pod on one node. Raises SelectorError and Unallocatable."""

    def __init__(
        self,
        inventory: Inventory,
        taken: Taken,
        classes: Mapping[str, api.DeviceClass],
        seen: dict[Any, Any],
    ) -> None:
        self._inventory = inventory
        self._busy = set(taken.devices)
        self._shares = {device: dict(shares) for device, shares in taken.shares.items()}
        self._holders = dict.fromkeys(taken.shares, 1)  # allocations of a shared device; earlier ones are one
        self._counters = dict(taken.counters)
        self._classes = classes
        self._seen = seen
        self._left = MOST_CHOICES

    def run(self, claims: Sequence[api.ResourceClaim], devices: Sequence[Offered]) -> list[Claimed] | None:
        """What each claim gets of these devices; None where they cannot all be served."""
        results: list[list[tuple[Chosen, Offered]]] = [[] for _ in claims]
        if not self._claims(claims, 0, devices, results):
            return None
        return [
            Claimed(claim, tuple(chosen for chosen, _ in result))
            for claim, result in zip(claims, results, strict=True)
        ]

    # Each level tries its choices in turn, and calls the next level; what fails takes its choice back.

    def _claims(
        self,
        claims: Sequence[api.ResourceClaim],
        at: int,
        devices: Sequence[Offered],
        results: list[list[tuple[Chosen, Offered]]],
    ) -> bool:
        if at == len(claims):
            return True
        wanted = claims[at].spec.devices or api.DeviceClaim()
        alternatives = [self._parts(request, devices) for request in wanted.requests]

        def next_claim() -> bool:
            return self._claims(claims, at + 1, devices, results)

        return self._requests(alternatives, 0, wanted.constraints, results[at], next_claim)

    def _requests(
        self,
        alternatives: Sequence[Sequence[_Part]],
        at: int,
        constraints: Sequence[api.DeviceConstraint],
        result: list[tuple[Chosen, Offered]],
        then: Any,
    ) -> bool:
        if at == len(alternatives):
            return bool(then())

        def next_request() -> bool:
            return self._requests(alternatives, at + 1, constraints, result, then)

        return any(
            self._devices(part, 0, part.count, constraints, result, next_request) for part in alternatives[at]
        )

    def _devices(
        self,
        part: _Part,
        start: int,
        missing: int,
        constraints: Sequence[api.DeviceConstraint],
        result: list[tuple[Chosen, Offered]],
        then: Any,
    ) -> bool:
        """Take `missing` more of the part's candidates, from `start` on."""
        if missing == 0:
            return bool(then())
        for index in self._choices(part, start, missing):
            if self._left <= 0 or len(result) >= MOST_RESULTS:
                return False
            self._left -= 1
            offered = part.candidates[index]
            share = part.amounts[index] if offered.shared and not part.admin else None
            if not part.admin and not self._free(offered, share):
                continue
            if not _allowed(part.name, offered, constraints, result):
                continue
            chosen = Chosen(part.name, offered.id, part.admin, tuple(part.wanted.tolerations), share)
            self._take(offered, chosen, 1)
            result.append((chosen, offered))
            again = share is not None and not part.everything  # the same device may serve once more
            if self._devices(part, index + (not again), missing - 1, constraints, result, then):
                return True
            result.pop()
            self._take(offered, chosen, -1)
        return False

    def _choices(self, part: _Part, start: int, missing: int) -> Iterator[int]:
        """Candidates in rising order: no set of devices is tried twice. All of them where all are wanted."""
        if part.everything:
            return iter((start,))
        spare = 1 if part.has_shared else missing
        return iter(range(start, len(part.candidates) - spare + 1))

    def _free(self, offered: Offered, share: Mapping[str, Quantity] | None) -> bool:
        """Whether the device, or this share of it, can still be had."""
        if offered.id in self._busy:
            return False
        if self._holders.get(offered.id):  # what it uses of counters is counted already
            used = self._shares[offered.id]
            return share is not None and leaves_room(offered.device, offered.id.driver, used, share)
        known = self._inventory.counters
        return all(
            counter in known and self._counters.get(counter, 0) + amount.milli() <= known[counter].milli()
            for counter, amount in offered.consumes
        )

    def _take(self, offered: Offered, chosen: Chosen, sign: int) -> None:
        """Take the device or give it back."""
        if chosen.admin:
            return
        if chosen.share is not None:
            used = self._shares.setdefault(offered.id, {})
            for name, amount in chosen.share.items():
                used[name] = used.get(name, Decimal(0)) + sign * amount.value
            before = self._holders.get(offered.id, 0)
            self._holders[offered.id] = before + sign
            if before and before + sign:
                return
        elif sign > 0:
            self._busy.add(offered.id)
        else:
            self._busy.discard(offered.id)
        for counter, amount in offered.consumes:
            self._counters[counter] = self._counters.get(counter, 0) + sign * amount.milli()

    # -- candidates ----------------------------------------------------------------------------------

    def _parts(self, request: api.DeviceRequest, devices: Sequence[Offered]) -> list[_Part]:
        """The ways to serve a request, in the order in which they are wanted."""
        if request.exactly is not None:
            found: list[tuple[str, Any]] = [(request.name, request.exactly)]
        else:
            found = [(f"{request.name}/{sub.name}", sub) for sub in request.firstAvailable]
        parts = [self._part(name, wanted, devices) for name, wanted in found]
        return [part for part in parts if part is not None]

    def _part(self, name: str, wanted: Any, devices: Sequence[Offered]) -> _Part | None:
        known = self._classes.get(wanted.deviceClassName)
        if known is None:
            text = f"request {name.partition('/')[0]}: device class {wanted.deviceClassName} does not exist"
            raise Unallocatable(text)
        everything = wanted.allocationMode == "All"
        selectors = [*known.spec.selectors, *wanted.selectors]
        amounts: dict[DeviceId, Mapping[str, Quantity]] = {}
        found: list[Offered] = []
        for each in devices:
            if not matches(each, selectors, self._seen):
                continue
            taken = _amounts(each, wanted)
            if taken is not None:
                amounts[each.id] = taken
                found.append(each)
        admin = bool(getattr(wanted, "adminAccess", False))
        if everything:
            if not found or any(not each.complete for each in found):
                return None
            if not admin and any(not tolerated(each.taints, wanted.tolerations) for each in found):
                return None
        else:
            if not admin:
                found = [each for each in found if tolerated(each.taints, wanted.tolerations)]
            found = [each for each in found if each.complete]
        count = len(found) if everything else wanted.count or 1
        part = _Part(
            name, wanted, everything, count, admin, tuple(found), tuple(amounts[each.id] for each in found)
        )
        return part if found and (len(found) >= count or part.has_shared) else None


def _amounts(offered: Offered, wanted: Any) -> Mapping[str, Quantity] | None:
    """What the request takes of the device's capacities; None where the device does not have that."""
    try:
        return taken_by(offered.device, offered.id.driver, wanted.capacity)
    except CapacityConflict as problem:
        raise Unallocatable(str(problem)) from problem


def _allowed(
    name: str,
    offered: Offered,
    constraints: Sequence[api.DeviceConstraint],
    result: Sequence[tuple[Chosen, Offered]],
) -> bool:
    """Whether the device goes with those that are chosen already."""
    for constraint in constraints:
        if not _concerns(constraint, name):
            continue
        attribute = constraint.matchAttribute or constraint.distinctAttribute or ""
        values = attribute_values(offered, attribute)
        if not values:
            return False
        others = [
            attribute_values(other, attribute)
            for chosen, other in result
            if _concerns(constraint, chosen.request)
        ]
        if constraint.matchAttribute is not None:
            if not values.intersection(*others):
                return False
        elif any(values & other for other in others):
            return False
    return True


def _concerns(constraint: api.DeviceConstraint, name: str) -> bool:
    wanted = constraint.requests
    return not wanted or name in wanted or name.partition("/")[0] in wanted


def used_counters(devices: Sequence[DeviceId], inventory: Inventory) -> dict[CounterId, int]:
    """What devices that are taken use of the counters of their pools, in thousandths."""
    found: dict[CounterId, int] = {}
    for each in devices:
        offered = inventory.offers.get(each)
        for counter, amount in offered.consumes if offered is not None else ():
            found[counter] = found.get(counter, 0) + amount.milli()
    return found
