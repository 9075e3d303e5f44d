"""What is done for a pod's volumes between the decision and the binding: bind or ask for them, and wait.

As kube-scheduler's VolumeBinding does in Reserve and PreBind: a volume that was found gets the claim's
`claimRef`, any other claim is told its node; the controllers do the rest, and the pod is bound after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.scheduler.claims import BindVolume, Work
from sampan.scheduler.plugins.volume_binding import SELECTED_NODE, is_bound
from sampan.scheduler.world import World
from sampan.schema import api

# How long a pod waits for its volumes before it is tried anew (VolumeBindingArgs.bindTimeoutSeconds).
BIND_TIMEOUT_S: Final = 600.0
_BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"


class VolumesNotBound(SampanError):
    """The pod's volumes did not come; the text says why."""


class PreBind:
    """Carries the work out. `changed` is to be called whenever a claim or a pod changed."""

    def __init__(self, client: Client, clock: Clock, world: World) -> None:
        self._client = client
        self._clock = clock
        self._world = world
        self._waiting: set[asyncio.Event] = set()

    def changed(self) -> None:
        for event in self._waiting:
            event.set()

    def promise(self, work: Sequence[Work]) -> None:
        """From now on no other claim is matched with these volumes."""
        for each in work:
            if isinstance(each, BindVolume):
                self._world.promised_volumes[each.volume.metadata.name or ""] = each.claim.metadata.uid or ""

    def release(self, work: Sequence[Work]) -> None:
        for each in work:
            if isinstance(each, BindVolume):
                self._world.promised_volumes.pop(each.volume.metadata.name or "", None)

    async def run(self, work: Sequence[Work], node: str, is_wanted: Callable[[], bool]) -> None:
        """Do the work and wait until all is bound, as long as the pod is wanted.

        Raises VolumesNotBound, and whatever the client raises.
        """
        for each in work:
            await self._start(each)
        event = asyncio.Event()
        self._waiting.add(event)
        timer = asyncio.create_task(self._clock.sleep(BIND_TIMEOUT_S))
        try:
            while is_wanted() and not all(self._is_done(each, node) for each in work):
                if timer.done():
                    raise VolumesNotBound("timed out waiting for the condition")
                event.clear()
                woken = asyncio.create_task(event.wait())
                try:
                    await asyncio.wait((timer, woken), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    woken.cancel()
        finally:
            timer.cancel()
            self._waiting.discard(event)

    async def _start(self, work: Work) -> None:
        meta = work.claim.metadata
        if not isinstance(work, BindVolume):
            if meta.annotations.get(SELECTED_NODE) != work.node:
                change: dict[str, Any] = {
                    "metadata": {"uid": meta.uid, "annotations": {SELECTED_NODE: work.node}}
                }
                await self._client.patch(
                    api.PersistentVolumeClaim, meta.name or "", meta.namespace or "", change
                )
            return
        volume = work.volume.metadata
        ref = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        }
        known: dict[str, Any] = {"uid": volume.uid, "resourceVersion": volume.resourceVersion}
        if work.volume.spec.claimRef is None:
            known["annotations"] = {_BOUND_BY_CONTROLLER: "yes"}
        change = {"metadata": known, "spec": {"claimRef": ref}}
        await self._client.patch(api.PersistentVolume, volume.name or "", "", change)

    def _is_done(self, work: Work, node: str) -> bool:
        meta = work.claim.metadata
        name = f'PVC "{meta.namespace}/{meta.name}"'
        claim = self._world.cache(api.PersistentVolumeClaim).get(meta.namespace or "", meta.name or "")
        if claim is None or claim.metadata.uid != meta.uid:
            raise VolumesNotBound(f"{name} was deleted while its volume was awaited")
        if is_bound(claim):
            return True
        if node not in self._world.table.rows:
            raise VolumesNotBound(f'node "{node}" went while {name} was awaited')
        is_old = claim.metadata.resourceVersion == meta.resourceVersion  # our own change is not seen yet
        selected = SELECTED_NODE in claim.metadata.annotations
        if not isinstance(work, BindVolume) and not is_old and not selected:
            raise VolumesNotBound(f"provisioning failed for {name}")
        return False
