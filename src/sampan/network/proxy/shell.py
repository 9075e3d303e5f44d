"""The service proxy: watches Services, EndpointSlices and pods, and keeps the kernel as the rule set says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.network.proxy.book import RuleBook
from sampan.network.proxy.conntrack import Flows, stale_flows
from sampan.network.proxy.endpoints import SERVICE_NAME_LABEL
from sampan.network.proxy.health import HealthChecks
from sampan.network.proxy.kernel import Kernel
from sampan.network.proxy.nft import table
from sampan.network.proxy.rules import NodeFacts, RuleSet
from sampan.network.proxy.table import Table, increment, refreshment, replacement, script
from sampan.schema import api

if TYPE_CHECKING:
    from sampan.client.informer import Informer

# The first change is applied at once; those that follow within this time are applied together.
COALESCE_S: Final = 0.03
# Somebody may have flushed the rules behind our back (a firewall's reload): put them back.
RESYNC_S: Final = 600.0
RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 30.0
# Each takes one call of conntrack; a change that needs more than this is followed only so far.
FORGET_MOST: Final = 256

_FORWARDING: Final = "net/ipv4/ip_forward"
_FORWARDING_V6: Final = "net/ipv6/conf/all/forwarding"
_LOOPBACK: Final = "net/ipv4/conf/all/route_localnet"
_BRIDGED: Final = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")

_ZONE: Final = "topology.kubernetes.io/zone"
_BY_SERVICE: Final = "service"

_log = logging.getLogger(__name__)


class ServiceProxy:
    """Carries out services, and host ports of pods, on one node until cancelled.

    `services`, `slices` and `pods` are run by whoever made them. `pods` are those of this machine, in one
    informer for each of its nodes: a pod elsewhere has its host ports elsewhere. `nodes`, where it is given,
    tells the node's zone, which topology hints go by. `table_name` is the nftables
    table (inet family): one for each cluster on the machine. `cleanup` removes every trace.
    """

    def __init__(
        self,
        services: Informer[api.Service],
        slices: Informer[api.EndpointSlice],
        node: NodeFacts,
        kernel: Kernel,
        clock: Clock,
        *,
        pods: Sequence[Informer[api.Pod]] = (),
        nodes: Informer[api.Node] | None = None,
        table_name: str = "sampan",
        health_host: str = "",
    ) -> None:
        self.applied: RuleSet | None = None
        self._services = services
        self._slices = slices
        self._pods = tuple(pods)
        self._node = node
        self._book = RuleBook(node)
        self._kernel = kernel
        self._clock = clock
        self._table_name = table_name
        self._checks = HealthChecks(health_host)
        self._in_kernel: Table | None = None
        self._is_doubtful = False
        self._dirty: set[tuple[str, str]] = set()
        self._changed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._is_settled = False
        # Syncs, counted: the last one that began, and the last one that is in the kernel.
        self._begun = self._carried_out = 0
        self._former_settings: dict[str, str] = {}
        self._routes: list[str] = []
        slices.cache.add_index(_BY_SERVICE, _owners)
        services.on_change(lambda old, new: self._mark(_key(new or old)))
        slices.on_change(lambda old, new: self._mark(*(_owner(item) for item in (old, new) if item)))
        for informer in self._pods:
            informer.on_change(self._pod_changed)
        if nodes is not None:
            nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Apply everything, then every change. Raises SampanError where the node cannot forward at all."""
        self._prepare()
        await self._open_routes()
        await self._services.synced()
        await self._slices.synced()
        for informer in self._pods:
            await informer.synced()
        self._changed.set()
        resync = asyncio.create_task(self._resync(), name="service proxy resync")
        try:
            await self._follow()
        finally:
            resync.cancel()
            await self._checks.close()

    async def settled(self) -> None:
        """Return once every change seen so far is in the kernel."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._is_settled and not self._changed.is_set())

    async def lead_to(self, pod: api.Pod) -> None:
        """Return once the pod's host ports lead to the addresses in its status, ahead of the API's word."""
        if self._book.put_ahead(_key(pod), pod):
            self._changed.set()
        if self._is_settled and not self._changed.is_set():
            return
        # The next one that begins has it. Where services change all the time, all of them never are in place.
        needed = self._begun + 1
        async with self._settled:
            await self._settled.wait_for(lambda: self._carried_out >= needed)

    def doubt(self) -> None:
        """Write everything again soon: somebody else may have changed the kernel's rules."""
        self._is_doubtful = True
        self._changed.set()

    async def cleanup(self) -> None:
        """Remove the table and put settings back. Raises SampanError."""
        # Settings first: without the table's guard the loopback addresses would be open to neighbours.
        for name, value in self._former_settings.items():
            self._kernel.change_setting(name, value)
        self._former_settings.clear()
        while self._routes:
            await self._kernel.change_route("del", self._routes.pop())
        words = f"table inet {self._table_name}"
        await self._kernel.apply(f"add {words}\ndelete {words}\n")
        self._in_kernel, self.applied = None, None

    async def _follow(self) -> None:
        retry_s = RETRY_FIRST_S
        while True:
            await self._changed.wait()
            try:
                await self._sync()
                retry_s = RETRY_FIRST_S
                await self._clock.sleep(COALESCE_S)
            except SampanError as error:
                _log.error("services are not up to date, tried again in %.1f s: %s", retry_s, error)
                self._changed.set()
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_MOST_S)

    async def _sync(self) -> None:
        self._is_settled = False
        self._changed.clear()
        self._begun += 1
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            slices = self._slices.cache.by_index(_BY_SERVICE, "/".join(key))
            self._book.put(key, self._services.cache.get(*key), slices)
        rules = self._book.rules()
        wanted = table(rules, self._table_name)
        await self._to_kernel(wanted)
        before, self.applied = self.applied or RuleSet(rules.node), rules
        self._open_loopback()
        await self._forget(stale_flows(before, rules))
        await self._checks.replace(rules.health_checks)
        async with self._settled:
            self._is_settled, self._carried_out = True, self._begun
            self._settled.notify_all()

    async def _to_kernel(self, wanted: Table) -> None:
        known, self._in_kernel = self._in_kernel, None
        if known is not None:
            try:
                await self._apply(script(wanted.name, increment(known, wanted)))
                if self._is_doubtful:
                    await self._apply(script(wanted.name, refreshment(wanted)))
                self._in_kernel, self._is_doubtful = wanted, False
                return
            except SampanError as error:
                # Somebody else changed the table, or an old kernel cannot do it in one transaction.
                _log.warning("the table %s is written anew: %s", wanted.name, error)
        await self._apply(script(wanted.name, replacement(wanted)))
        self._in_kernel, self._is_doubtful = wanted, False

    async def _apply(self, text: str) -> None:
        if text:
            await self._kernel.apply(text)

    async def _forget(self, flows: tuple[Flows, ...]) -> None:
        if len(flows) > FORGET_MOST:
            _log.warning("%d UDP flows may be stale, the first %d are forgotten", len(flows), FORGET_MOST)
        for flow in flows[:FORGET_MOST]:
            try:
                await self._kernel.forget_flows(flow.arguments())
            except SampanError as error:
                _log.warning("clients of a UDP service may keep an endpoint that is gone: %s", error)
                return

    async def _resync(self) -> None:
        while True:
            await self._clock.sleep(RESYNC_S)
            self._book.forget_ahead()
            self.doubt()

    def _pod_changed(self, old: api.Pod | None, new: api.Pod | None) -> None:
        # Most changes of a pod are none of its host ports, and then cost nothing further.
        if self._book.put_pod(_key(new or old), new):
            self._changed.set()

    def _node_changed(self, _old: api.Node | None, new: api.Node | None) -> None:
        zone = new.metadata.labels.get(_ZONE, "") if new is not None else self._node.zone
        if new is None or new.metadata.name != self._node.name or zone == self._node.zone:
            return
        self._node = msgspec.structs.replace(self._node, zone=zone)
        self._book.is_on(self._node)
        self._mark(*map(_key, self._services.cache.items()))

    def _mark(self, *keys: tuple[str, str]) -> None:
        self._dirty.update(keys)
        self._changed.set()

    def _prepare(self) -> None:
        """Settings without which no packet is forwarded. They stay: other programs rely on them too."""
        # Forwarding makes a host ignore IPv6 router advertisements: only where pods have IPv6 addresses.
        wide = any(":" in cidr for cidr in self._node.pod_cidrs)
        for name in (_FORWARDING, *((_FORWARDING_V6,) if wide else ()), *_BRIDGED):
            if self._kernel.setting(name) == "0":
                try:
                    self._kernel.change_setting(name, "1")
                except SampanError as error:
                    if name == _FORWARDING:
                        raise
                    _log.warning("%s", error)

    async def _open_routes(self) -> None:
        """A host without a default route refuses to send to cluster IPs before netfilter sees the packet."""
        for cidr in self._node.service_cidrs:
            try:
                if not await self._kernel.has_route(cidr):
                    await self._kernel.change_route("add", cidr)
                    self._routes.append(cidr)
            except SampanError as error:
                _log.warning("processes of this node may not reach cluster IPs: %s", error)

    def _open_loopback(self) -> None:
        """Let answers to 127.0.0.1 come back from pods; only with the table's guard in place."""
        if self._kernel.setting(_LOOPBACK) == "0":
            try:
                self._kernel.change_setting(_LOOPBACK, "1")
                self._former_settings[_LOOPBACK] = "0"
            except SampanError as error:
                _log.warning("node ports do not answer on 127.0.0.1: %s", error)


def bridge_netfilter(kernel: Kernel) -> bool:
    """Whether netfilter sees (or can be made to see) what bridges pass on: NodeFacts.bridge_netfilter."""
    return kernel.setting(_BRIDGED[0]) is not None


def _key(item: Any) -> tuple[str, str]:
    return item.metadata.namespace or "", item.metadata.name or ""


def _owner(item: api.EndpointSlice) -> tuple[str, str]:
    return item.metadata.namespace or "", item.metadata.labels.get(SERVICE_NAME_LABEL, "")


def _owners(item: api.EndpointSlice) -> tuple[str, ...]:
    return ("/".join(_owner(item)),)
