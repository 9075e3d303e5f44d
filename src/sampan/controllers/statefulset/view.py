"""What a StatefulSet's plan is made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from sampan.client.executor import Failure
from sampan.controllers.deployment.view import scaled
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.revisions import HASH_LABEL
from sampan.controllers.statefulset.identity import wanted
from sampan.schema import api


class View(msgspec.Struct, frozen=True):
    """A StatefulSet, the pods and revisions it controls or could adopt, and its pods' claims by name."""

    owner: api.StatefulSet
    pods: tuple[api.Pod, ...]
    revisions: tuple[api.ControllerRevision, ...] = ()
    claims: Mapping[str, api.PersistentVolumeClaim] = msgspec.field(default_factory=dict)
    failure: Failure | None = None


def is_rolling(owner: api.StatefulSet) -> bool:
    strategy = owner.spec.updateStrategy
    return strategy is None or strategy.type in (None, "", "RollingUpdate")


def is_parallel(owner: api.StatefulSet) -> bool:
    return owner.spec.podManagementPolicy == "Parallel"


def partition(owner: api.StatefulSet) -> int:
    """How many replicas, counted from the first, keep the old revision."""
    strategy = owner.spec.updateStrategy
    rolling = strategy.rollingUpdate if strategy is not None else None
    return (rolling.partition or 0) if rolling is not None else 0


def max_unavailable(owner: api.StatefulSet) -> int:
    """How many replicas may be unavailable during an update: at least one, percentages rounded up."""
    strategy = owner.spec.updateStrategy
    rolling = strategy.rollingUpdate if strategy is not None else None
    limit = rolling.maxUnavailable if rolling is not None else None
    return max(scaled(1 if limit is None else limit, wanted(owner), round_up=True), 1)


def is_running_and_ready(pod: api.Pod) -> bool:
    return pod.status.phase == "Running" and podutil.is_ready(pod)


def is_available(owner: api.StatefulSet, pod: api.Pod, now: datetime) -> bool:
    """Running, and ready for long enough."""
    running = pod.status.phase == "Running"
    return running and podutil.is_available(pod, owner.spec.minReadySeconds or 0, now)


def revision_of(pod: api.Pod) -> str:
    """The name of the revision that the pod was made from."""
    return pod.metadata.labels.get(HASH_LABEL, "")


def is_leaving(pod: api.Pod) -> bool:
    return pod.metadata.deletionTimestamp is not None
