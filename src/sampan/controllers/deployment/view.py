"""What a Deployment's plan is made from, and what is asked about its ReplicaSets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from sampan.client.executor import Failure
from sampan.machinery import selectors
from sampan.schema import api

PREFIX: Final = "deployment.kubernetes.io/"
REVISION: Final = PREFIX + "revision"
REVISION_HISTORY: Final = PREFIX + "revision-history"
DESIRED_REPLICAS: Final = PREFIX + "desired-replicas"
MAX_REPLICAS: Final = PREFIX + "max-replicas"
HASH_LABEL: Final = "pod-template-hash"
NO_DEADLINE: Final = 2**31 - 1
# What has no creation time yet is the newest.
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class View(msgspec.Struct, frozen=True):
    """A Deployment, every ReplicaSet that it controls or could adopt, and the pods of those."""

    deployment: api.Deployment
    candidates: tuple[api.ReplicaSet, ...]
    pods: tuple[api.Pod, ...] = ()
    failure: Failure | None = None


def wanted(deployment: api.Deployment) -> int:
    """How many replicas are asked for."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def size(replicaset: api.ReplicaSet) -> int:
    """How many replicas the ReplicaSet is asked to have."""
    return 1 if replicaset.spec.replicas is None else replicaset.spec.replicas


def total(replicasets: Iterable[api.ReplicaSet]) -> int:
    return sum(map(size, replicasets))


def active(replicasets: Iterable[api.ReplicaSet]) -> list[api.ReplicaSet]:
    """Those that are asked to have any replicas."""
    return [one for one in replicasets if size(one) > 0]


def created(replicaset: api.ReplicaSet) -> tuple[datetime, str]:
    """For sorting by age, oldest first."""
    return replicaset.metadata.creationTimestamp or _LAST, replicaset.metadata.name or ""


def revision(obj: api.ReplicaSet | api.Deployment) -> int:
    """The revision in the annotations; 0 where there is none."""
    text = obj.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def number(obj: api.ReplicaSet, annotation: str) -> int | None:
    """An annotation that holds a number."""
    text = obj.metadata.annotations.get(annotation, "")
    return int(text) if text.isdigit() else None


def selector(deployment: api.Deployment) -> selectors.Selector:
    return selectors.from_label_selector(deployment.spec.selector)


def is_rolling(deployment: api.Deployment) -> bool:
    strategy = deployment.spec.strategy
    return strategy is None or strategy.type in (None, "", "RollingUpdate")


def fenceposts(deployment: api.Deployment) -> tuple[int, int]:
    """`(maxSurge, maxUnavailable)` in pods: percentages of surge are rounded up, of unavailability down.

    Both being 0 could never move on, so that one pod may then be unavailable. A Deployment that does not roll
    has neither.
    """
    if not is_rolling(deployment):
        return 0, 0
    strategy = deployment.spec.strategy
    rolling = strategy.rollingUpdate if strategy is not None else None
    surge = rolling.maxSurge if rolling is not None and rolling.maxSurge is not None else "25%"
    unavailable = (
        rolling.maxUnavailable if rolling is not None and rolling.maxUnavailable is not None else "25%"
    )
    replicas = wanted(deployment)
    surge_pods = scaled(surge, replicas, round_up=True)
    unavailable_pods = scaled(unavailable, replicas, round_up=False)
    if surge_pods == 0 and unavailable_pods == 0:
        unavailable_pods = 1
    return surge_pods, min(unavailable_pods, replicas)


def scaled(value: int | str, of: int, *, round_up: bool) -> int:
    """An IntOrString as a number: `25%` is a part of `of`. What is no percentage counts as 0."""
    if isinstance(value, int):
        return value
    if not value.endswith("%") or not value[:-1].isdigit():
        return 0
    part = int(value[:-1]) * of
    return math.ceil(part / 100) if round_up else part // 100


def max_replicas(deployment: api.Deployment) -> int:
    """The most pods there may be while rolling."""
    return wanted(deployment) + fenceposts(deployment)[0]


def deadline_s(deployment: api.Deployment) -> int | None:
    """Seconds without progress after which a rollout counts as stuck; None for no deadline."""
    seconds = deployment.spec.progressDeadlineSeconds
    return None if seconds is None or seconds == NO_DEADLINE else seconds
