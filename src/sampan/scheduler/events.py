"""What a change of a watched object means to pods that wait. Pure."""

from __future__ import annotations

from typing import Any, Final

from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    NODE_EVENT,
    SCALE_DOWN,
    UPDATE,
    UPDATE_ALLOCATABLE,
    UPDATE_LABELS,
    UPDATE_TAINTS,
    Event,
    Plugin,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.requests import Demand, demand
from sampan.scheduler.world import World
from sampan.schema import api

_BASIC: Final = {(True, False): ADD, (False, True): DELETE, (False, False): UPDATE}


def node_event(old: api.Node | None, new: api.Node | None) -> Event | None:
    """None where nothing changed that any decision looks at, as with a heartbeat."""
    if old is None or new is None:
        return Event(NODE_EVENT, frozenset({ADD if old is None else DELETE}), old, new)
    actions = set()
    if old.metadata.labels != new.metadata.labels:
        actions.add(UPDATE_LABELS)
    if old.spec.taints != new.spec.taints or old.spec.unschedulable != new.spec.unschedulable:
        actions.add(UPDATE_TAINTS)
    if (
        old.status.allocatable != new.status.allocatable
        or old.status.capacity != new.status.capacity
        or old.spec != new.spec
    ):
        actions.add(UPDATE_ALLOCATABLE)
    if not actions and old.status.images != new.status.images:
        actions.add(UPDATE)
    return Event(NODE_EVENT, frozenset(actions), old, new) if actions else None


def pod_event(old: api.Pod | None, new: api.Pod | None, takes: Demand | None = None) -> Event | None:
    """A pod on a node came, went, or changed in a way that others may feel.

    `takes` is what it takes where that is known to be what it took.
    """
    if old is None or new is None:
        return Event(ASSIGNED_POD, frozenset({ADD if old is None else DELETE}), old, new)
    actions = set()
    if old.metadata.labels != new.metadata.labels:
        actions.add(UPDATE_LABELS)
    if takes is None and _takes_less(demand(old), demand(new)):
        actions.add(SCALE_DOWN)
    if new.metadata.deletionTimestamp is not None and old.metadata.deletionTimestamp is None:
        actions.add(UPDATE)
    return Event(ASSIGNED_POD, frozenset(actions), old, new) if actions else None


def _takes_less(before: Demand, after: Demand) -> bool:
    return any(after.amounts.get(name, 0) < amount for name, amount in before.amounts.items())


def object_event(kind: str, old: Any, new: Any) -> Event:
    """Any other object that plugins look at."""
    return Event(kind, frozenset({_BASIC[(old is None, new is None)]}), old, new)


def wakes(plugins: list[Plugin], pod: PodInfo, event: Event, world: World) -> bool:
    """Whether one of the plugins that refused the pod may think otherwise after the event."""
    return any(event.kind in p.events and p.wakes(pod, event, world) for p in plugins)
