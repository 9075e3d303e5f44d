"""NodeAffinity: nodeSelector, required terms (OR of ANDs), preferred terms by weight."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np

from sampan.kinds.core.node_selection import NAME_FIELD, Matches, required, term_matches
from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import (
    ADD,
    MORE_IS_BETTER,
    NODE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Verdict,
    nobody,
    refuse,
    row_list,
)
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.table import Bools, Numbers
from sampan.scheduler.world import World
from sampan.schema import api, codec

REASON: Final = "node(s) didn't match Pod's node affinity/selector"
ENFORCED: Final = "node(s) didn't match scheduler-enforced node affinity"

# In a shape's memo.
_PINNED: Final = "pinned"

_Preferred = list[tuple[int, Matches]]


class NodeAffinity(Plugin):
    """`added` is the profile's own affinity (NodeAffinityArgs.addedAffinity), for every pod of it."""

    name: ClassVar[str] = "NodeAffinity"
    reach: ClassVar[str] = NODE
    scaling: ClassVar[str] = MORE_IS_BETTER
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT})

    def __init__(self, added: api.NodeAffinity | None = None) -> None:
        self._enforced: Matches | None = None
        self._added: _Preferred = []
        if added is not None:
            whole = api.PodSpec(containers=[], affinity=api.Affinity(nodeAffinity=added))
            if added.requiredDuringSchedulingIgnoredDuringExecution is not None:
                self._enforced = required(whole)
            self._added = _preferred(whole)

    def narrow(self, pod: PodInfo, world: World) -> frozenset[str] | None:
        memo = pod.shape.memo
        if _PINNED not in memo:
            memo[_PINNED] = pinned(pod.spec)
        names: frozenset[str] | None = memo[_PINNED]
        return names

    def prepare(self, pod: PodInfo, world: World) -> Matches | bool | None:
        wanted = required(pod.spec)
        if wanted is None:
            return self._enforced is not None or None
        return wanted

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        if self._enforced is not None:
            out = ~_matching(self._enforced, world, rows)
            if out.any():
                others = ~out & ~_matching(state, world, rows) if state is not True else nobody(world, rows)
                first = refuse(out, ENFORCED, resolvable=False)
                second = refuse(others, REASON, resolvable=False)
                assert first is not None
                return Verdict(out | others, first.reasons + (second.reasons if second is not None else ()))
        if state is True:
            return None
        return refuse(~_matching(state, world, rows), REASON, resolvable=False)

    def passes(self, state: Any, world: World, row: int) -> bool:
        node = world.table.nodes[row]
        if node is None:
            return False
        name, labels = node.metadata.name or "", node.metadata.labels
        if self._enforced is not None and not self._enforced(name, labels):
            return False
        return state is True or bool(state(name, labels))

    def prepare_score(self, pod: PodInfo, world: World) -> _Preferred | None:
        return [*_preferred(pod.spec), *self._added] or None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        terms: _Preferred = state
        found = row_list(world, rows)
        totals = np.zeros(len(found), dtype=np.int64)
        for at, row in enumerate(found):
            node = world.table.nodes[row]
            if node is not None:
                name, labels = node.metadata.name or "", node.metadata.labels
                totals[at] = sum(weight for weight, matches in terms if matches(name, labels))
        return totals

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if not event.does(ADD, UPDATE_LABELS) or event.new is None:
            return False
        meta = event.new.metadata
        if self._enforced is not None and not self._enforced(meta.name or "", meta.labels):
            return False
        wanted = required(pod.spec)
        return wanted is None or wanted(meta.name or "", meta.labels)


def _matching(matches: Matches, world: World, rows: Rows) -> Bools:
    nodes = world.table.nodes
    found = [
        node is not None and matches(node.metadata.name or "", node.metadata.labels)
        for node in (nodes if isinstance(rows, slice) else [nodes[row] for row in rows])
    ]
    return np.array(found, dtype=np.bool_)


def matching(pod: PodInfo, world: World, rows: Rows) -> Bools | None:
    """The rows that the pod's own selector and required terms allow; None for all."""
    wanted = required(pod.spec)
    return _matching(wanted, world, rows) if wanted is not None else None


def added_of(args: dict[str, Any]) -> api.NodeAffinity | None:
    """The affinity in NodeAffinityArgs. Raises msgspec.ValidationError."""
    added = args.get("addedAffinity")
    return codec.from_builtins(added, api.NodeAffinity) if added else None


def _preferred(spec: api.PodSpec) -> _Preferred:
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    if affinity is None:
        return []
    return [
        (preferred.weight, term_matches(preferred.preference))
        for preferred in affinity.preferredDuringSchedulingIgnoredDuringExecution
        if preferred.preference is not None and preferred.weight
    ]


def pinned(spec: api.PodSpec) -> frozenset[str] | None:
    """The only nodes that the required terms allow by name, as DaemonSet pods have them; None for any."""
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if terms is None or not terms.nodeSelectorTerms:
        return None
    names: set[str] = set()
    for term in terms.nodeSelectorTerms:
        named = [set(f.values) for f in term.matchFields if f.key == NAME_FIELD and f.operator == "In"]
        if not named:
            return None
        names |= set.intersection(*named)
    return frozenset(names)
