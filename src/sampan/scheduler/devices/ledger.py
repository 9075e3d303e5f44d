"""Who has which devices: what claims show, and what was decided and cannot be seen in them yet. Pure.

A device that is promised stays taken until a watch has shown the claim as it was written, or until it is
certain that nothing was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from sampan.scheduler.devices.allocator import Taken, used_counters
from sampan.scheduler.devices.capacity import full_name
from sampan.scheduler.devices.inventory import DeviceId, Inventory
from sampan.schema import api

# Before the name of a class: the resource that containers may always ask for of it.
IMPLICIT: Final = "deviceclass.resource.kubernetes.io/"


class Reserve(msgspec.Struct, frozen=True, eq=False):
    """To be done before the pod is bound: write allocation (None: it has one) and pod into the claim."""

    claim: api.ResourceClaim
    node: str
    allocation: api.AllocationResult | None = None
    # For a claim that is still to be made: which request is for which container.
    mappings: tuple[api.ContainerExtendedResourceRequest, ...] = ()


class _Promise(msgspec.Struct, eq=False):
    work: Reserve
    version: int = 0  # of the claim as it was written; 0 until that is known


class Devices:
    """The state of all devices. `changed` is to be called for each change of a claim, slice or class."""

    def __init__(self) -> None:
        self.classes: dict[str, api.DeviceClass] = {}
        # Which class serves a resource of containers: `extendedResourceName`, and each class's own name.
        self.extended: Mapping[str, str] = {}
        self._slices: dict[str, api.ResourceSlice] = {}
        self._rules: dict[str, api.DeviceTaintRule] = {}
        self._held: dict[str, api.AllocationResult | None] = {}  # by a claim's uid, as the watch shows it
        self._versions: dict[str, int] = {}
        self._promises: dict[str, _Promise] = {}
        # Pods that were taken out of a claim's users, by claim: the version from which on they are not there;
        # 0 where that is not known.
        self._left: dict[str, dict[str, int]] = {}
        self._inventory: Inventory | None = None
        self._taken: Taken | None = None
        self._seen: dict[Any, Any] = {}

    # -- what is known -------------------------------------------------------------------------------

    @property
    def inventory(self) -> Inventory:
        if self._inventory is None:
            self._inventory = Inventory(self._slices.values(), self._rules.values())
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
            promised = [promise.work.allocation for promise in self._promises.values()]
            self._taken = taken_of([*self._held.values(), *promised], inventory)
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
        elif kind is api.DeviceTaintRule:
            self._put(self._rules, old, new)
            self._inventory = None
        elif kind is api.DeviceClass:
            self._put(self.classes, old, new)
            self.extended = extended_resources(self.classes.values())

    def _claim_changed(self, old: Any, new: Any) -> None:
        self._taken = None
        for gone in (
            (old,) if new is None or (old is not None and old.metadata.uid != new.metadata.uid) else ()
        ):
            uid = gone.metadata.uid or ""
            self._held.pop(uid, None)
            self._versions.pop(uid, None)
            self._left.pop(uid, None)
            promise = self._promises.get(uid)
            if promise is not None and promise.version:
                del self._promises[uid]
        if new is None:
            return
        uid = new.metadata.uid or ""
        self._held[uid] = new.status.allocation
        self._versions[uid] = int(new.metadata.resourceVersion or 0)
        self._settle(uid)
        if uid in self._left:
            seen = self._versions[uid]
            kept = {pod: at for pod, at in self._left[uid].items() if not at or at > seen}
            self._left[uid] = kept
            if not kept:
                del self._left[uid]

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

    def adopt(self, work: Reserve, made: api.ResourceClaim) -> Reserve:
        """The claim of the work has been made: what was promised is promised to it under its own uid."""
        named = msgspec.structs.replace(work, claim=made)
        promise = self._promises.get(work.claim.metadata.uid or "")
        if promise is not None and promise.work is work:
            del self._promises[work.claim.metadata.uid or ""]
            self._promises[made.metadata.uid or ""] = _Promise(named)
            self._taken = None
        return named

    def knows(self, claim: api.ResourceClaim) -> bool:
        """Whether a watch has shown the claim."""
        return (claim.metadata.uid or "") in self._versions

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

    # -- users ---------------------------------------------------------------------------------------

    def is_user(self, claim: api.ResourceClaim, pod_uid: str) -> bool:
        """Whether the claim is reserved for the pod: by what the watch shows, and what was done since."""
        if pod_uid in self._left.get(claim.metadata.uid or "", ()):
            return False
        return any(user.uid == pod_uid for user in claim.status.reservedFor)

    def leaves(self, claim: api.ResourceClaim, pod_uid: str, resource_version: str = "") -> None:
        """The pod is taken out of the claim's users; from this version on, where it is known, it is out."""
        self._left.setdefault(claim.metadata.uid or "", {})[pod_uid] = int(resource_version or 0)

    def uses(self, claim: api.ResourceClaim, pod_uid: str) -> None:
        """The pod has been written among the claim's users."""
        left = self._left.get(claim.metadata.uid or "")
        if left is not None and left.pop(pod_uid, None) is not None and not left:
            del self._left[claim.metadata.uid or ""]

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


def taken_of(allocations: Iterable[api.AllocationResult | None], inventory: Inventory) -> Taken:
    """What these allocations keep from others: whole devices, and shares of those that allow several.

    An allocation that is there twice, as promised and as the watch shows it, counts once.
    """
    counted: set[tuple[DeviceId, str]] = set()
    whole: set[DeviceId] = set()
    shares: dict[DeviceId, dict[str, Decimal]] = {}
    for allocation in allocations:
        if allocation is None or allocation.devices is None:
            continue
        for each in allocation.devices.results:
            if each.adminAccess:
                continue
            device = DeviceId(each.driver, each.pool, each.device)
            offered = inventory.offers.get(device)
            if each.shareID is None or (offered is not None and not offered.shared):
                whole.add(device)
                continue
            if (device, each.shareID) in counted:
                continue
            counted.add((device, each.shareID))
            used = shares.setdefault(device, {})
            for name, amount in each.consumedCapacity.items():
                full = full_name(name, each.driver)
                used[full] = used.get(full, Decimal(0)) + amount.value
    every = sorted(whole | shares.keys())
    return Taken(frozenset(whole), shares, used_counters(every, inventory))


def extended_resources(classes: Iterable[api.DeviceClass]) -> dict[str, str]:
    """The class behind each resource that containers can ask for.

    Of several classes with one `extendedResourceName` the youngest counts, of these the first by name.
    """
    found: dict[str, str] = {}
    for each in sorted(classes, key=lambda c: c.metadata.name or "", reverse=True):
        found[IMPLICIT + (each.metadata.name or "")] = each.metadata.name or ""
    named = [c for c in classes if c.spec.extendedResourceName]
    named.sort(key=lambda c: c.metadata.name or "", reverse=True)
    named.sort(key=lambda c: str(c.metadata.creationTimestamp or ""))
    found |= {c.spec.extendedResourceName or "": c.metadata.name or "" for c in named}
    return found
