"""Puts a node scaler together with its providers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from sampan.autoscaler.nodes.config import Config
from sampan.autoscaler.nodes.providers import Command, Provider, Simulated, SparePool
from sampan.autoscaler.nodes.scaler import NodeScaler
from sampan.base.clock import Clock
from sampan.base.ids import RandomIds
from sampan.client.client import Client
from sampan.client.informer import SharedInformers
from sampan.node.simulated_fleet import SimulatedNodes
from sampan.scheduler.profile import Profile

# Pods of simulated nodes that were added have addresses apart from those of the nodes that were there.
POD_CIDR: Final = "10.64.0.0/10"


async def scale(
    client: Client,
    informers: SharedInformers,
    clock: Clock,
    config: Config,
    profiles: Sequence[Profile] = (),
    kinds: Sequence[type[Any]] = (),
) -> None:
    """Scale the groups of the configuration until cancelled; runs a fleet where a group is simulated.

    `profiles` are the scheduler's, which say where pods could go, and `kinds` what it looks at for that.
    """
    ids = RandomIds()
    providers: dict[str, Provider] = {"spare": SparePool(client), "command": Command(client)}
    async with asyncio.TaskGroup() as tasks:
        if any(group.provider == "simulated" for group in config.groups):
            fleet = SimulatedNodes(client, clock, ids, 0, pod_cidr=POD_CIDR)
            providers["simulated"] = Simulated(client, fleet, ids)
            tasks.create_task(fleet.run())
            await fleet.registered()
        scaler = NodeScaler(client, informers, clock, config, providers, profiles=profiles, kinds=kinds)
        tasks.create_task(scaler.run())
