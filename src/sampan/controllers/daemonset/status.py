"""How a DaemonSet says that it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from sampan.controllers.daemonset.placement import Fit
from sampan.controllers.daemonset.rollout import is_updated
from sampan.controllers.runtime import pods as podutil
from sampan.schema import api


def counted(
    owner: api.DaemonSet,
    pods: Mapping[str, Sequence[api.Pod]],
    fits: Mapping[str, Fit],
    revision_hash: str,
    collisions: int | None,
    now: datetime,
) -> api.DaemonSetStatus:
    """The counts over all nodes; of several pods on one node the oldest counts."""
    min_ready_s = owner.spec.minReadySeconds or 0
    desired = sum(fit.run for fit in fits.values())
    first = [pods[name][0] for name, fit in fits.items() if fit.run and pods.get(name)]
    available = sum(podutil.is_available(pod, min_ready_s, now) for pod in first)
    return msgspec.structs.replace(
        owner.status,
        observedGeneration=owner.metadata.generation,
        desiredNumberScheduled=desired,
        currentNumberScheduled=len(first),
        numberMisscheduled=sum(not fit.run and bool(pods.get(name)) for name, fit in fits.items()),
        numberReady=sum(map(podutil.is_ready, first)),
        updatedNumberScheduled=sum(is_updated(pod, revision_hash) for pod in first) or None,
        numberAvailable=available or None,
        numberUnavailable=(desired - available) or None,
        collisionCount=collisions,
    )


def next_available_s(owner: api.DaemonSet, pods: Sequence[api.Pod], now: datetime) -> float | None:
    """When the next ready pod will count as available."""
    min_ready_s = owner.spec.minReadySeconds or 0
    waits = [podutil.available_in_s(pod, min_ready_s, now) for pod in pods]
    return min((wait for wait in waits if wait), default=None)
