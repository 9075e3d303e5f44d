"""ResourceSlices of drivers that are gone: deleted, so that nobody is given devices that nobody prepares.

As kubelet does: after a while for a driver to come back, and for those of before a restart of the agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_not_found
from sampan.node.drivers.claims import Claims
from sampan.schema import api

# How long a driver may be away before its slices go.
WIPE_AFTER_S: Final = 30.0
RETRY_S: Final = 10.0

_log = logging.getLogger(__name__)


class SliceKeeper:
    """A registry's Handler in front of Claims, which also looks after the slices of its drivers."""

    def __init__(self, client: Client, clock: Clock, node: str, claims: Claims) -> None:
        self._client = client
        self._clock = clock
        self._node = node
        self._claims = claims
        self._wipes: set[asyncio.Task[None]] = set()

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        await self._claims.register(name, endpoint, versions)

    async def deregister(self, name: str, endpoint: str) -> None:
        await self._claims.deregister(name, endpoint)
        task = asyncio.create_task(self._wipe_later(name))
        self._wipes.add(task)
        task.add_done_callback(self._wipes.discard)

    async def run(self) -> None:
        """Delete what drivers left that are not there any more; then stay until cancelled."""
        try:
            await self._wipe_later("")
            await asyncio.Event().wait()
        finally:
            for task in self._wipes:
                task.cancel()

    async def _wipe_later(self, driver: str) -> None:
        """The slices of one driver, or of all that are not registered by then."""
        await self._clock.sleep(WIPE_AFTER_S)
        while True:
            try:
                await self._wipe(driver)
                return
            except ApiError as problem:
                if is_not_found(problem):  # a server that has no such kind
                    return
                _log.warning("the ResourceSlices of node %s stay for now: %s", self._node, problem)
            except (OSError, TimeoutError) as problem:
                _log.warning("the ResourceSlices of node %s stay for now: %s", self._node, problem)
            await self._clock.sleep(RETRY_S)

    async def _wipe(self, driver: str) -> None:
        fields = f"spec.nodeName={self._node}" + (f",spec.driver={driver}" if driver else "")
        for piece in (await self._client.list(api.ResourceSlice, fields=fields)).items:
            if piece.spec.driver in self._claims.drivers:
                continue
            _log.info("deleting the ResourceSlice %s of a driver that is gone", piece.metadata.name)
            try:
                await self._client.delete(
                    api.ResourceSlice, piece.metadata.name or "", uid=piece.metadata.uid or ""
                )
            except ApiError as problem:
                if not is_not_found(problem):
                    raise
