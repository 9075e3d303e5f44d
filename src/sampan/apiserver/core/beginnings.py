"""The objects that every cluster has, made when a server starts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from sampan.apiserver.core import bootstrap, firststart
from sampan.apiserver.core.aggregation.aggregator import Aggregator
from sampan.apiserver.core.aggregation.plans import local_services
from sampan.apiserver.core.aggregation.trust import Trust
from sampan.apiserver.core.flowcontrol.upkeep import Upkeep
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resources
from sampan.base.ids import Ids
from sampan.kinds import registry
from sampan.schema import api
from sampan.store.backend import Store
from sampan.store.watchcache import WatchCache


class Beginnings(msgspec.Struct, frozen=True, kw_only=True):
    """Makes them: in a few commits where the store is empty, else those that are missing."""

    store: Store
    cache: WatchCache
    resources: Resources
    ids: Ids
    own: OwnWrites
    trust: Trust
    aggregator: Aggregator
    flow_upkeep: Upkeep

    async def make(self, own: Iterable[Any], now: datetime) -> None:
        """Create what is missing. `own` tells of this server; a default role that lacks something gets it."""
        objects, first = list(own), 0
        if not self.resources.of(api.Namespace).cache.count:
            first = await firststart.write(self.store, self._versions(), self.ids, now)
            await self.cache.reached(first)
        if not first:
            objects += [*bootstrap.everywhere(), *local_services(dict(self._versions()))]
        objects += self.trust.objects
        # Nothing can be created in a namespace before it is there. All the rest at once: the store commits
        # together what arrives together, and a disk write for each would take longer than the whole start.
        for wave in (True, False):
            made = (obj for obj in objects if isinstance(obj, api.Namespace) is wave)
            await asyncio.gather(*map(self.own.create_missing, made))
        await self.trust.once()
        self.aggregator.load()
        if not first:
            await self.aggregator.check(local=True)
            await self.flow_upkeep.once(now)

    def _versions(self) -> firststart.Versions:
        """The groups with the versions of each that are served, the preferred first."""
        served = {(kind.group, kind.version) for kind in self.resources.kinds}
        found = ((g.name, tuple(v for v in g.versions if (g.name, v) in served)) for g in registry.groups())
        return tuple((group, versions) for group, versions in found if versions)
