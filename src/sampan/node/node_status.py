"""Registers a node, and keeps its status and its lease fresh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError, is_already_exists, is_lost, is_not_found
from sampan.machinery.quantity import quantity
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.node_objects import (
    LEASE_NAMESPACE,
    is_same_but_for_heartbeats,
    lost_labels,
    new_lease,
    new_node,
    node_annotations,
    node_labels,
    node_status,
)
from sampan.node.references import get_or_none
from sampan.node.runtimes.runtime import Image, Runtime, RuntimeFailure
from sampan.schema import api, codec

REGISTER_RETRY_S: Final = 0.5
# How often a node that is not Ready looks at its runtime, and a ready one at what may change its status.
UNREADY_CHECK_S: Final = 0.5
CHECK_S: Final = 10.0

_log = logging.getLogger(__name__)


def no_pressure() -> frozenset[str]:
    """No node condition is bad."""
    return frozenset()


class NodeReporter:
    """One node's Node object and Lease."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        config: AgentConfig,
        clock: Clock,
        machine: MachineInfo,
        *,
        pressures: Callable[[], frozenset[str]] = no_pressure,
        offered: Callable[[], Mapping[str, tuple[int, int]]] = dict,
        in_use: Callable[[], Sequence[str]] = tuple,
        seen: Callable[[], api.Node | None] = lambda: None,
    ) -> None:
        """`offered` gives capacity and allocatable of what drivers offer beside the machine's own, `in_use`
        the attached volumes that pods use, `seen` the Node as a watch has shown it last."""
        self.node: api.Node | None = None
        self._seen = seen
        self._client = client
        self._runtime = runtime
        self._config = config
        self._clock = clock
        self._machine = machine
        self._pressures = pressures
        self._offered = offered
        self._in_use = in_use
        self._look = asyncio.Event()
        self._lease: api.Lease | None = None
        self._registered = asyncio.Event()
        self._reported_s = 0.0

    def look(self) -> None:
        """Something changed that the status tells."""
        self._look.set()

    async def registered(self) -> None:
        """Return once the Node exists."""
        await self._registered.wait()

    async def run(self) -> None:
        """Register, then report until cancelled."""
        while not self._registered.is_set():
            try:
                await self.register()
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("node %s could not be registered yet: %s", self._config.node_name, error)
                await self._clock.sleep(REGISTER_RETRY_S)
        await asyncio.gather(self._keep_lease(), self._keep_status())

    async def register(self) -> None:
        """Create the Node, or take over the one that is there; its labels are put right."""
        status = await self._status(())
        try:
            self.node = await self._client.create(new_node(self._config, self._machine, status))
        except ApiError as error:
            if not is_already_exists(error):
                raise
            self.node = await self._take_over()
        if not self.node.status.conditions:
            self.node = await self._write(self.node, status)
        self._registered.set()
        self._reported_s = self._clock.monotonic_s()

    async def _take_over(self) -> api.Node:
        name = self._config.node_name
        node = await self._client.get(api.Node, name)
        missing = lost_labels(node, node_labels(self._config, self._machine))
        held = node.metadata.annotations
        marks = {k: v for k, v in node_annotations(self._config).items() if held.get(k) != v}
        if missing or marks:
            meta = {"labels": missing, "annotations": marks}
            node = await self._client.patch(api.Node, name, "", {"metadata": meta})
        return await self._write(node, await self._status(node.status.conditions))

    async def _keep_lease(self) -> None:
        while True:
            try:
                self._lease = await renew_lease(
                    self._client,
                    self._config.node_name,
                    self.node.metadata.uid or "" if self.node is not None else "",
                    self._config.lease_duration_s,
                    self._clock,
                    self._lease,
                )
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("the lease of node %s was not renewed: %s", self._config.node_name, error)
                self._lease = None
            await self._clock.sleep(self._config.lease_renew_s)

    async def _keep_status(self) -> None:
        while True:
            await self._told(CHECK_S if self._is_ready() else UNREADY_CHECK_S)
            try:
                await self.report()
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("the status of node %s was not written: %s", self._config.node_name, error)

    async def _told(self, limit_s: float) -> None:
        """Return once something changed, or the time is over."""
        await first_done(self._look.wait(), self._clock.sleep(limit_s))
        self._look.clear()

    def _is_ready(self) -> bool:
        conditions = self.node.status.conditions if self.node is not None else []
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    async def report(self) -> None:
        """Write the status if it changed, or if the last time is long enough ago."""
        if self.node is None:
            return
        node = _newest(self.node, self._seen())
        status = await self._status(node.status.conditions)
        gone = _follow_others(node.status, status)
        age_s = self._clock.monotonic_s() - self._reported_s
        own = replace(node.status, conditions=_own(node.status.conditions, status.conditions))
        stale = age_s >= self._config.status_period_s
        if not stale and not gone and is_same_but_for_heartbeats(_comparable(own, status), status):
            return
        try:
            self.node = await self._write(node, status, gone)
        except ApiError as error:
            if not is_not_found(error):
                raise
            self.node = await self._client.create(new_node(self._config, self._machine, status))
        self._reported_s = self._clock.monotonic_s()

    async def _status(self, before: Sequence[api.NodeCondition]) -> api.NodeStatus:
        version, trouble, images = "", "", list[Image]()
        try:
            version = await self._runtime.version()
            images = list(await self._runtime.list_images())
        except (RuntimeFailure, OSError, TimeoutError) as error:
            trouble = str(error)
        status = node_status(
            self._config,
            self._machine,
            runtime_version=version,
            runtime_error=trouble,
            images=images,
            pressures=self._pressures(),
            before=before,
            now=self._clock.now(),
        )
        for name, (all_of_it, usable) in self._offered().items():
            status.capacity[name] = quantity(str(all_of_it))
            status.allocatable[name] = quantity(str(usable))
        status.volumesInUse = list(self._in_use())
        return status

    async def _write(self, node: api.Node, status: api.NodeStatus, gone: Iterable[str] = ()) -> api.Node:
        patch = {"status": codec.to_builtins(status)}
        patch["status"]["allocatable"] |= dict.fromkeys(gone)
        if node.status.volumesInUse and not status.volumesInUse:
            patch["status"]["volumesInUse"] = None
        if node.status.addresses and node.status.addresses != status.addresses:
            patch["status"]["addresses"] = [{"$patch": "replace"}, *patch["status"]["addresses"]]
        return await self._client.patch(
            api.Node, self._config.node_name, "", patch, patch_type=STRATEGIC, subresource="status"
        )


def _newest(written: api.Node, seen: api.Node | None) -> api.Node:
    """What was written may not have been seen yet, and others may have written since."""
    if seen is None or seen.metadata.uid != written.metadata.uid:
        return written
    return max(written, seen, key=lambda node: int(node.metadata.resourceVersion or 0))


def _follow_others(held: api.NodeStatus, ours: api.NodeStatus) -> list[str]:
    """Let pods have what others say in the node's capacity. Gives the resources that nobody speaks of now."""
    others = {name: amount for name, amount in held.capacity.items() if name not in ours.capacity}
    ours.allocatable.update(others)
    return [name for name in held.allocatable if name not in ours.allocatable]


def _own(held: Sequence[api.NodeCondition], ours: Sequence[api.NodeCondition]) -> list[api.NodeCondition]:
    """The held conditions of the types that the agent writes, in its order."""
    by_type = {c.type: c for c in held}
    return [by_type[c.type] for c in ours if c.type in by_type]


def _comparable(held: api.NodeStatus, ours: api.NodeStatus) -> api.NodeStatus:
    """The held status with only what the agent writes: extended resources may be others'."""
    return api.NodeStatus(
        addresses=held.addresses,
        allocatable={name: q for name, q in held.allocatable.items() if name in ours.allocatable},
        capacity={name: q for name, q in held.capacity.items() if name in ours.capacity},
        conditions=held.conditions,
        daemonEndpoints=held.daemonEndpoints,
        images=held.images,
        nodeInfo=held.nodeInfo,
        volumesInUse=held.volumesInUse,
    )


def _renewed(owner_uid: str, duration_s: int, now: datetime, lease: api.Lease) -> api.Lease:
    meta = replace(lease.metadata)
    return new_lease(meta.name or "", owner_uid, duration_s, now, replace(lease, metadata=meta))


def renewal(owner_uid: str, duration_s: int, now: datetime) -> Callable[[api.Lease], api.Lease]:
    """What a renewal makes of a node's Lease."""
    return partial(_renewed, owner_uid, duration_s, now)


async def renew_lease(
    client: Client, node_name: str, owner_uid: str, duration_s: int, clock: Clock, held: api.Lease | None
) -> api.Lease:
    """Renew the node's Lease, making it if need be. Raises ApiError."""
    if held is not None:
        try:
            make = renewal(owner_uid, duration_s, clock.now())
            if await client.change(api.Lease, node_name, LEASE_NAMESPACE, make):
                return held
            return await client.update(new_lease(node_name, owner_uid, duration_s, clock.now(), held))
        except ApiError as error:
            if not is_lost(error):
                raise
    # Most nodes that hold none are new: made first, and only read where it turns out to be there.
    try:
        return await client.create(new_lease(node_name, owner_uid, duration_s, clock.now(), None))
    except ApiError as error:
        if not is_already_exists(error):
            raise
    found = await get_or_none(client, api.Lease, node_name, LEASE_NAMESPACE)
    lease = new_lease(node_name, owner_uid, duration_s, clock.now(), found)
    return await (client.update(lease) if found is not None else client.create(lease))
