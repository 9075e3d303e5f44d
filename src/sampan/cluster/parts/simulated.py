"""All simulated nodes, in one process."""

from __future__ import annotations

import asyncio
from typing import Final

from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.client.events import Recorder
from sampan.cluster import credentials
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts.clients import client_of
from sampan.cluster.parts.ports import free_port
from sampan.cluster.parts.process import run_until_told_to_stop, set_up_logging, until_listening
from sampan.cluster.tls import server_context
from sampan.node.config import KUBELET_PORT
from sampan.node.simulated_fleet import SimulatedNodes
from sampan.node.streaming.server import StreamServer

# Where one server answers for all of them.
ADDRESS: Final = "127.0.0.1"


async def run(layout: Layout, settings: Settings) -> None:
    """Simulate the nodes until cancelled."""
    clock = SystemClock()
    await until_listening("127.0.0.1", settings.port)
    client = client_of(layout, settings, "admin")
    recorder = Recorder(client, clock, "kubelet")
    port = free_port(ADDRESS, KUBELET_PORT)
    nodes = SimulatedNodes(
        client, clock, RandomIds(), settings.nodes, record=recorder.event, kubelet_port=port
    )
    tls = server_context(layout.authority, layout.pki, f"{credentials.SIMULATED}-server")
    await StreamServer(nodes, clock, tls).start(ADDRESS, port)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        tasks.create_task(nodes.run())


def main(layout: Layout, settings: Settings) -> None:
    import uvloop

    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_told_to_stop(run(layout, settings)))
