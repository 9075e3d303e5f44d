"""A world made of lists, to ask what would be: nothing that is done to it reaches the cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sampan.client.cache import Cache
from sampan.kinds.core.phases import is_finished
from sampan.scheduler.world import World
from sampan.schema import api


class Snapshot(msgspec.Struct, frozen=True):
    """What a cluster held at one moment. `others` are the objects of further kinds that plugins look at."""

    nodes: Sequence[api.Node] = ()
    pods: Sequence[api.Pod] = ()
    others: Mapping[type[Any], Sequence[Any]] = {}

    def pod(self, namespace: str, name: str) -> api.Pod | None:
        """The pod of that name."""
        for pod in self.pods:
            if (pod.metadata.namespace or "", pod.metadata.name or "") == (namespace, name):
                return pod
        return None


def world_of(snapshot: Snapshot, without: api.Pod | None = None) -> World:
    """The world as the scheduler would see it, as if the pod `without` had no node."""
    caches: dict[type[Any], Cache[Any]] = {}
    for kind, objects in snapshot.others.items():
        cache: Cache[Any] = Cache()
        for each in objects:
            cache.put(each)
        caches[kind] = cache
    world = World(caches)
    for objects in snapshot.others.values():
        for each in objects:
            world.devices.changed(None, each)
    for node in snapshot.nodes:
        world.put_node(node)
    for pod in snapshot.pods:
        if pod is without or is_finished(pod):
            continue
        world.gangs.see(pod)
        info = world.infos.of(pod)
        if pod.spec.nodeName:
            world.place(info, pod.spec.nodeName)
        elif pod.status.nominatedNodeName:
            world.nominate(info, pod.status.nominatedNodeName)
    return world
