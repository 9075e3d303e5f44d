"""How many nodes of a zone are silent, and how fast pods may therefore be driven away from them.

Follows kube-controller-manager's node lifecycle controller: nodes get their NoExecute taints one after the
other, slowly where most of a large zone is silent, not at all where most of a small one is (the fault may
well be the network's), and not at all where no node of the cluster is ready (the fault may well be ours).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.client.cache import Cache, Index, Order
from sampan.controllers.taints import MANAGED_NO_EXECUTE, NO_EXECUTE, is_ready
from sampan.schema import api

# Nodes a second that may get NoExecute taints, and the same where most of a large zone is silent.
EVICTIONS_PER_S: Final = 0.1
EVICTIONS_IN_DISRUPTION_PER_S: Final = 0.01
# From what part of silent nodes on a zone is disrupted, and from how many nodes on it is large.
UNHEALTHY_PART: Final = 0.55
UNHEALTHY_LEAST: Final = 3
LARGE_ZONE: Final = 51
NORMAL: Final = "Normal"
PARTIAL: Final = "PartialDisruption"
FULL: Final = "FullDisruption"
# The names of the indexes below.
BY_READINESS: Final = "readiness"
DRIVEN: Final = "driven"
WAITING: Final = "waiting"
READY: Final = "ready"
SILENT: Final = "silent"


class Zone(msgspec.Struct, frozen=True):
    """What a node has to know of its zone before it drives its pods away."""

    ready: int = 1
    silent: int = 0
    # Whether any node of the cluster is ready.
    any_ready: bool = True
    # When a node of the zone last got a NoExecute taint from us.
    driven_at: datetime | None = None
    # How many silent nodes of the zone come before this one.
    before: int = 0


def of(node: api.Node) -> str:
    """The zone's name: region and zone; nodes without these labels are one zone together."""
    labels = node.metadata.labels
    return (
        f"{labels.get('topology.kubernetes.io/region', '')}/{labels.get('topology.kubernetes.io/zone', '')}"
    )


def by_readiness(node: api.Node) -> Iterable[str]:
    """For the index `BY_READINESS`: ready or silent, in the cluster and in the zone."""
    word = READY if is_ready(node) else SILENT
    return word, f"{word} in {of(node)}"


def _driven(node: api.Node) -> Iterable[tuple[str, tuple[str, ...]]]:
    """For the order `DRIVEN`: the zone's nodes that have a NoExecute taint of ours, by its time."""
    taint = has_driven(node)
    if taint is None:
        return ()
    at = taint.timeAdded.isoformat() if taint.timeAdded is not None else ""
    return ((of(node), (at, node.metadata.name or "")),)


def _waiting(node: api.Node) -> Iterable[tuple[str, tuple[str, ...]]]:
    """For the order `WAITING`: the zone's silent nodes without such a taint, the longest silent first."""
    return () if is_ready(node) or has_driven(node) is not None else ((of(node), _place(node)),)


INDEXES: Final[Mapping[str, Index[api.Node]]] = {
    BY_READINESS: by_readiness,
    DRIVEN: Order(_driven),
    WAITING: Order(_waiting),
}


def has_driven(node: api.Node) -> api.Taint | None:
    """The node's NoExecute taint of ours."""
    for taint in node.spec.taints:
        if taint.effect == NO_EXECUTE and taint.key in MANAGED_NO_EXECUTE:
            return taint
    return None


def state(ready: int, silent: int) -> str:
    """Whether a zone with so many nodes is disrupted."""
    if silent and not ready:
        return FULL
    if silent >= UNHEALTHY_LEAST and silent / (silent + ready) >= UNHEALTHY_PART:
        return PARTIAL
    return NORMAL


def rate_per_s(zone: Zone) -> float:
    """How many nodes of the zone may get a NoExecute taint each second."""
    if not zone.any_ready:
        return 0.0
    if state(zone.ready, zone.silent) == PARTIAL:
        return EVICTIONS_IN_DISRUPTION_PER_S if zone.ready + zone.silent >= LARGE_ZONE else 0.0
    return EVICTIONS_PER_S


def due(zone: Zone, now: datetime) -> datetime | None:
    """When it is this node's turn to get a NoExecute taint; None for not as things are."""
    rate = rate_per_s(zone)
    if not rate:
        return None
    pause = timedelta(seconds=1 / rate)
    if zone.driven_at is None:
        return now + pause * zone.before
    return max(zone.driven_at + pause * (zone.before + 1), now)


def look_up(nodes: Cache[api.Node], node: api.Node) -> Zone:
    """The node's zone as the cache shows it; needs `INDEXES`."""
    name = of(node)
    last = nodes.last(DRIVEN, name)
    return Zone(
        ready=nodes.count(BY_READINESS, f"{READY} in {name}"),
        silent=nodes.count(BY_READINESS, f"{SILENT} in {name}"),
        any_ready=nodes.count(BY_READINESS, READY) > 0,
        driven_at=datetime.fromisoformat(last[0]) if last is not None and last[0] else None,
        before=0 if has_driven(node) is not None else nodes.before(WAITING, name, _place(node)),
    )


def _place(node: api.Node) -> tuple[str, str]:
    """Those that have been silent for longest come first."""
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    since = ready.lastTransitionTime if ready is not None else None
    return (since.isoformat() if since is not None else "", node.metadata.name or "")


def concerned(nodes: Cache[api.Node], changed: api.Node) -> Iterable[str]:
    """The silent nodes for which the readiness of `changed`, that the cache shows, makes a difference."""
    name, now_ready = of(changed), is_ready(changed)
    all_ready = nodes.count(BY_READINESS, READY)
    if all_ready == 0 or (all_ready == 1 and now_ready):
        return _names(nodes.by_index(BY_READINESS, SILENT))
    ready = nodes.count(BY_READINESS, f"{READY} in {name}")
    silent = nodes.count(BY_READINESS, f"{SILENT} in {name}")
    before = state(ready - 1, silent + 1) if now_ready else state(ready + 1, max(silent - 1, 0))
    if before == state(ready, silent):
        return ()
    return _names(nodes.by_index(BY_READINESS, f"{SILENT} in {name}"))


def _names(nodes: Iterable[api.Node]) -> list[str]:
    return [node.metadata.name or "" for node in nodes]
