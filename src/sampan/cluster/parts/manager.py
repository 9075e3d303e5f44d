"""The manager process: controllers, scheduler and system objects, over one set of informers."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Final

from sampan.autoscaler.vertical.recommender import Recommender
from sampan.base.clock import SystemClock
from sampan.base.ids import RandomIds
from sampan.client.client import Client
from sampan.client.informer import SharedInformers
from sampan.client.leases import Elector
from sampan.cluster import addons, scheduling, userfiles
from sampan.cluster.config import Layout, Settings
from sampan.cluster.parts import metrics as resource_metrics
from sampan.cluster.parts.clients import client_of
from sampan.cluster.parts.explanations import Explanations
from sampan.cluster.parts.manager_metrics import ManagerMetricsServer
from sampan.cluster.parts.process import (
    EVENTS_DELAY_S,
    run_until_told_to_stop,
    set_up_logging,
    until_listening,
)
from sampan.controllers import flags
from sampan.controllers.catalog import Settings as ControllerSettings
from sampan.controllers.catalog import controllers
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.loadbalancer import Options
from sampan.controllers.nodeipam import Ranges
from sampan.controllers.runtime.manager import Manager
from sampan.kinds.groups import switched_on
from sampan.node.config import KUBELET_PORT
from sampan.scheduler.shell import Scheduler
from sampan.schema.definitions import NEWEST

# Whose holder runs the controllers and the scheduler; others stand by with their caches filled.
LEASE: Final = "kube-controller-manager"

_log = logging.getLogger(__name__)


async def run(layout: Layout, settings: Settings) -> None:
    """Run until cancelled."""
    await until_listening("127.0.0.1", settings.port)
    clock = SystemClock()
    client = client_of(layout, settings, "controller-manager")
    binder = client_of(layout, settings, "scheduler")
    # The name stays over restarts: the supervisor ends one process before it starts the next, which need not
    # wait for the lease of its predecessor to run out.
    elector = Elector(client, clock, f"{socket.gethostname()}_{settings.id}", LEASE)
    leader = Client(elector.fence(client.transport))
    informers = SharedInformers(client, clock)
    # Host processes have no addresses that a balancer could lead to.
    balancing = Options(pool=settings.load_balancer_pool, reserved=frozenset({settings.port, KUBELET_PORT}))
    authority = layout.authority.read_text()
    has_claims = settings.version >= (1, 34)
    chosen = controllers(
        flags.with_flags(
            ControllerSettings(
                ca_bundle=authority,
                authority=Authority(authority.encode(), (layout.pki / "ca.key").read_bytes()),
                token_key=(layout.pki / "sa.key").read_bytes(),
                # Older versions have no such kind, or another version of it.
                trust_bundle=authority if settings.kubernetes_version == NEWEST else "",
                kubernetes_version=settings.kubernetes_version,
                node_ranges=node_ranges(settings),
                load_balancers=None if settings.runtime == "process" else balancing,
            ),
            settings.controller_manager_args,
        )
    )
    manager = Manager(leader, clock, chosen, informers=informers)
    scheduler = Scheduler(
        Client(elector.fence(binder.transport)),
        informers,
        clock,
        RandomIds(),
        configuration=scheduling.chosen(settings.scheduler_config),
        device_claims=has_claims,
        pod_groups=bool(switched_on(settings.runtime_config, settings.version)),
        device_taint_rules=settings.version >= (1, 37),
        events_delay_s=EVENTS_DELAY_S,
    )

    async def lead() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(manager.run())
            tasks.create_task(scheduler.run())
            tasks.create_task(Recommender(leader, clock).run())
            if settings.autoscaler_config:
                from sampan.autoscaler.nodes import config, running

                path = Path(settings.autoscaler_config)
                groups = userfiles.load(path, "autoscaler configuration", config.parse)
                profiles, kinds = scheduler.profiles, scheduler.kinds
                tasks.create_task(running.scale(leader, informers, clock, groups, profiles, kinds))
            if settings.descheduler_config:
                from sampan.descheduler import policy
                from sampan.descheduler.running import Descheduler

                read = userfiles.load(Path(settings.descheduler_config), "descheduler policy", policy.parse)
                tasks.create_task(Descheduler(leader, clock, read, scheduler.profiles).run())

    metrics = ManagerMetricsServer(manager.metrics_text, layout.run)
    await metrics.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informers.run())
            tasks.create_task(elector.run(lead))
            tasks.create_task(addons.ensure(client, settings))
            told = Explanations(client, tuple(scheduler.profiles))
            tasks.create_task(resource_metrics.serve(layout, settings, client, informers, clock, told))
    finally:
        await metrics.close()
        await client.close()
        await binder.close()


def node_ranges(settings: Settings) -> Ranges | None:
    """What containerd's networks on the nodes were set up with; host processes have no such addresses."""
    if settings.runtime != "containerd":
        return None
    fixed = {name: (settings.pod_subnet(n),) for n, name in enumerate(settings.node_names())}
    return Ranges((settings.pod_range,), fixed=fixed)


def main(layout: Layout, settings: Settings) -> None:
    import uvloop

    set_up_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_told_to_stop(run(layout, settings)))
