"""Node ports are taken in the commit of their Service. What a restored or edited store has lost is mended.

Ports that Services have and nobody holds are taken again; ports that no Service has are given back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from sampan.apiserver.core.admission.services import PORTS_PREFIX, node_ports, owner_of_ports
from sampan.schema import api
from sampan.store.backend import Committed, Delete, Guard, Op, Put, Store, StoreUnavailable

# As often as kube-apiserver looks.
EVERY_S: Final = 180.0

_log = logging.getLogger(__name__)


class Repair(msgspec.Struct, frozen=True):
    """A port to be put right. `service` lost it (None: no Service has it); `revision` is its key's."""

    port: int
    service: Any = None
    revision: int = 0

    @property
    def guard(self) -> Guard:
        return Guard(f"{PORTS_PREFIX}{self.port}", self.revision)

    @property
    def op(self) -> Op:
        key = f"{PORTS_PREFIX}{self.port}"
        return Delete(key) if self.service is None else Put(key, owner_of_ports(self.service.metadata))

    def event(self, now: Any) -> api.Event | None:
        """What the Service is told."""
        if self.service is None:
            return None
        meta = self.service.metadata
        return api.Event(
            metadata=api.ObjectMeta(name=f"{meta.name}.{self.port:x}.repaired", namespace=meta.namespace),
            involvedObject=api.ObjectReference(
                apiVersion="v1", kind="Service", namespace=meta.namespace, name=meta.name, uid=meta.uid
            ),
            type="Warning",
            reason="PortNotAllocated",
            message=f"Port {self.port} is not allocated; repairing",
            count=1,
            firstTimestamp=now,
            lastTimestamp=now,
            source=api.EventSource(component="portallocator-repair-controller"),
            reportingComponent="portallocator-repair-controller",
        )


def repairs(services: Iterable[Any], held: Mapping[int, int]) -> list[Repair]:
    """What is wrong with the held ports (each with its key's revision), given all Services. Pure."""
    found: list[Repair] = []
    wanted: set[int] = set()
    for service in services:
        for port in sorted(node_ports(service) - wanted):
            wanted.add(port)
            if port not in held:
                found.append(Repair(port, service))
    leaked = [Repair(port, None, revision) for port, revision in sorted(held.items()) if port not in wanted]
    return found + leaked


async def mend(store: Store, found: Iterable[Repair]) -> list[Repair]:
    """Carry repairs out, one commit each: what changed meanwhile is left for the next round."""
    done = []
    for repair in found:
        try:
            outcome = await store.commit([repair.guard], [repair.op])
        except StoreUnavailable as problem:
            _log.warning("the node port %d was not repaired: %s", repair.port, problem)
            break
        if isinstance(outcome, Committed):
            what = "was taken again for its Service" if repair.service is not None else "had leaked"
            _log.warning("the node port %d %s", repair.port, what)
            done.append(repair)
    return done
