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
from sampan.base.waiting import set_or_done
from sampan.client.client import Client
from sampan.client.errors import ApiError
from sampan.scheduler.claims import BindVolume, Provision, Work
from sampan.scheduler.volume_matching import SELECTED_NODE, reaches
from sampan.scheduler.volume_use import is_bound
from sampan.scheduler.world import World
from sampan.schema import api

_BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"


class VolumesNotBound(SampanError):
    """The pod's volumes did not come; the text says why."""


class PreBind:
    """Carries the work out. `changed` is to be called whenever a claim, a volume, a pod or a node changed."""

    def __init__(self, client: Client, clock: Clock, world: World) -> None:
        self._client = client
        self._clock = clock
        self._world = world
        self._waiting: set[asyncio.Event] = set()

    def changed(self) -> None:
        for event in self._waiting:
            event.set()

    async def run(
        self, work: Sequence[Work], node: str, is_wanted: Callable[[], bool], timeout_s: float
    ) -> None:
        """Do the work and wait until all is bound, as long as the pod is wanted.

        Raises VolumesNotBound, and whatever the client raises.
        """
        seen_from = [await self._start(each) for each in work]
        event = asyncio.Event()
        self._waiting.add(event)
        timer = asyncio.create_task(self._clock.sleep(timeout_s))
        try:
            while True:
                if not is_wanted():
                    raise VolumesNotBound("the pod is gone")
                done = [self._is_done(w, node, old) for w, old in zip(work, seen_from, strict=True)]
                if all(done):
                    return
                if timer.done():
                    raise VolumesNotBound("context deadline exceeded")
                event.clear()
                await set_or_done(event, timer)
        finally:
            timer.cancel()
            self._waiting.discard(event)

    async def _start(self, work: Work) -> str | None:
        """Ask for it. Gives the version of the object that caches may show before they show our change."""
        return await (self._tell_node(work) if isinstance(work, Provision) else self._point(work))

    async def _tell_node(self, work: Provision) -> str | None:
        meta = work.claim.metadata
        if meta.annotations.get(SELECTED_NODE) == work.node:
            return None
        change: dict[str, Any] = {"metadata": {"uid": meta.uid, "annotations": {SELECTED_NODE: work.node}}}
        await self._client.patch(api.PersistentVolumeClaim, meta.name or "", meta.namespace or "", change)
        return meta.resourceVersion

    async def _point(self, work: BindVolume) -> str | None:
        volume, meta = work.volume.metadata, work.claim.metadata
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
        try:
            await self._client.patch(api.PersistentVolume, volume.name or "", "", change)
        except ApiError as problem:
            if problem.code != 409 or not await self._points_already(work):
                raise
        return volume.resourceVersion

    async def _points_already(self, work: BindVolume) -> bool:
        """Whether the volume is the claim's by now, as where another pod waits for the same claim."""
        volume = await self._client.get(api.PersistentVolume, work.volume.metadata.name or "")
        ref = volume.spec.claimRef
        return ref is not None and ref.uid == work.claim.metadata.uid

    def _is_done(self, work: Work, node: str, old: str | None) -> bool:
        """Whether the claim is bound to what the node reaches. Raises VolumesNotBound if it cannot become so.

        `old` is the version, from before that, of what we changed.
        """
        meta = work.claim.metadata
        world = self._world
        claim = world.cache(api.PersistentVolumeClaim).get(meta.namespace or "", meta.name or "")
        row = world.table.rows.get(node)
        if row is None:
            raise VolumesNotBound(f'node "{node}" not found')
        if claim is None or claim.metadata.uid != meta.uid:
            raise VolumesNotBound(f'persistentvolumeclaim "{meta.name}" not found')
        if claim.spec.volumeName:
            return self._is_reached(claim, row) and is_bound(claim)
        if isinstance(work, BindVolume):
            self._check_volume(work, old)
        elif claim.metadata.resourceVersion != old:
            selected = claim.metadata.annotations.get(SELECTED_NODE, "")
            if not selected:
                raise VolumesNotBound(
                    f'provisioning failed for PVC "{meta.name}": selectedNode annotation reset'
                )
            if selected != node:
                text = (
                    f'provisioning failed for PVC "{meta.name}": selectedNode annotation value "{selected}"'
                )
                raise VolumesNotBound(f'{text} not set to scheduled node "{node}"')
        return False

    def _check_volume(self, work: BindVolume, old: str | None) -> None:
        name, uid = work.volume.metadata.name or "", work.volume.metadata.uid
        volume = self._world.cache(api.PersistentVolume).get("", name)
        if volume is None or volume.metadata.uid != uid:
            raise VolumesNotBound(f'persistentvolume "{name}" not found')
        ref = volume.spec.claimRef
        is_ours = ref is not None and ref.uid == work.claim.metadata.uid
        if volume.metadata.resourceVersion != old and not is_ours:
            raise VolumesNotBound(f'ClaimRef got reset for pv "{name}"')

    def _is_reached(self, claim: api.PersistentVolumeClaim, row: int) -> bool:
        """Whether the volume that a claim got is seen. Raises VolumesNotBound if the node cannot reach it."""
        node = self._world.table.nodes[row]
        volume = self._world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
        if volume is None or node is None:
            return False
        if not reaches(volume, node):
            what = f'pv "{volume.metadata.name}" node affinity doesn\'t match node "{node.metadata.name}"'
            raise VolumesNotBound(f"{what}: no matching NodeSelectorTerms")
        return True
