"""Keeps the ConfigMap extension-apiserver-authentication true, as kube-apiserver's controller of it does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from sampan.apiserver.core.aggregation import authentication
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.schema import api, codec

# Looked at so often even where nobody was seen to change it: authorities run out.
LOOK_EVERY_S: Final = 60.0


class Trust:
    """The ConfigMap of one server, and the turn after each change of it."""

    def __init__(self, own: OwnWrites, resource: Resource, objects: list[Any], clock: Clock) -> None:
        self._own = own
        self._resource = resource
        self.objects = objects
        self._clock = clock
        self.changed = asyncio.Event()

    async def once(self) -> None:
        """Create what is missing, and put this server's own into what is there. Raises StatusError."""
        for obj in self.objects:
            await self._own.create_missing(obj)
            if isinstance(obj, api.ConfigMap):
                await self._update(obj)

    async def run(self) -> None:
        """Do so until cancelled."""
        while self.objects:
            await first_done(self.changed.wait(), self._clock.sleep(LOOK_EVERY_S))
            self.changed.clear()
            with contextlib.suppress(StatusError):  # the store cannot be written just now
                await self.once()

    async def _update(self, wanted: api.ConfigMap) -> None:
        item = self._resource.cache.get(authentication.NAMESPACE, authentication.NAME)
        if item is None:
            return
        held = self._resource.decode_stored(item.data)
        data = authentication.combined(held.data, wanted.data, self._clock.now())
        if data != held.data:
            fresh = codec.copy(held)
            fresh.data = data
            await self._own.update(self._resource, fresh, "")
