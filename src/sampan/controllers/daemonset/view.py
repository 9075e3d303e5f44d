"""What a DaemonSet's plan is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from sampan.client.executor import Failure
from sampan.controllers.deployment.view import scaled
from sampan.controllers.nodeaffinity import named_node
from sampan.controllers.runtime import pods as podutil
from sampan.schema import api

_LAST: Final = datetime.max.replace(tzinfo=UTC)


class View(msgspec.Struct, frozen=True):
    """A DaemonSet, all nodes, and the pods and revisions that it controls or could adopt.

    `due` tells by uid when a failed pod may be removed.
    """

    owner: api.DaemonSet
    nodes: tuple[api.Node, ...]
    pods: tuple[api.Pod, ...]
    revisions: tuple[api.ControllerRevision, ...] = ()
    due: Mapping[str, datetime] = msgspec.field(default_factory=dict)
    failure: Failure | None = None


def is_rolling(owner: api.DaemonSet) -> bool:
    strategy = owner.spec.updateStrategy
    return strategy is None or strategy.type in (None, "", "RollingUpdate")


def surge_and_unavailable(owner: api.DaemonSet, desired: int) -> tuple[int, int]:
    """`(maxSurge, maxUnavailable)` in pods, percentages of `desired` rounded up; never both 0."""
    strategy = owner.spec.updateStrategy
    rolling = strategy.rollingUpdate if is_rolling(owner) and strategy is not None else None
    surge = scaled((rolling.maxSurge or 0) if rolling is not None else 0, desired, round_up=True)
    unavailable = rolling.maxUnavailable if rolling is not None else None
    limit = scaled(1 if unavailable is None else unavailable, desired, round_up=True)
    return surge, 1 if surge == 0 and limit == 0 else limit


def by_node(pods: Iterable[api.Pod]) -> dict[str, list[api.Pod]]:
    """The pods of each node, bound ones first, then oldest first, without finished ones that are leaving."""
    found: dict[str, list[api.Pod]] = {}
    for pod in sorted(pods, key=age):
        if not (podutil.is_finished(pod) and pod.metadata.deletionTimestamp is not None):
            found.setdefault(named_node(pod.spec), []).append(pod)
    return found


def age(pod: api.Pod) -> tuple[bool, datetime, str]:
    """For sorting: bound to a node, then oldest, first."""
    return not pod.spec.nodeName, pod.metadata.creationTimestamp or _LAST, pod.metadata.name or ""
