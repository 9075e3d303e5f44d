"""APIServices of the groups that definitions add, as kube-apiserver keeps them: there while they are served.

What others have put under such a name stays theirs; only what carries this server's mark is kept true.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from sampan.apiserver.core.aggregation import plans
from sampan.apiserver.core.custom.registry import CustomKinds
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.settling import Settling
from sampan.apiserver.core.status import StatusError
from sampan.base.clock import Clock

_UNAVAILABLE: Final = 500

_log = logging.getLogger(__name__)


class Registrar:
    """Settles one name after the other: those that were noted because something about them changed."""

    def __init__(self, kinds: CustomKinds, resource: Resource, own: OwnWrites, clock: Clock) -> None:
        self._kinds = kinds
        self._resource = resource
        self._own = own
        self._clock = clock
        self._settling = Settling("APIService", self._settle, clock)
        # The APIService of this name (VERSION.GROUP), or what it stands for, has changed.
        self.note = self._settling.note
        kinds.on_served = self.note

    async def run(self) -> None:
        """Settle what is noted, until cancelled; first what was left when a server ended."""
        for item in self._resource.cache:
            self.note(item.name)
        await self._settling.run()

    async def _settle(self, name: str) -> None:
        version, _, group = name.partition(".")
        wanted = plans.custom_service(group, version) if self._kinds.serves(group, version) else None
        item = self._resource.cache.get("", name)
        if item is None:
            if wanted is not None:
                await self._create(wanted)
            return
        held = self._resource.decode_stored(item.data)
        if held.metadata.labels.get(plans.AUTOMANAGED) != plans.WHILE_SERVED:
            return
        if wanted is None:
            await self._own.delete(self._resource, held)
        else:
            await self._mend(held, wanted)

    async def _create(self, wanted: Any) -> None:
        try:
            await self._own.create(self._resource, wanted)
        except StatusError as refused:
            if refused.code >= _UNAVAILABLE:
                raise
            _log.warning("the APIService %s is not registered: %s", wanted.metadata.name, refused)

    async def _mend(self, held: Any, wanted: Any) -> None:
        if held.spec != wanted.spec:
            held.spec = wanted.spec
            await self._own.update(self._resource, held, "")
            return  # what this commits is noted again
        now = self._clock.now().replace(microsecond=0)
        corrected = plans.with_condition(held, *plans.LOCAL, now)
        if corrected is not None:
            await self._own.update(self._resource, corrected, "status")
