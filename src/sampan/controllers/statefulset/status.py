"""How a StatefulSet says that it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from sampan.controllers.runtime import pods as podutil
from sampan.controllers.statefulset.identity import wanted
from sampan.controllers.statefulset.rollout import Revisions
from sampan.controllers.statefulset.view import (
    is_available,
    is_leaving,
    is_rolling,
    is_running_and_ready,
    revision_of,
)
from sampan.schema import api


def counted(
    owner: api.StatefulSet,
    pods: Sequence[api.Pod],
    revisions: Revisions,
    collisions: int | None,
    now: datetime,
) -> api.StatefulSetStatus:
    """All counts. Once every replica is of the update revision and ready, that is the current one."""
    staying = [revision_of(pod) for pod in pods if not is_leaving(pod)]
    current, update = revisions.current.metadata.name, revisions.update.metadata.name
    ready = sum(map(is_running_and_ready, pods))
    updated = staying.count(update or "")
    kept = staying.count(current or "")
    if is_rolling(owner) and updated == ready == len(pods) == wanted(owner):
        current, kept = update, updated
    return msgspec.structs.replace(
        owner.status,
        observedGeneration=owner.metadata.generation,
        replicas=len(pods),
        readyReplicas=ready or None,
        availableReplicas=sum(is_available(owner, pod, now) for pod in pods),
        currentReplicas=kept or None,
        updatedReplicas=updated or None,
        currentRevision=current,
        updateRevision=update,
        collisionCount=collisions or 0,
    )


def next_available_s(owner: api.StatefulSet, pods: Sequence[api.Pod], now: datetime) -> float | None:
    """When the next ready pod will count as available."""
    min_ready_s = owner.spec.minReadySeconds or 0
    waits = [podutil.available_in_s(pod, min_ready_s, now) for pod in pods]
    return min((wait for wait in waits if wait), default=None)
