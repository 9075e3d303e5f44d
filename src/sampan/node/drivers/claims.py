"""Claims on this node: drivers prepare them before a pod's containers start, and are told when they end.

As kubelet's manager for dynamic resource allocation. What is prepared is in a file, so that an agent that
begins again neither prepares twice nor forgets to unprepare.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.client.client import Client
from sampan.node.drivers import cdifiles, checkpoint
from sampan.node.drivers.cdi import CdiError, File, edits_of
from sampan.node.drivers.claimplan import (
    Device,
    Prepared,
    cdi_devices,
    claim_names,
    drivers_of,
    missing_claim,
    used_by,
)
from sampan.node.drivers.edits import NONE, Edits
from sampan.node.drivers.health import claim_statuses
from sampan.node.drivers.healthwatch import HealthWatch
from sampan.node.drivers.registry import RegistrationError
from sampan.node.drivers.sockets import DriverClient, real_path
from sampan.node.drivers.tables import DRA_V1, DRA_V1BETA1
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.schema import api

TYPE: Final = "DRAPlugin"
# What drivers call the versions of the API, best first.
VERSIONS: Final = {"v1.DRAPlugin": f"{DRA_V1}.DRAPlugin", "v1beta1.DRAPlugin": f"{DRA_V1BETA1}.DRAPlugin"}
FAILED: Final = "FailedPrepareDynamicResources"
# How long a driver may take, as kubelet has it.
CALL_TIMEOUT_S: Final = 45.0
# Between two looks for claims whose pods went while nobody saw it.
SWEEP_S: Final = 60.0

_log = logging.getLogger(__name__)


class _Driver(NamedTuple):
    client: DriverClient
    service: str
    endpoint: str


class Claims:
    """Implements PodResources for ResourceClaims, and the registry's Handler for their drivers."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        root_dir: str,
        *,
        cdi: Callable[[], Sequence[File]] = cdifiles.read,
        health_changed: Callable[[Collection[str]], None] = lambda pods: None,
    ) -> None:
        """`health_changed` is called with pods (uids) whose devices may be in another state now."""
        self.drivers: dict[str, _Driver] = {}
        self._client = client
        self._clock = clock
        self._root_dir = root_dir
        self._file = Path(root_dir) / "dra_manager_state"
        self._cdi = cdi
        self._health_changed = health_changed
        self.health = HealthWatch(clock, Path(root_dir) / "dra_health_state", self._tell_users)
        self._came = asyncio.Event()  # a driver came: what it could not be told before can be told now
        # By a claim's uid; kept for as long as somebody holds or waits.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._prepared = {each.uid: each for each in checkpoint.load(self._file, tuple[Prepared, ...], ())}

    # --- drivers --------------------------------------------------------------------------------------

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        service = next((VERSIONS[version] for version in VERSIONS if version in versions), None)
        if service is None:
            raise RegistrationError(
                f"invalid versions of plugin {name}: it has {', '.join(versions) or 'none'}, and this node "
                f"wants one of {', '.join(VERSIONS)}"
            )
        before = self.drivers.get(name)
        place = real_path(endpoint, self._root_dir)
        self.drivers[name] = _Driver(DriverClient(place), service, endpoint)
        self._came.set()
        if before is not None:
            await before.client.close()
        self.health.watch(name, place, versions)

    async def deregister(self, name: str, endpoint: str) -> None:
        found = self.drivers.get(name)
        # An update registers the new driver before the old one's socket goes.
        if found is not None and found.endpoint == endpoint:
            del self.drivers[name]
            await found.client.close()
            self.health.unwatch(name)

    # --- pods -----------------------------------------------------------------------------------------

    async def prepare(self, pod: api.Pod) -> None:
        missing = missing_claim(pod)
        if missing:
            raise _failure(f"pod claim {missing}: ResourceClaim not created yet")
        claims = [await self._read(pod, name) for name in dict.fromkeys(claim_names(pod).values())]
        # All of it is looked at before anything is noted: a pod whose driver was never there can go again,
        # because nobody has to be told that it went.
        for claim in claims:
            self._check(pod, claim)
        for claim in claims:
            async with self._lock(claim.metadata.uid or ""):
                await self._prepare(pod, claim)

    async def edits(self, pod: api.Pod, container: api.Container) -> Edits:
        used = used_by(pod, container)
        if not used:
            return NONE
        mine = self.prepared_for(pod)
        absent = {name for name, _ in used} - {each.name for each in mine if each.is_ready}
        if absent:
            raise RuntimeFailure("CreateContainerError", f"claim {min(absent)} is not prepared")
        names = cdi_devices(used, mine)
        try:
            return edits_of(names, await asyncio.to_thread(self._cdi)) if names else NONE
        except CdiError as problem:
            raise RuntimeFailure("CreateContainerError", str(problem)) from problem

    def prepared_for(self, pod: api.Pod) -> list[Prepared]:
        """The claims that are prepared, or being so, for the pod."""
        return [each for each in self._prepared.values() if pod.metadata.uid in each.pods]

    def health_of(self, pod: api.Pod) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        """By container, how the devices of its claims are."""
        mine = self.prepared_for(pod)
        return claim_statuses(pod, mine, self.health.known, self._clock.now()) if mine else {}

    def _tell_users(self, driver: str) -> None:
        users = {pod for each in self._prepared.values() if driver in each.devices for pod in each.pods}
        if users:
            self._health_changed(users)

    async def release(self, pod: api.Pod) -> None:
        await self._release(pod.metadata.uid or "")

    async def run(self, pods: Callable[[], Iterable[api.Pod]]) -> None:
        """Release what pods had that are gone without a trace; until cancelled."""
        while True:
            self._came.clear()
            known = {pod.metadata.uid for pod in pods()}
            for uid in {pod for each in self._prepared.values() for pod in each.pods} - known:
                try:
                    await self._release(uid or "")
                except (RuntimeFailure, OSError) as problem:
                    _log.warning("%s", problem)
            await first_done(self._came.wait(), self._clock.sleep(SWEEP_S))

    # --- within ---------------------------------------------------------------------------------------

    async def _read(self, pod: api.Pod, name: str) -> api.ResourceClaim:
        claim = await self._client.get(api.ResourceClaim, name, pod.metadata.namespace or "")
        if claim.status.allocation is None:
            raise _failure(f"resource claim {name} is not allocated")
        if all(user.uid != pod.metadata.uid for user in claim.status.reservedFor):
            raise _failure(f"pod {pod.metadata.name} is not allowed to use resource claim {name}")
        return claim

    def _check(self, pod: api.Pod, claim: api.ResourceClaim) -> None:
        known = self._prepared.get(claim.metadata.uid or "")
        if known is not None and known.is_ready and (pod.metadata.uid or "") in known.pods:
            return  # it ran before the agent began again: nobody is asked any more
        for driver in drivers_of(claim):
            if driver not in self.drivers:
                raise _failure(_not_registered(driver))
        for each in self._prepared.values():
            same = (each.namespace, each.name) == (claim.metadata.namespace, claim.metadata.name)
            if same and each.uid != claim.metadata.uid:
                raise _failure(
                    f"old ResourceClaim with same name {each.name} and different UID {each.uid} still exists"
                )

    async def _prepare(self, pod: api.Pod, claim: api.ResourceClaim) -> None:
        uid, user = claim.metadata.uid or "", pod.metadata.uid or ""
        known = self._prepared.get(uid) or Prepared(
            claim.metadata.namespace or "", claim.metadata.name or "", uid, drivers_of(claim)
        )
        if user not in known.pods:  # noted before the drivers are asked: whatever comes, they will be told
            known = replace(known, pods=(*known.pods, user))
            self._note(known)
        for driver in known.drivers:
            if driver in known.devices:
                continue
            answer = await self._call(driver, "NodePrepareResources", known)
            devices = tuple(
                Device(
                    tuple(d.request_names), d.pool_name, d.device_name, tuple(d.cdi_device_ids), d.share_id
                )
                for d in answer.devices
            )
            known = replace(known, devices={**known.devices, driver: devices})
            self._note(known)

    async def _release(self, pod: str) -> None:
        for uid in [each.uid for each in self._prepared.values() if pod in each.pods]:
            async with self._lock(uid):
                known = self._prepared.get(uid)
                if known is None or pod not in known.pods:
                    continue
                left = tuple(other for other in known.pods if other != pod)
                if not left:
                    for driver in known.drivers:
                        await self._call(driver, "NodeUnprepareResources", known)
                self._note(replace(known, pods=left))

    def _lock(self, uid: str) -> asyncio.Lock:
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        return lock

    def _note(self, known: Prepared) -> None:
        if known.pods:
            self._prepared[known.uid] = known
        else:
            self._prepared.pop(known.uid, None)
        checkpoint.save(self._file, tuple(self._prepared.values()))

    async def _call(self, driver: str, method: str, claim: Prepared) -> Any:
        """The driver's answer about the claim. Raises RuntimeFailure."""
        found = self.drivers.get(driver)
        if found is None:
            raise _failure(_not_registered(driver), method)
        asked = {"namespace": claim.namespace, "uid": claim.uid, "name": claim.name}
        try:
            answer = await found.client.call(found.service, method, timeout_s=CALL_TIMEOUT_S, claims=[asked])
        except RuntimeFailure as failure:
            raise _failure(f"{method} of driver {driver}: {failure}", method) from failure
        if claim.uid not in answer.claims:
            raise _failure(f"{method} of driver {driver} skipped claim {claim.name}", method)
        result = answer.claims[claim.uid]
        if result.error:
            raise _failure(f"{method} of driver {driver} for claim {claim.name}: {result.error}", method)
        return result


def _not_registered(driver: str) -> str:
    return f"DRA driver {driver} is not registered"


def _failure(detail: str, method: str = "NodePrepareResources") -> RuntimeFailure:
    if method == "NodePrepareResources":
        return RuntimeFailure(FAILED, f"Failed to prepare dynamic resources: {detail}")
    return RuntimeFailure("FailedUnprepareDynamicResources", f"Failed to unprepare resources: {detail}")
