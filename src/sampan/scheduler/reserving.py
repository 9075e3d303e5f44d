"""What is done for a pod's ResourceClaims between decision and binding, and when that comes to nothing.

As kube-scheduler's DynamicResources does in PreBind, Unreserve and PostFilter: the allocation and the pod are
written into the claim's status; the pod is taken out again where it is not bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from sampan.base.clock import Clock, kube_time
from sampan.base.errors import SampanError
from sampan.base.waiting import set_or_done
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.scheduler.devices.binding import failure, is_ready, waits
from sampan.scheduler.devices.extended import is_special, to_make
from sampan.scheduler.devices.ledger import Reserve
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.queue import FIRST_BACKOFF_S, MAX_BACKOFF_S
from sampan.scheduler.world import World
from sampan.schema import api, codec

PROTECTION: Final = "resource.kubernetes.io/delete-protection"
# How often a claim that others change at the same time is read and written again.
MOST_TRIES: Final = 5
# How long a claim that was made here may take until a watch shows it.
SHOWN_WITHIN_S: Final = 120.0
# How long devices may take to report their binding conditions (DynamicResourcesArgs.bindingTimeout).
BINDING_TIMEOUT_S: Final = 600.0

_log = logging.getLogger(__name__)


class NotReserved(SampanError):
    """A claim could not be reserved for the pod; the text says why."""


class Reserving:
    """Carries the work out, and tells the ledger of devices what is certain."""

    def __init__(self, client: Client, clock: Clock, world: World) -> None:
        self._client = client
        self._clock = clock
        self._world = world
        self._waiting: set[asyncio.Event] = set()
        # Pods that are being taken out of their claims: their next try waits for the end of it.
        self._leaving: dict[str, asyncio.Event] = {}

    def changed(self) -> None:
        """A claim changed: to be called for each change that a watch shows."""
        for event in self._waiting:
            event.set()

    async def run(
        self, work: Sequence[Reserve], pod: PodInfo, is_wanted: Callable[[], bool] = lambda: True
    ) -> list[Reserve]:
        """Write all claims, and make those that are not there yet. Gives the work with these.

        Raises NotReserved and ApiError; what was not written is free again by then, what was made is gone.
        """
        left, done = list(work), list[Reserve]()
        try:
            if (leaving := self._leaving.get(pod.uid)) is not None:
                await leaving.wait()
            while left:
                if left[0].mappings:
                    left[0] = await self._make(left[0])
                done.append(left[0])
                if left[0].mappings:
                    await self._shown(left[0])
                await self._write(left[0], pod)
                if left[0].mappings:
                    await self._tell_pod(left[0], pod)
                del left[0]
        except Exception:
            await self.undo([each for each in done if each.mappings], pod)
            raise
        finally:
            for each in left[1:]:  # their writing had not begun; the first one settles itself
                self._world.devices.withdraw(each)
        await self._bound(done, pod, is_wanted)
        return done

    async def undo(self, work: Sequence[Reserve], pod: PodInfo) -> None:
        """The pod was not bound: it uses the claims no longer, which keep their devices for its next try."""
        for each in work:  # at once: the watch goes on showing the pod among the users for a while
            self._world.devices.leaves(each.claim, pod.uid)
        over = self._leaving[pod.uid] = asyncio.Event()
        try:
            await self._undo(work, pod)
        finally:
            del self._leaving[pod.uid]
            over.set()

    async def _undo(self, work: Sequence[Reserve], pod: PodInfo) -> None:
        for each in work:
            meta = each.claim.metadata
            if each.mappings:
                await self._unmake(each.claim, pod)
                continue
            try:
                claim = await self._client.get(api.ResourceClaim, meta.name or "", meta.namespace or "")
                if claim.metadata.uid != meta.uid:
                    continue
                if all(user.uid != pod.uid for user in claim.status.reservedFor):
                    self._world.devices.leaves(claim, pod.uid, claim.metadata.resourceVersion or "")
                    continue
                claim = codec.copy(claim)
                claim.status.reservedFor = [u for u in claim.status.reservedFor if u.uid != pod.uid]
                stored = await self._client.update_status(claim)
                self._world.devices.leaves(claim, pod.uid, stored.metadata.resourceVersion or "")
            except Exception as problem:  # the controller of claims does it when the pod is gone
                _log.warning(
                    "%s/%s stays reserved for %s: %s", meta.namespace, meta.name, pod.key[1], problem
                )

    async def give_back(self, claim: api.ResourceClaim, pod: PodInfo) -> None:
        """Take the devices of a claim away that keeps its only user from every node."""
        if is_special(claim):
            await self._unmake(claim, pod)
            return
        freed = codec.copy(claim)
        freed.status.allocation = None
        freed.status.reservedFor = []
        freed.status.devices = []
        try:
            await self._client.update_status(freed)
        except ApiError as problem:  # somebody changed it: the pod's next try looks again
            _log.info("%s/%s keeps its devices: %s", claim.metadata.namespace, claim.metadata.name, problem)

    async def settle(self) -> None:
        """Find out what became of allocations that were being written when an earlier run was stopped."""
        for work in self._world.devices.unsettled:
            await self._find_out(work)

    async def _make(self, work: Reserve) -> Reserve:
        """Make the claim for a pod's extended resources."""
        try:
            made = await self._client.create(to_make(work.claim))
        except Exception:  # if it was made all the same, the pod's next try finds it, without devices
            self._world.devices.withdraw(work)
            raise
        return self._world.devices.adopt(work, made)

    async def _shown(self, work: Reserve) -> None:
        """Wait until the watch has shown a claim that was made here. Raises NotReserved."""
        event, timer = asyncio.Event(), asyncio.create_task(self._clock.sleep(SHOWN_WITHIN_S))
        self._waiting.add(event)
        try:
            while not self._world.devices.knows(work.claim):
                if timer.done():
                    self._world.devices.withdraw(work)
                    name = work.claim.metadata.name
                    raise NotReserved(f"claim {name} did not show within {SHOWN_WITHIN_S:.0f} s")
                event.clear()
                await set_or_done(event, timer)
        finally:
            timer.cancel()
            self._waiting.discard(event)

    async def _bound(self, work: Sequence[Reserve], pod: PodInfo, is_wanted: Callable[[], bool]) -> None:
        """Wait until the devices report what they must before the pod is bound.

        Raises NotReserved where one reports a failure, or takes too long; the devices are given back by then.
        """
        waiting = [each for each in work if waits(each.allocation or each.claim.status.allocation)]
        if not waiting:
            return
        event, timer = asyncio.Event(), asyncio.create_task(self._clock.sleep(BINDING_TIMEOUT_S))
        self._waiting.add(event)
        try:
            while True:
                event.clear()
                problem = self._unready(waiting, timed_out=timer.done(), is_wanted=is_wanted)
                if problem is None:
                    return
                if problem:
                    await self._let_go(work, pod)
                    raise NotReserved(problem)
                await set_or_done(event, timer)
        finally:
            timer.cancel()
            self._waiting.discard(event)

    def _unready(
        self, work: Sequence[Reserve], *, timed_out: bool, is_wanted: Callable[[], bool]
    ) -> str | None:
        """Why the pod cannot be bound at all; "" for not yet, None where it can."""
        if not is_wanted():
            return "the pod is gone"
        is_done = True
        for each in work:
            meta = each.claim.metadata
            claim = self._world.cache(api.ResourceClaim).get(meta.namespace or "", meta.name or "")
            if claim is None or claim.metadata.uid != meta.uid:
                return f"claim {meta.name} got deleted in the meantime"
            if claim.status.allocation is None:
                if each.allocation is None:
                    return f"claim {meta.name} got deallocated elsewhere in the meantime"
                is_done = False  # the watch does not show it yet
                continue
            problem = failure(claim)
            if problem:
                return problem
            is_done = is_done and is_ready(claim)
        if is_done:
            return None
        return "device binding timeout" if timed_out else ""

    async def _let_go(self, work: Sequence[Reserve], pod: PodInfo) -> None:
        """The devices of these claims did not come: the pod's next try takes others."""
        for each in work:
            meta = each.claim.metadata
            if each.mappings:
                await self._unmake(each.claim, pod)
                continue
            try:
                claim = await self._client.get(api.ResourceClaim, meta.name or "", meta.namespace or "")
            except ApiError as problem:
                _log.info("%s/%s keeps its devices: %s", meta.namespace, meta.name, problem)
                continue
            others = [user for user in claim.status.reservedFor if user.uid != pod.uid]
            if claim.metadata.uid == meta.uid and not others and waits(claim.status.allocation):
                await self.give_back(claim, pod)

    async def _tell_pod(self, work: Reserve, pod: PodInfo) -> None:
        """Say in the pod's status which request of the claim is for which container."""
        status = api.PodExtendedResourceClaimStatus(
            resourceClaimName=work.claim.metadata.name or "", requestMappings=list(work.mappings)
        )
        await self._patch_pod(pod, codec.to_builtins(status))

    async def _patch_pod(self, pod: PodInfo, status: Any) -> None:
        change = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": status}}
        namespace, name = pod.key
        await self._client.patch(api.Pod, name, namespace, change, subresource="status")

    async def _unmake(self, claim: api.ResourceClaim, pod: PodInfo) -> None:
        """Delete the claim for extended resources: the pod's next try makes another."""
        meta = claim.metadata
        name, namespace = meta.name or "", meta.namespace or ""
        try:
            if pod.pod.metadata.deletionTimestamp is None:
                await self._patch_pod(pod, None)
        except Exception as problem:
            _log.debug("%s/%s still names its claim: %s", *pod.key, problem)
        try:
            held = await self._client.get(api.ResourceClaim, name, namespace)
            if held.metadata.uid == meta.uid and PROTECTION in held.metadata.finalizers:
                held = codec.copy(held)
                held.metadata.finalizers = [f for f in held.metadata.finalizers if f != PROTECTION]
                await self._client.update(held)
            await self._client.delete(api.ResourceClaim, name, namespace, uid=meta.uid or "")
        except ApiError as problem:
            if problem.code != 404:  # the pod's next try finds it and deletes it
                _log.warning("%s/%s is left over: %s", namespace, name, problem)
        except Exception as problem:
            _log.warning("%s/%s is left over: %s", namespace, name, problem)

    async def _write(self, work: Reserve, pod: PodInfo) -> None:
        claim = work.claim
        for _ in range(MOST_TRIES):
            try:
                claim = await self._protected(work, claim)
                stored = await self._client.update_status(self._reserved(work, claim, pod))
            except ApiError as problem:
                if problem.code == 409:
                    claim = await self._read(work)
                    continue
                await self._failed(work, problem)
                raise
            except Exception as problem:
                if await self._failed(work, problem):
                    return
                raise
            self._world.devices.written(work, stored.metadata.resourceVersion or "")
            self._world.devices.uses(claim, pod.uid)
            return
        self._world.devices.withdraw(work)
        raise NotReserved(f"claim {claim.metadata.name} changed {MOST_TRIES} times while it was reserved")

    async def _protected(self, work: Reserve, claim: api.ResourceClaim) -> api.ResourceClaim:
        """The claim with the finalizer that every allocated claim has."""
        if work.allocation is None or PROTECTION in claim.metadata.finalizers:
            return claim
        changed = codec.copy(claim)
        changed.metadata.finalizers = [*claim.metadata.finalizers, PROTECTION]
        return await self._client.update(changed)

    def _reserved(self, work: Reserve, claim: api.ResourceClaim, pod: PodInfo) -> api.ResourceClaim:
        """The claim as it is to be. Raises NotReserved where it is not what was decided on any more."""
        name = claim.metadata.name
        why = ""
        if claim.metadata.uid != work.claim.metadata.uid or claim.metadata.deletionTimestamp is not None:
            why = f"claim {name} got deleted in the meantime"
        elif work.allocation is not None and claim.status.allocation is not None:
            why = f"claim {name} got allocated elsewhere in the meantime"
        elif work.allocation is None and claim.status.allocation is None:
            why = f"claim {name} got deallocated elsewhere in the meantime"
        if why:
            self._world.devices.withdraw(work)
            raise NotReserved(why)
        changed = codec.copy(claim)
        if work.allocation is not None:
            if waits(work.allocation) and work.allocation.allocationTimestamp is None:
                work.allocation.allocationTimestamp = kube_time(self._clock.now())
            changed.status.allocation = work.allocation
        if all(user.uid != pod.uid for user in claim.status.reservedFor):
            user = api.ResourceClaimConsumerReference(resource="pods", name=pod.key[1], uid=pod.uid)
            changed.status.reservedFor = [*claim.status.reservedFor, user]
        return changed

    async def _read(self, work: Reserve) -> api.ResourceClaim:
        meta = work.claim.metadata
        try:
            return await self._client.get(api.ResourceClaim, meta.name or "", meta.namespace or "")
        except Exception as problem:
            await self._failed(work, problem)
            raise

    async def _failed(self, work: Reserve, problem: Exception) -> bool:
        """Settle what a write that failed came to; gives whether the claim has it all the same."""
        if isinstance(problem, NotReserved) or work.allocation is None:
            return False
        if isinstance(problem, ApiError) and problem.code < 500 and problem.code != 408:
            self._world.devices.withdraw(work)
            return False
        return await self._find_out(work)

    async def _find_out(self, work: Reserve) -> bool:
        """Read the claim until the server answers: until then its devices stay taken."""
        meta, delay_s = work.claim.metadata, FIRST_BACKOFF_S
        while True:
            try:
                claim = await self._client.get(api.ResourceClaim, meta.name or "", meta.namespace or "")
            except ApiError as unread:
                if unread.code == 404:
                    self._world.devices.withdraw(work)
                    return False
            except Exception:
                _log.debug("reading claim %s/%s failed", meta.namespace, meta.name, exc_info=True)
            else:
                if claim.metadata.uid == meta.uid and claim.status.allocation == work.allocation:
                    self._world.devices.written(work, claim.metadata.resourceVersion or "")
                    return True
                self._world.devices.withdraw(work)
                return False
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, MAX_BACKOFF_S)


def split(work: Sequence[Any]) -> tuple[list[Any], list[Reserve]]:
    """What is to be done for volumes, and what for claims of devices."""
    devices = [each for each in work if isinstance(each, Reserve)]
    return [each for each in work if not isinstance(each, Reserve)], devices
