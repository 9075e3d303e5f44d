"""A node's process: its runtime, the agent and its server, and on the machine's first node the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from sampan.base.clock import Clock, SystemClock
from sampan.client.client import Client
from sampan.client.events import Recorder
from sampan.client.informer import Informer
from sampan.cluster.config import DOMAIN, Layout, Settings
from sampan.cluster.parts.clients import client_of
from sampan.cluster.parts.ports import free_port
from sampan.cluster.parts.process import (
    EVENTS_DELAY_S,
    run_until_told_to_stop,
    set_up_logging,
    until_listening,
)
from sampan.cluster.tls import server_context
from sampan.network.proxy.rules import NodeFacts
from sampan.node.agent import Agent
from sampan.node.config import EVICTION_HARD, KUBELET_PORT, AgentConfig
from sampan.node.host_ports import HostPorts
from sampan.node.images import builtin
from sampan.node.pressure.plan import written
from sampan.node.runtimes.runtime import Runtime
from sampan.node.streaming.server import StreamServer
from sampan.schema import api

if TYPE_CHECKING:
    from sampan.network.proxy.shell import ServiceProxy
    from sampan.network.proxy.userspace import UserspaceProxy

# About what a container takes to start.
STATUS_HOLD_S: Final = 0.3

# What keeps a runtime going, next to the agent that uses it.
Upkeep = tuple[Coroutine[Any, Any, None], ...]


async def run(layout: Layout, settings: Settings, name: str) -> None:
    """Run the node until cancelled. Containers go on without it."""
    clock = SystemClock()
    number = settings.node_names().index(name)
    runtime, upkeep = await _runtime(layout, settings, number, clock)
    await until_listening("127.0.0.1", settings.port)
    async with (
        _client(layout, settings, name) as client,
        _client(layout, settings, "kube-proxy") as proxy_client,
    ):
        recorder = Recorder(client, clock, "kubelet", name, delay_s=EVENTS_DELAY_S)
        address = settings.node_ip(number)
        port = free_port(address, KUBELET_PORT)
        config = agent_config(layout, settings, number, port=port)
        # The machine's first node has its proxy, which may see more than a node: it has a name of its own.
        proxy = Proxy(proxy_client, settings, clock) if number == 0 else None
        agent = Agent(
            client,
            runtime,
            config,
            clock,
            record=recorder.event,
            host_ports=proxy.host_ports if proxy is not None else None,
        )
        tls = server_context(layout.authority, layout.pki, f"{name}-server")
        await StreamServer(agent, clock, tls, node_name=name).start(address, port)
        async with asyncio.TaskGroup() as tasks:
            for work in upkeep:
                tasks.create_task(work)
            tasks.create_task(recorder.run())
            tasks.create_task(agent.run())
            if proxy is not None:
                tasks.create_task(proxy.run())


@contextlib.asynccontextmanager
async def _client(layout: Layout, settings: Settings, name: str) -> AsyncIterator[Client]:
    client = client_of(layout, settings, name, agent="kube-proxy" if name == "kube-proxy" else "kubelet")
    try:
        yield client
    finally:
        await client.close()


async def _runtime(layout: Layout, settings: Settings, number: int, clock: Clock) -> tuple[Runtime, Upkeep]:
    if settings.runtime == "process":
        from sampan.node.runtimes.process.runtime import ProcessRuntime

        return ProcessRuntime(layout.processes(settings.node_names()[number]), clock=clock), ()
    return await _containerd(layout, settings, number, clock)


async def _containerd(
    layout: Layout, settings: Settings, number: int, clock: Clock
) -> tuple[Runtime, Upkeep]:
    from sampan.cluster.parts import containerd
    from sampan.node.containerd.process import ContainerdProcess
    from sampan.node.runtimes.cri.runtime import CriRuntime

    process = ContainerdProcess(containerd.config_of(layout, settings, number), clock=clock)
    await process.start()
    socket_path = process.socket_path
    runtime = CriRuntime(socket_path, clock=clock, cgroup_parent=containerd.cgroup_parent(settings, number))
    # Pods of the system start at once and never pull: what they run from must be there before them.
    pause, system, *others = containerd.BUILTIN
    for image in (pause, system):
        await containerd.ensure_image(layout, runtime, socket_path, image)
    imports = [containerd.ensure_image(layout, runtime, socket_path, image) for image in others]
    return runtime, (process.watch(), *imports)


def agent_config(layout: Layout, settings: Settings, number: int, *, port: int) -> AgentConfig:
    """The agent's settings; `port` is where its own server listens."""
    name = settings.node_names()[number]
    root = layout.node(name)
    return AgentConfig(
        node_name=name,
        node_ips=(settings.node_ip(number),),
        root_dir=str(root),
        log_dir=str(root / "logs"),
        cluster_dns=(settings.dns_ip,),
        cluster_domain=DOMAIN,
        kubelet_port=port,
        status_hold_s=STATUS_HOLD_S,
        kubelet_version=f"v{settings.kubernetes_version}.0+sampan",
        eviction_hard=EVICTION_HARD | written(settings.eviction_hard),
        pinned_images=(builtin.PAUSE, builtin.PYTHON_HOST, builtin.BUSYBOX),
    )


def pool_networks(pool: Iterable[str]) -> Iterator[str]:
    """The networks that make up a pool of CIDRs, ranges and addresses."""
    for part in pool:
        low, dash, high = (piece.strip() for piece in part.partition("-"))
        if dash:
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            yield from map(str, ipaddress.summarize_address_range(first, last))
        else:
            yield str(ipaddress.ip_network(low, strict=False))


class Proxy:
    """Carries out Services: in the kernel, or node ports alone where pods are processes.

    `host_ports` carries out those of the machine's pods; None where pods have the host's own ports.
    """

    def __init__(self, client: Client, settings: Settings, clock: Clock) -> None:
        services = Informer(client, api.Service, clock)
        slices = Informer(client, api.EndpointSlice, clock)
        facts = NodeFacts(
            name=settings.node_names()[0],
            pod_cidrs=tuple(settings.pod_subnet(number) for number in range(settings.nodes)),
            cluster_cidrs=(settings.pod_range,),
            service_cidrs=(settings.service_range, *pool_networks(settings.load_balancer_pool)),
            beside=settings.node_names()[1:],
        )
        self._informers: list[Informer[Any]] = [services, slices]
        self._work: ServiceProxy | UserspaceProxy
        self.host_ports: HostPorts | None = None
        if settings.runtime == "process":
            from sampan.network.proxy.userspace import UserspaceProxy

            self._work = UserspaceProxy(services, slices, facts, clock)
            return
        from sampan.network.proxy.kernel import LinuxKernel
        from sampan.network.proxy.shell import ServiceProxy

        # Host ports of every node of this machine: this is its only proxy.
        pods = [Informer(client, api.Pod, clock, fields=f"spec.nodeName={n}") for n in settings.node_names()]
        nodes = Informer(client, api.Node, clock, fields=f"metadata.name={facts.name}")
        self._informers += [*pods, nodes]
        self._work = self.host_ports = ServiceProxy(
            services,
            slices,
            facts,
            LinuxKernel(),
            clock,
            pods=pods,
            nodes=nodes,
            table_name=f"sampan-{settings.id}",
        )

    async def run(self) -> None:
        """Watch and carry out until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers:
                tasks.create_task(informer.run())
            tasks.create_task(self._work.run())


def main(layout: Layout, settings: Settings, name: str) -> None:
    import uvloop

    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_told_to_stop(run(layout, settings, name)))
