"""Pods that nobody else removes: on nodes that are gone, finished long ago, deleted before they ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import Effect, Plan, Remove
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.disruption import disrupt
from sampan.schema import api

# A node that is missing for less may be about to register again.
QUARANTINE_S: Final = 40.0
FINISHED_MOST: Final = 12500
PHASE_INDEX: Final = "finished"
_OLDEST: Final = datetime.min.replace(tzinfo=UTC)


class OrphanView(msgspec.Struct, frozen=True):
    """A node that is not there, and the pods on it."""

    node: str
    pods: tuple[api.Pod, ...]


class FinishedView(msgspec.Struct, frozen=True):
    """All finished pods, and how many of them may stay."""

    pods: tuple[api.Pod, ...]
    most: int


class UnscheduledView(msgspec.Struct, frozen=True):
    """A pod that was deleted before it had a node."""

    pod: api.Pod


def _finished(pod: api.Pod) -> Iterable[str]:
    return ("finished",) if podutil.is_finished(pod) else ()


def gather_orphans(caches: Caches, node: str) -> OrphanView | None:
    if caches.of(api.Node).get("", node) is not None:
        return None
    pods = caches.of(api.Pod).by_index(podutil.ON_NODE, node)
    return OrphanView(node, tuple(pods)) if pods else None


async def survey_orphans(client: Client, view: OrphanView) -> OrphanView | None:
    """Ask the server itself: a pod may only be removed by force when its node is certainly gone."""
    try:
        await client.get(api.Node, view.node)
    except ApiError as error:
        if is_not_found(error):
            return view
        raise
    return None


def plan_orphans(view: OrphanView, now: datetime) -> Plan:
    """Mark the pods as failed, then remove them without waiting for anybody."""
    effects: list[Effect] = []
    for pod in view.pods:
        if not podutil.is_finished(pod):
            effects.append(
                disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists", now, phase="Failed")
            )
    return Plan((*effects, *map(_force, view.pods)))


def gather_finished(caches: Caches, _key: str, most: int = FINISHED_MOST) -> FinishedView | None:
    pods = caches.of(api.Pod)
    if pods.count(PHASE_INDEX, "finished") <= most:
        return None
    return FinishedView(tuple(pods.by_index(PHASE_INDEX, "finished")), most)


def plan_finished(view: FinishedView, now: datetime) -> Plan:
    """Remove the oldest finished pods over the limit, evicted ones first."""
    staying = [pod for pod in view.pods if pod.metadata.deletionTimestamp is None]
    return Plan(tuple(map(_force, sorted(staying, key=_by_worth)[: max(len(staying) - view.most, 0)])))


def _leaves_unscheduled(_caches: Caches, pod: api.Pod) -> bool:
    return pod.metadata.deletionTimestamp is not None and not pod.spec.nodeName


def gather_unscheduled(caches: Caches, key: Key) -> UnscheduledView | None:
    pod = caches.of(api.Pod).get(*key)
    if pod is None or not _leaves_unscheduled(caches, pod):
        return None
    # One that is held by finalizers alone was removed as far as we can.
    return UnscheduledView(pod) if pod.metadata.deletionGracePeriodSeconds else None


def plan_unscheduled(view: UnscheduledView, now: datetime) -> Plan:
    """Nothing runs that could stop gracefully: remove it now."""
    return Plan((_force(view.pod),))


def _force(pod: api.Pod) -> Remove:
    return Remove(msgspec.structs.replace(ref_of(pod), resource_version=""), grace_s=0)


def _by_worth(pod: api.Pod) -> tuple[bool, datetime, str]:
    is_evicted = pod.status.reason == "Evicted"
    return (not is_evicted, pod.metadata.creationTimestamp or _OLDEST, pod.metadata.name or "")


def _gone_node(caches: Caches, node: api.Node) -> Sequence[str]:
    name = node.metadata.name or ""
    return (name,) if caches.of(api.Node).get("", name) is None else ()


def _missing_node(caches: Caches, pod: api.Pod) -> Sequence[str]:
    node = pod.spec.nodeName
    return (node,) if node and caches.of(api.Node).get("", node) is None else ()


def _is_finished(_caches: Caches, pod: api.Pod) -> Sequence[str]:
    return ("finished",) if podutil.is_finished(pod) else ()


def _changes_finished(old: Any, new: Any) -> bool:
    return podutil.is_finished(old) != podutil.is_finished(new)


def finished(most: int = FINISHED_MOST) -> Controller:
    """The controller that keeps at most so many finished pods."""
    return Controller(
        name="finished-pod-gc",
        watches=(mapped(api.Pod, _is_finished, _changes_finished),),
        indexes={api.Pod: {PHASE_INDEX: _finished}},
        gather=lambda caches, key: gather_finished(caches, key, most),
        plan=plan_finished,
        workers=1,
    )


ORPHANS: Final = Controller(
    name="orphaned-pod-gc",
    watches=(
        mapped(api.Node, _gone_node, lambda _old, _new: False, delay_s=QUARANTINE_S),
        mapped(api.Pod, _missing_node, delay_s=QUARANTINE_S),
    ),
    indexes={api.Pod: {podutil.ON_NODE: podutil.on_node}},
    gather=gather_orphans,
    survey=survey_orphans,
    plan=plan_orphans,
    workers=1,
)

UNSCHEDULED: Final = Controller(
    name="unscheduled-pod-gc",
    kind=api.Pod,
    matters=lambda old, new: old.metadata.deletionTimestamp != new.metadata.deletionTimestamp,
    wants=_leaves_unscheduled,
    gather=gather_unscheduled,
    plan=plan_unscheduled,
    workers=1,
)
