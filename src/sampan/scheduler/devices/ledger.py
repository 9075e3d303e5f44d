"""Who has which devices: what claims show, and what was decided and cannot be seen in them yet. Pure.

A device that is promised stays taken until a watch has shown the claim as it was written, or until it is
certain that nothing was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sampan.scheduler.devices.allocator import Taken, used_counters
from sampan.scheduler.devices.inventory import DeviceId, Inventory
from sampan.schema import api


class Reserve(msgspec.Struct, frozen=True, eq=False):
    """To be done before the pod is bound: write allocation (None: it has one) and pod into the claim."""

    claim: api.ResourceClaim
    node: str
    allocation: api.AllocationResult | None = None


class _Promise(msgspec.Struct, eq=False):
    work: Reserve
    version: int = 0  # of the claim as it was written; 0 until that is known


class Devices:
    """The state of all devices. `changed` is to be called for each change of a claim, slice or class."""

    def __init__(self) -> None:
        self.classes: dict[str, api.DeviceClass] = {}
        self._slices: dict[str, api.ResourceSlice] = {}
        self._held: dict[str, tuple[DeviceId, ...]] = {}  # by a claim's uid, as the watch shows it
        self._versions: dict[str, int] = {}
        self._promises: dict[str, _Promise] = {}
        self._inventory: Inventory | None = None
        self._taken: Taken | None = None
        self._seen: dict[Any, Any] = {}

    # -- what is known -------------------------------------------------------------------------------

    @property
    def inventory(self) -> Inventory:
        if self._inventory is None:
            self._inventory = Inventory(self._slices.values())
            self._taken, self._seen = None, {}
        return self._inventory

    @property
    def seen(self) -> dict[Any, Any]:
        """What selectors said of the devices of this inventory."""
        return self._seen

    @property
    def taken(self) -> Taken:
        """The devices that nobody else can have, and what they use of shared counters."""
        inventory = self.inventory
        if self._taken is None:
            taken = [device for devices in self._held.values() for device in devices]
            for promise in self._promises.values():
                taken += devices_of(promise.work.allocation)
            unique = frozenset(taken)
            self._taken = Taken(unique, used_counters(sorted(unique), inventory))
        return self._taken

    def is_promised(self, claim: api.ResourceClaim) -> bool:
        """Whether an allocation of the claim is about to be written."""
        return (claim.metadata.uid or "") in self._promises

    # -- what the watches show -----------------------------------------------------------------------

    def changed(self, old: Any, new: Any) -> None:
        """A claim, slice or class came, went or changed; other kinds are not looked at."""
        kind = type(new if new is not None else old)
        if kind is api.ResourceClaim:
            self._claim_changed(old, new)
        elif kind is api.ResourceSlice:
            self._put(self._slices, old, new)
            self._inventory = None
        elif kind is api.DeviceClass:
            self._put(self.classes, old, new)

    def _claim_changed(self, old: Any, new: Any) -> None:
        self._taken = None
        for gone in (
            (old,) if new is None or (old is not None and old.metadata.uid != new.metadata.uid) else ()
        ):
            uid = gone.metadata.uid or ""
            self._held.pop(uid, None)
            self._versions.pop(uid, None)
            promise = self._promises.get(uid)
            if promise is not None and promise.version:
                del self._promises[uid]
        if new is None:
            return
        uid = new.metadata.uid or ""
        self._held[uid] = tuple(devices_of(new.status.allocation))
        self._versions[uid] = int(new.metadata.resourceVersion or 0)
        self._settle(uid)

    @staticmethod
    def _put(known: dict[str, Any], old: Any, new: Any) -> None:
        if new is None:
            known.pop(old.metadata.name or "", None)
        else:
            known[new.metadata.name or ""] = new

    # -- promises ------------------------------------------------------------------------------------

    def promise(self, work: Iterable[Reserve]) -> None:
        for each in work:
            if each.allocation is not None:
                self._promises[each.claim.metadata.uid or ""] = _Promise(each)
        self._taken = None

    def written(self, work: Reserve, resource_version: str) -> None:
        """The claim has the allocation from this version on."""
        promise = self._promises.get(work.claim.metadata.uid or "")
        if promise is not None and promise.work is work:
            promise.version = int(resource_version or 0)
            self._settle(work.claim.metadata.uid or "")

    def withdraw(self, work: Reserve) -> None:
        """It is certain that the claim does not have the allocation, and will not get it."""
        uid = work.claim.metadata.uid or ""
        promise = self._promises.get(uid)
        if promise is not None and promise.work is work and not promise.version:
            del self._promises[uid]
            self._taken = None

    @property
    def unsettled(self) -> list[Reserve]:
        """What nobody knows the outcome of: it was being written when the scheduler was stopped."""
        return [promise.work for promise in self._promises.values() if not promise.version]

    def _settle(self, uid: str) -> None:
        promise = self._promises.get(uid)
        if promise is None or not promise.version:
            return
        # A claim that was chosen was known: one that is not known any more has been deleted.
        if uid not in self._versions or self._versions[uid] >= promise.version:
            del self._promises[uid]
            self._taken = None


def devices_of(allocation: api.AllocationResult | None) -> list[DeviceId]:
    """The devices that an allocation keeps from others."""
    if allocation is None or allocation.devices is None:
        return []
    return [
        DeviceId(each.driver, each.pool, each.device)
        for each in allocation.devices.results
        if not each.adminAccess
    ]
