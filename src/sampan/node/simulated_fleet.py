"""Thousands of nodes in one process: one watch, one simulated runtime, one task that renews all leases."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from sampan.base.clock import Clock
from sampan.base.ids import Ids
from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError, is_already_exists
from sampan.client.informer import Informer, SharedInformers
from sampan.kinds import localpath
from sampan.node import handles
from sampan.node.admission import NodeView, admit
from sampan.node.config import KUBELET_PORT, LEASE_DURATION_S, LEASE_RENEW_S, MAX_PODS, AgentConfig
from sampan.node.handles import ContainerHandle
from sampan.node.model import NodeFacts, Trouble
from sampan.node.node_info import MachineInfo, capacity_units
from sampan.node.node_objects import LEASE_NAMESPACE, new_node, node_labels, node_status
from sampan.node.node_status import renew_lease, renewal
from sampan.node.pods import PodHost, Record, no_record
from sampan.node.runtimes.simulated import SimulatedRuntime
from sampan.node.volumes.localpath import LocalPathKeeper
from sampan.schema import api, codec

# Where volumes would be, were there a disk.
LOCAL_PATHS: Final = "/var/lib/sampan/simulated"
REGISTERING_AT_ONCE: Final = 64
RENEWING_AT_ONCE: Final = 64
STATUS_WRITERS: Final = 64
# A pod that starts or ends at once has done so within so many turns of the event loop.
STATUS_TURNS: Final = 8
RETRY_S: Final = 0.5
# From so many lease renewals a second on, nodes renew later than asked: at most after this part of the time
# for which a lease is good.
RENEWALS_PER_S_MOST: Final = 200
LATEST_RENEWAL: Final = 0.4
NODE_NETWORK: Final = ipaddress.ip_network("172.16.0.0/12")
# Where the addresses of nodes begin that are added later.
ADDED_FROM: Final = 1 << 16
CAPACITY: Final[Mapping[str, str]] = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi"}

_log = logging.getLogger(__name__)


def renewal_period_s(count: int, asked_s: float) -> float:
    """How often each of `count` nodes renews its lease, where it is asked to do so every `asked_s`.

    Many nodes renew less often, so that idle ones cost little, but never so late that one renewal that fails
    makes a node silent.
    """
    latest_s = max(LEASE_DURATION_S * LATEST_RENEWAL, asked_s)
    return min(max(asked_s, count / RENEWALS_PER_S_MOST), latest_s)


class SimulatedNodes:
    """`count` nodes named `<prefix>1`… whose pods run in a `SimulatedRuntime`.

    Every node has the same capacity, `labels` and `taints`; `configs` has each one's settings by name.
    The runtime is shared: pods are told apart by their uid. Where the process has `informers` of its own,
    the pods are theirs, and are read once for all.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        ids: Ids,
        count: int = 1,
        *,
        prefix: str = "node-",
        capacity: Mapping[str, str] = CAPACITY,
        max_pods: int = MAX_PODS,
        labels: Mapping[str, str] | None = None,
        taints: tuple[str, ...] = (),
        pod_cidr: str = "10.128.0.0/9",
        lease_renew_s: float = LEASE_RENEW_S,
        kubelet_port: int = KUBELET_PORT,
        runtime: SimulatedRuntime | None = None,
        record: Record = no_record,
        informers: SharedInformers | None = None,
    ) -> None:
        self.runtime = runtime or SimulatedRuntime(clock, ids, pod_cidr=pod_cidr)
        self.configs: dict[str, AgentConfig] = {}
        self._client = client
        self._clock = clock
        self._machine = MachineInfo(os_image="Simulated", kernel_version="simulated")
        self._lease_renew_s = renewal_period_s(count, lease_renew_s)
        self._facts: dict[str, NodeFacts] = {}
        self._views: dict[str, NodeView] = {}
        self._uids: dict[str, str] = {}
        self._leases: dict[str, api.Lease] = {}
        # When each node was last heard of, by the monotonic clock.
        self._heard_s: dict[str, float] = {}
        self._paused: set[str] = set()
        self._registered = asyncio.Event()
        base = AgentConfig(
            node_name="",
            node_ips=(),
            max_pods=max_pods,
            capacity=capacity,
            labels=labels or {},
            taints=taints,
            kubelet_port=kubelet_port,
        )
        self._base = base
        self._added = 0
        for index in range(1, count + 1):
            name = f"{prefix}{index}"
            marks = {localpath.NODE_DIRECTORY: f"{LOCAL_PATHS}/{name}"}
            address = str(NODE_NETWORK[index])
            self._add(replace(base, node_name=name, node_ips=(address,), annotations=marks))
        # Simulated pods write nothing, so there is nothing to remove but the finalizer.
        self._volumes = LocalPathKeeper(client, clock, dict.fromkeys(self.configs, ""), record=record)
        self._own_informer = informers is None
        self._pods: Informer[api.Pod] = (
            informers.of(api.Pod)
            if informers is not None
            else Informer(client, api.Pod, clock, fields="spec.nodeName!=")
        )
        self.host = PodHost(
            replace(
                base,
                concurrency=REGISTERING_AT_ONCE,
                sandboxes=REGISTERING_AT_ONCE,
                pulls=REGISTERING_AT_ONCE,
            ),
            self.runtime,
            client,
            clock,
            nodes=self._facts.get,
            admit=self._admit,
            record=record,
            writers=STATUS_WRITERS,
            status_turns=STATUS_TURNS,
        )

    @property
    def names(self) -> list[str]:
        return list(self.configs)

    async def registered(self) -> None:
        """Return once every node is in the API and Ready."""
        await self._registered.wait()

    async def run(self) -> None:
        """Register all nodes and run their pods; until cancelled."""
        tasks: list[asyncio.Task[None]] = []

        def begin(work: Coroutine[Any, Any, None]) -> None:
            tasks.append(asyncio.get_running_loop().create_task(work))

        try:
            await self.host.start()
            self._pods.on_change(self.host.pod_changed)
            if self._own_informer:
                begin(self._pods.run())
            begin(self.host.follow_exits())
            await self._register_all()
            self._registered.set()
            begin(self._keep_leases())
            begin(self._volumes.run())
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.host.close()
            await self.runtime.close()

    async def add(
        self,
        name: str,
        *,
        capacity: Mapping[str, str],
        labels: Mapping[str, str],
        taints: tuple[str, ...] = (),
    ) -> None:
        """Add a node while the others run; returns once it is in the API and Ready."""
        self._added += 1
        config = replace(
            self._base,
            node_name=name,
            node_ips=(str(NODE_NETWORK[ADDED_FROM + self._added]),),
            capacity={**CAPACITY, **{key: text for key, text in capacity.items() if key != "pods"}},
            max_pods=int(capacity.get("pods", MAX_PODS)),
            labels=labels,
            taints=taints,
            annotations={localpath.NODE_DIRECTORY: f"{LOCAL_PATHS}/{name}"},
        )
        self._add(config)
        await self._register(config)

    def remove(self, name: str) -> None:
        """Run a node no longer; its object in the API is left to the caller."""
        for kept in (self.configs, self._facts, self._views, self._leases, self._uids, self._heard_s):
            kept.pop(name, None)

    def pause(self, name: str) -> None:
        """A fault for tests: the node renews its lease no more, as if its machine were cut off."""
        self._paused.add(name)

    def resume(self, name: str) -> None:
        self._paused.discard(name)

    def pods(self) -> list[api.Pod]:
        """The pods of all nodes, with the status that was last computed for them."""
        return handles.pods(self.host)

    def find_container(self, namespace: str, pod: str, container: str) -> ContainerHandle | None:
        """The container of that name; None where there is none. Logs are in the runtime, not in files."""
        return handles.find_container(self.host, "", namespace, pod, container)

    def find_sandbox(self, namespace: str, pod: str) -> str:
        """The pod's ready sandbox; empty where there is none."""
        return handles.find_sandbox(self.host, namespace, pod)

    def _add(self, config: AgentConfig) -> None:
        name = config.node_name
        units = capacity_units(config, self._machine, allocatable=True)
        self.configs[name] = config
        self._facts[name] = NodeFacts(
            name=name,
            ips=config.node_ips,
            runtime=self.runtime.name,
            allocatable_cpu_milli=units["cpu"],
            allocatable_memory_bytes=units["memory"],
        )
        labels = node_labels(config, self._machine)
        self._views[name] = NodeView(name=name, labels=labels, allocatable=units, trusts_extended=True)

    def _admit(self, pod: api.Pod, others: Iterable[api.Pod]) -> Trouble | None:
        # Labels and extended resources that somebody gave the node later are the scheduler's word.
        view = self._views[pod.spec.nodeName or ""]
        bare = replace(pod, spec=replace(pod.spec, nodeSelector={}, affinity=None))
        return admit(bare, others, view)

    async def _register_all(self) -> None:
        waiting = iter(list(self.configs.values()))

        async def work() -> None:
            for config in waiting:
                await self._register(config)

        await asyncio.gather(*(work() for _ in range(min(REGISTERING_AT_ONCE, len(self.configs)))))

    async def _register(self, config: AgentConfig) -> None:
        while True:
            try:
                await self._register_once(config)
                return
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("node %s could not be registered yet: %s", config.node_name, error)
                await self._clock.sleep(RETRY_S)

    async def _register_once(self, config: AgentConfig) -> None:
        name = config.node_name
        status = node_status(
            config,
            self._machine,
            runtime_version=await self.runtime.version(),
            runtime_error="",
            images=(),
            pressures=frozenset(),
            before=(),
            now=self._clock.now(),
        )
        try:
            node = await self._client.create(new_node(config, self._machine, status))
        except ApiError as error:
            if not is_already_exists(error):
                raise
            node = await self._client.get(api.Node, name)
        if not any(c.type == "Ready" and c.status == "True" for c in node.status.conditions):
            patch = {"status": codec.to_builtins(status)}
            await self._client.patch(api.Node, name, "", patch, patch_type=STRATEGIC, subresource="status")
        self._uids[name] = node.metadata.uid or ""
        self._heard_s[name] = self._clock.monotonic_s()
        await self._renew(name)

    async def _keep_leases(self) -> None:
        """Renew every lease once a period, spread evenly over it.

        Those that are due about now are renewed side by side: one after the other, each of them would be
        several turns of the event loop, and a wake-up of everybody who watches.
        """
        while True:
            begun_s = self._clock.monotonic_s()
            names = list(self.configs)
            pace_s = self._lease_renew_s / max(len(names), 1)
            due: list[str] = []
            for index, name in enumerate(names):
                due.append(name)
                if len(due) == RENEWING_AT_ONCE:
                    await self._keep_all(due)
                    due = []
                # One sleep for each hundredth of the period is even enough, and cheap.
                if pace_s * (index + 1) > self._clock.monotonic_s() - begun_s + self._lease_renew_s / 100:
                    await self._keep_all(due)
                    due = []
                    await self._clock.sleep(self._lease_renew_s / 100)
            await self._keep_all(due)
            left_s = begun_s + self._lease_renew_s - self._clock.monotonic_s()
            await self._clock.sleep(max(left_s, 0.0))

    async def _keep_all(self, names: list[str]) -> None:
        wanted = [name for name in names if name not in self._paused and name in self.configs]
        left = await self._renew_together(wanted) if self._client.changes_in_place else wanted
        await asyncio.gather(*(self._keep(name) for name in left))

    async def _renew_together(self, names: list[str]) -> list[str]:
        """Renew the leases that nothing is the matter with; gives the names of the other nodes."""
        now_s = self._clock.monotonic_s()
        left: list[str] = []
        usual: list[str] = []
        for name in names:
            silent_s = now_s - self._heard_s.get(name, 0.0)
            well = name in self._leases and silent_s <= self.configs[name].lease_duration_s
            (usual if well else left).append(name)
        now = self._clock.now()
        wanted = [
            (name, LEASE_NAMESPACE, renewal(self._uids.get(name, ""), self._base.lease_duration_s, now))
            for name in usual
        ]
        refusals: Sequence[Exception | None] | None
        try:
            refusals = await self._client.change_all(api.Lease, wanted)
        except (ApiError, OSError, TimeoutError) as error:
            refusals = [error] * len(usual)
        if refusals is None:
            return names
        for name, refused in zip(usual, refusals, strict=True):
            if refused is not None:
                left.append(name)  # by itself it is read, or made anew
            elif name in self.configs:
                self._heard_s[name] = now_s
        return left

    async def _keep(self, name: str) -> None:
        """Renew a node's lease; one that was silent for longer than that holds says anew that it is ready."""
        config = self.configs.get(name)
        if config is None:
            return  # removed since its turn was planned
        silent_s = self._clock.monotonic_s() - self._heard_s.get(name, 0.0)
        if silent_s > config.lease_duration_s:
            await self._register(config)
        else:
            self._heard_s[name] = self._clock.monotonic_s()
            await self._renew(name)

    async def _renew(self, name: str) -> None:
        config = self.configs.get(name)
        if config is None:
            return
        try:
            self._leases[name] = await renew_lease(
                self._client,
                name,
                self._uids.get(name, ""),
                config.lease_duration_s,
                self._clock,
                self._leases.get(name),
            )
        except (ApiError, OSError, TimeoutError) as error:
            _log.warning("the lease of node %s was not renewed: %s", name, error)
            self._leases.pop(name, None)
