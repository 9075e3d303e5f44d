"""The node agent: kubelet's part in one process. Informers in, a `PodHost` at work, node status out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.informer import Informer
from sampan.node import handles
from sampan.node.admission import NodeView, admit
from sampan.node.config import AgentConfig
from sampan.node.drivers.node import Drivers
from sampan.node.files import NoFiles, PodFiles
from sampan.node.handles import ContainerHandle
from sampan.node.host_ports import HostPorts
from sampan.node.model import NodeFacts, Trouble
from sampan.node.node_info import MachineInfo, capacity_units, read_machine
from sampan.node.node_status import NodeReporter
from sampan.node.pods import PodHost, Record, no_record
from sampan.node.runtimes.runtime import Runtime
from sampan.node.upkeep.work import Upkeep
from sampan.node.volumes.localpath import LocalPathKeeper
from sampan.node.volumes.manager import VolumeManager
from sampan.schema import api


class Agent:
    """One node. `run` registers it and runs its pods until cancelled; pods outlive the agent."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        config: AgentConfig,
        clock: Clock,
        *,
        record: Record = no_record,
        machine: MachineInfo | None = None,
        files: PodFiles | None = None,
        host_ports: HostPorts | None = None,
    ) -> None:
        self.config = config
        self.runtime = runtime
        self._clock = clock
        self._machine = machine or read_machine()
        self._pods_informer = Informer(client, api.Pod, clock, fields=f"spec.nodeName={config.node_name}")
        self._services = Informer(client, api.Service, clock)
        self._node_informer = Informer(client, api.Node, clock, fields=f"metadata.name={config.node_name}")
        self.reporter = NodeReporter(
            client,
            runtime,
            config,
            clock,
            self._machine,
            pressures=self._pressures,
            offered=self._offered,
            in_use=self._in_use,
            seen=lambda: self._node_informer.cache.get("", config.node_name),
        )
        self._drivers = (
            Drivers(client, clock, config, self.reporter.look, lambda pods: self.host.devices_changed(pods))
            if config.root_dir
            else None
        )
        if files is None:
            csi = self._drivers.csi if self._drivers is not None else None
            files = VolumeManager(client, clock, config, csi=csi) if config.root_dir else NoFiles()
        self._files = files
        self._record = record
        self._facts: NodeFacts | None = None
        self._volumes = LocalPathKeeper(
            client, clock, {config.node_name: config.local_path_dir}, record=record
        )
        self.host = PodHost(
            config,
            runtime,
            client,
            clock,
            nodes=self._node_facts,
            admit=self._admit,
            files=files,
            resources=self._drivers,
            host_ports=host_ports,
            services=self._services.cache.items,
            record=record,
        )

        # A node without files has no disk to keep, and no machine of its own.
        self._upkeep = (
            Upkeep(self.host.workers, runtime, config, clock, record, self.reporter.look)
            if config.root_dir
            else None
        )

    async def run(self) -> None:
        """Register, find what runs, then follow the API and the runtime; until cancelled."""
        tasks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()

        def begin(work: Coroutine[Any, Any, None]) -> None:
            tasks.append(loop.create_task(work))

        try:
            begin(self.reporter.run())
            begin(self._services.run())
            begin(self._node_informer.run())
            await self.host.start()
            self._pods_informer.on_change(self.host.pod_changed)
            # Pods start only when what their environment needs is known.
            await self._services.synced()
            await self.reporter.registered()
            begin(self._pods_informer.run())
            await self._pods_informer.synced()
            self.host.remove_orphans()
            begin(self.host.follow_exits())
            begin(self.host.relist())
            for work in self._upkeep.work() if self._upkeep is not None else ():
                begin(work)
            begin(self._volumes.run())
            if isinstance(self._files, VolumeManager):
                begin(self._files.run(self.host.pods))
            if self._drivers is not None:
                for work in self._drivers.work(self.host.pods):
                    begin(work)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.host.close()

    def pods(self) -> list[api.Pod]:
        """The pods of this node, with the status that the agent last computed for them."""
        return handles.pods(self.host)

    def find_container(self, namespace: str, pod: str, container: str) -> ContainerHandle | None:
        """The container of that name (the first one for an empty name); None where there is none."""
        return handles.find_container(self.host, self.config.log_dir, namespace, pod, container)

    def find_sandbox(self, namespace: str, pod: str) -> str:
        """The pod's ready sandbox, for port forwarding; empty where there is none."""
        return handles.find_sandbox(self.host, namespace, pod)

    def _pressures(self) -> frozenset[str]:
        return self._upkeep.pressure.conditions() if self._upkeep is not None else frozenset()

    def _in_use(self) -> Sequence[str]:
        return self._drivers.csi.in_use() if self._drivers is not None else ()

    def _offered(self) -> Mapping[str, tuple[int, int]]:
        return self._drivers.amounts() if self._drivers is not None else {}

    def _node_facts(self, name: str) -> NodeFacts | None:
        if name not in ("", self.config.node_name):
            return None
        if self._facts is None:
            units = capacity_units(self.config, self._machine, allocatable=True)
            self._facts = NodeFacts(
                name=self.config.node_name,
                ips=self.config.node_ips,
                runtime=self.runtime.name,
                allocatable_cpu_milli=units.get("cpu", 0),
                allocatable_memory_bytes=units.get("memory", 0),
            )
        return self._facts

    def _admit(self, pod: api.Pod, others: Iterable[api.Pod]) -> Trouble | None:
        refusal = self._upkeep.pressure.refusal(pod) if self._upkeep is not None else None
        if refusal is not None:
            return refusal
        node = self._node_informer.cache.get("", self.config.node_name) or self.reporter.node
        labels = node.metadata.labels if node is not None else dict(self.config.labels)
        units = capacity_units(self.config, self._machine, allocatable=True)
        if node is not None:
            for name, amount in node.status.allocatable.items():
                units.setdefault(name, amount.milli() if name == "cpu" else amount.whole())
        return admit(pod, others, NodeView(name=self.config.node_name, labels=labels, allocatable=units))
