"""What an API server does from time to time, whether anybody asks or not. Each runs until cancelled."""

from __future__ import annotations

import contextlib
from typing import Final

from sampan.apiserver.core import portrepair
from sampan.apiserver.core.flowcontrol.upkeep import UPKEEP_EVERY_S, Upkeep
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.store.backend import Store
from sampan.store.watchcache import KindCache, WatchCache

# How much of the store's past stays readable, for paged lists and resumed watches (as kube-apiserver).
COMPACT_EVERY_S: Final = 300.0


async def compact(store: Store, cache: WatchCache, clock: Clock) -> None:
    """Keep one to two periods of history."""
    upto = cache.revision
    while True:
        await clock.sleep(COMPACT_EVERY_S)
        await store.compact(upto)
        upto = cache.revision


async def keep_flow_objects(upkeep: Upkeep, clock: Clock) -> None:
    """Keep the mandatory FlowSchemas and levels as they must be, at once where one was changed."""
    while True:
        upkeep.changed.clear()
        with contextlib.suppress(StatusError):  # the store cannot be written just now
            await upkeep.once(clock.now().replace(microsecond=0))
        await first_done(upkeep.changed.wait(), clock.sleep(UPKEEP_EVERY_S))


async def repair_ports(
    services: Resource, ports: KindCache, store: Store, own: OwnWrites, clock: Clock
) -> None:
    """Let the records of taken node ports say what the Services say, and tell of what was wrong."""
    while True:
        held = {int(item.name): item.revision for item in ports}
        found = portrepair.repairs(map(services.decode_stored, (i.data for i in services.cache)), held)
        for repair in await portrepair.mend(store, found):
            event = repair.event(clock.now().replace(microsecond=0))
            if event is not None:
                await own.create_missing(event)
        await clock.sleep(portrepair.EVERY_S)
