"""What the node scaler watches on servers that do not have every kind."""

from __future__ import annotations

import random
from typing import Any, cast

from sampan.autoscaler.nodes.config import Config
from sampan.autoscaler.nodes.scaler import NodeScaler
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.client.informer import SharedInformers
from sampan.client.resources import resource_of
from sampan.scheduler.configuration import configuration
from sampan.scheduler.shell import Scheduler
from sampan.schema import api

# An informer of a kind that the server does not have waits for it for ever, and everybody with it.
CONFIGURED = {
    "apiVersion": "kubescheduler.config.k8s.io/v1",
    "kind": "KubeSchedulerConfiguration",
    "profiles": [{"plugins": {"preBind": {"enabled": [{"name": "DynamicResources"}]}}}],
}


def watched(**server: bool) -> set[type[Any]]:
    """Of the kinds of devices, those that scheduler and scaler ask the informers for."""
    clock, client = SimulatedClock(), cast(Any, object())
    informers = SharedInformers(client, clock)
    ids = RandomIds(random.Random(1))
    scheduler = Scheduler(client, informers, clock, ids, configuration=configuration(CONFIGURED), **server)
    NodeScaler(
        client, informers, clock, Config(groups=()), {}, profiles=scheduler.profiles, kinds=scheduler.kinds
    )
    kinds = (api.ResourceClaim, api.ResourceSlice, api.DeviceClass, api.DeviceTaintRule)
    return {kind for kind in kinds if informers.find(resource_of(kind)) is not None}


def test_devices_are_watched_as_far_as_the_server_has_them() -> None:
    assert api.DeviceTaintRule in watched()
    assert watched(device_taint_rules=False) == {api.ResourceClaim, api.ResourceSlice, api.DeviceClass}
    assert watched(device_claims=False) == set()
