"""The manager process: controllers, scheduler and system objects, over one set of informers."""

from __future__ import annotations

import asyncio
import logging

from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.client.informer import SharedInformers
from sampan.cluster import addons
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts.clients import client_of
from sampan.cluster.parts.process import run_until_told_to_stop, set_up_logging, until_listening
from sampan.controllers.catalog import Settings as ControllerSettings
from sampan.controllers.catalog import controllers
from sampan.controllers.loadbalancer import Options
from sampan.controllers.runtime.manager import Manager
from sampan.node.config import KUBELET_PORT
from sampan.scheduler.shell import Scheduler

_log = logging.getLogger(__name__)


async def run(layout: Layout, settings: Settings) -> None:
    """Run until cancelled."""
    await until_listening("127.0.0.1", settings.port)
    clock = SystemClock()
    client = client_of(layout, settings, "controller-manager")
    binder = client_of(layout, settings, "scheduler")
    informers = SharedInformers(client, clock)
    # Host processes have no addresses that a balancer could lead to.
    balancing = Options(pool=settings.load_balancer_pool, reserved=frozenset({settings.port, KUBELET_PORT}))
    chosen = controllers(
        ControllerSettings(
            ca_bundle=layout.authority.read_text(),
            load_balancers=None if settings.runtime == "process" else balancing,
        )
    )
    manager = Manager(client, clock, chosen, informers=informers)
    scheduler = Scheduler(binder, informers, clock, RandomIds())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informers.run())
            tasks.create_task(manager.run())
            tasks.create_task(scheduler.run())
            tasks.create_task(addons.ensure(client, settings))
    finally:
        await client.close()
        await binder.close()


def main(layout: Layout, settings: Settings) -> None:
    import uvloop

    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_told_to_stop(run(layout, settings)))
