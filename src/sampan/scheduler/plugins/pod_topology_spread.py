"""PodTopologySpread: pods of a kind evenly over zones, nodes or whatever a label tells apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.machinery import selectors
from sampan.machinery.selectors import Requirement, Selector, from_labels
from sampan.machinery.tolerations import untolerated
from sampan.scheduler.changes import ALL, Rows
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    DELETE,
    MOST_SCORE,
    NODE_EVENT,
    UPDATE_LABELS,
    UPDATE_TAINTS,
    Event,
    Plugin,
    Reason,
    Verdict,
)
from sampan.scheduler.groups import Selects, selector_of, with_keys
from sampan.scheduler.pluginargs import spread_defaults
from sampan.scheduler.plugins.node_affinity import matching
from sampan.scheduler.podinfo import PodInfo, Template
from sampan.scheduler.rowcounts import RowCounts
from sampan.scheduler.table import HOSTNAME, Bools, Floats, Numbers
from sampan.scheduler.world import World
from sampan.schema import api

REASON: Final = "node(s) didn't match pod topology spread constraints"
NO_LABEL: Final = "node(s) didn't match pod topology spread constraints (missing required label)"
HARD: Final = "DoNotSchedule"
SOFT: Final = "ScheduleAnyway"
ZONE: Final = "topology.kubernetes.io/zone"
# What is spread where a pod says nothing of it (defaultingType: System).
SYSTEM_DEFAULTS: Final = (
    api.TopologySpreadConstraint(topologyKey=HOSTNAME, whenUnsatisfiable=SOFT, maxSkew=3),
    api.TopologySpreadConstraint(topologyKey=ZONE, whenUnsatisfiable=SOFT, maxSkew=5),
)


class Constraint(msgspec.Struct, frozen=True):
    """One constraint of one template."""

    key: str
    max_skew: int
    min_domains: int
    selects: Selects
    matches_itself: bool
    honors_affinity: bool
    honors_taints: bool


class Domain(msgspec.Struct, eq=False):
    """What one constraint counts, until a node changes: on which rows, and where a node lacks the label.

    `counts` are the pods on these rows by place of the label (`Domains.places`), as of `counter`'s step `at`;
    `present` are the places of rows that count.
    """

    rows: Bools
    missing: Bools
    lacks: bool  # whether any node lacks the label
    present: Bools
    counts: Numbers
    counter: RowCounts | None = None
    at: int = -1


class Spread(msgspec.Struct, eq=False):
    """A pod's constraints of one strictness, and which nodes count for each, until a node changes."""

    constraints: tuple[Constraint, ...]
    complete: bool  # whether only nodes with all the labels count
    at: int = -1
    size: int = 0
    labelled: Bools = msgspec.field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    domains: tuple[Domain, ...] = ()


class PodTopologySpread(Plugin):
    """`defaults` are for pods without constraints of their own; `system` where they are the built-in ones."""

    name: ClassVar[str] = "PodTopologySpread"
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, ASSIGNED_POD})

    def __init__(
        self, defaults: Sequence[api.TopologySpreadConstraint] = SYSTEM_DEFAULTS, *, system: bool = True
    ) -> None:
        self._defaults = tuple(defaults)
        self._system = system

    def prepare(self, pod: PodInfo, world: World) -> Spread | None:
        return self._spread(pod, world, HARD)

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        spread: Spread = state
        reasons: list[Reason] = []
        out: Any = None
        for at, constraint in enumerate(spread.constraints):
            domain = spread.domains[at]
            counts = _counts(spread, at, world)
            here = counts[domain.present]
            least = int(here.min()) if len(here) and len(here) >= constraint.min_domains else 0
            over = counts > constraint.max_skew + least - int(constraint.matches_itself)
            over[0] = False  # who lacks the label is told so
            found = []
            if domain.lacks:
                found.append((domain.missing[rows], NO_LABEL, False))
            if over.any():
                found.append((over[world.table.domains(constraint.key).places[rows]], REASON, True))
            for where, text, resolvable in found:
                fresh = where if out is None else where & ~out
                if fresh.any():
                    reasons.append(Reason(text, fresh, resolvable))
                    out = fresh if out is None else out | fresh
        return Verdict(out, tuple(reasons)) if out is not None else None

    def prepare_score(self, pod: PodInfo, world: World) -> Spread | None:
        return self._spread(pod, world, SOFT)

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """Already 0..100: fewer pods in the node's domains is better."""
        spread: Spread = state
        scored = spread.labelled[rows] if spread.complete else None
        if scored is not None and scored.all():
            scored = None
        total: Floats | None = None
        for at, constraint in enumerate(spread.constraints):
            mine = world.table.domains(constraint.key).places[rows]
            share = self._share(spread, at, constraint, mine, scored, world, rows)
            total = share if total is None else total + share
        assert total is not None
        raw = np.floor(total + 0.5).astype(np.int64)
        if scored is not None:
            if not scored.any():
                return np.zeros_like(raw)
            least, most = int(raw[scored].min()), int(raw[scored].max())
        else:
            least, most = int(raw.min()), int(raw.max())
        if not most:
            even = np.full_like(raw, MOST_SCORE)
        elif scored is None and most - least < len(raw):  # looking up is cheaper than dividing
            even = (MOST_SCORE * (most + least - np.arange(least, most + 1)) // most)[raw - least]
        else:
            even = MOST_SCORE * (most + least - raw) // most
        return even if scored is None else np.where(scored, even, 0)

    def _share(
        self,
        spread: Spread,
        at: int,
        constraint: Constraint,
        mine: Numbers,
        scored: Bools | None,
        world: World,
        rows: Rows,
    ) -> Floats:
        eligible = mine if scored is None else mine[scored]
        table = world.table
        if constraint.key == HOSTNAME:
            weight = math.log(len(eligible) + 2)
            here = world.counter((constraint.selects,)).per_row[: table.size][rows]
            return np.where(mine > 0, here * weight + (constraint.max_skew - 1), 0.0)
        kinds = int(np.count_nonzero(np.bincount(eligible, minlength=1)))
        counts = _counts(spread, at, world).astype(np.float64)
        shares = counts * math.log(kinds + 2) + (constraint.max_skew - 1)
        shares[0] = 0.0
        found: Floats = shares[mine].astype(np.float64, copy=False)
        return found

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        constraints = self._constraints(pod, world, HARD)
        if event.kind == NODE_EVENT:
            if not event.does(ADD, DELETE, UPDATE_LABELS, UPDATE_TAINTS):
                return False
            seen = [node for node in (event.old, event.new) if node is not None]
            return any(all(c.key in node.metadata.labels for c in constraints) for node in seen)
        changed = event.new if event.new is not None else event.old
        if changed is None or (changed.metadata.namespace or "") != pod.namespace:
            return False
        seen = [p for p in (event.old, event.new) if p is not None]
        return any(c.selects.selector.matches(p.metadata.labels) for c in constraints for p in seen)

    # -- what a pod asks for ---------------------------------------------------------------------------

    def _spread(self, pod: PodInfo, world: World, strictness: str) -> Spread | None:
        own = bool(pod.shape.spec.topologySpreadConstraints)
        memo = pod.template.memo
        key = (self.name, id(self), strictness)
        if own and key in memo:
            spread: Spread | None = memo[key]
        else:
            constraints = self._constraints(pod, world, strictness)
            if not constraints:
                spread = None
            else:
                kept = memo.get(key)
                complete = strictness == HARD or own or not self._system
                spread = kept if kept is not None and kept.constraints == constraints else None
                spread = spread or Spread(constraints, complete)
            memo[key] = spread
        if spread is not None:
            _refresh(spread, pod, world)
        return spread

    def _constraints(self, pod: PodInfo, world: World, strictness: str) -> tuple[Constraint, ...]:
        given = pod.shape.spec.topologySpreadConstraints
        template = pod.template
        if given:
            return tuple(_constraint(c, template) for c in given if c.whenUnsatisfiable == strictness)
        wanted = [c for c in self._defaults if c.whenUnsatisfiable == strictness]
        if not wanted:
            return ()
        selector = default_selector(template, world)
        if selector.empty or selector.selects_nothing:
            return ()
        return tuple(_constraint(c, template, selector) for c in wanted)


def _constraint(
    given: api.TopologySpreadConstraint, template: Template, selector: Selector | None = None
) -> Constraint:
    if selector is None:
        chosen = selector_of(given.labelSelector) if given.labelSelector is not None else selectors.NOTHING
        selector = with_keys(chosen, template.labels, given.matchLabelKeys, [])
    return Constraint(
        key=given.topologyKey,
        max_skew=given.maxSkew,
        min_domains=given.minDomains or 1,
        selects=Selects(frozenset((template.namespace,)), selector, terminating=False),
        matches_itself=selector.matches(template.labels),
        honors_affinity=given.nodeAffinityPolicy != "Ignore",
        honors_taints=given.nodeTaintsPolicy == "Honor",
    )


def default_selector(template: Template, world: World) -> Selector:
    """What the services and the controller of a pod select, all of it at once (DefaultSelector)."""
    wanted: list[Requirement] = []
    services = world.cache(api.Service)
    if len(services):
        for service in services.by_namespace(template.namespace):
            chosen = service.spec.selector
            if chosen and all(template.labels.get(k) == v for k, v in chosen.items()):
                wanted += from_labels(chosen).requirements
    wanted += _owner_selector(template, world)
    return Selector(wanted)


def _owner_selector(template: Template, world: World) -> Sequence[Requirement]:
    owner = template.owner
    kinds: Mapping[str, Any] = {
        "ReplicaSet": api.ReplicaSet,
        "StatefulSet": api.StatefulSet,
        "ReplicationController": api.ReplicationController,
    }
    if owner is None or owner.kind not in kinds:
        return ()
    found = world.cache(kinds[owner.kind]).get(template.namespace, owner.name or "")
    if found is None:
        return ()
    if owner.kind == "ReplicationController":
        return from_labels(found.spec.selector).requirements
    return selector_of(found.spec.selector).requirements


def _refresh(spread: Spread, pod: PodInfo, world: World) -> None:
    """Work out anew which nodes count, where any node has changed."""
    table = world.table
    if spread.at == table.specs.position and spread.size == table.size:
        return
    labelled = table.live.copy()
    for constraint in spread.constraints:
        labelled &= table.domains(constraint.key).ids >= 0
    wanted = matching(pod, world, ALL)
    tolerations = pod.spec.tolerations
    domains = []
    for constraint in spread.constraints:
        known = table.domains(constraint.key)
        counts = labelled.copy() if spread.complete else table.live & (known.ids >= 0)
        if constraint.honors_affinity and wanted is not None:
            counts &= wanted
        if constraint.honors_taints:
            for row in np.flatnonzero(table.tainted & counts):
                node = table.nodes[row]
                counts[row] = node is not None and not untolerated(node.spec.taints, tolerations)
        missing = table.live & (known.ids < 0)
        present = np.bincount(known.places[counts], minlength=known.count + 1) > 0
        nothing = np.zeros(known.count + 1, dtype=np.int64)
        domains.append(Domain(counts, missing, bool(missing.any()), present, nothing))
    spread.labelled = labelled
    spread.domains = tuple(domains)
    spread.at, spread.size = table.specs.position, table.size


def _counts(spread: Spread, at: int, world: World) -> Numbers:
    """Pods by place of the label, on the rows that count. Not to be changed."""
    constraint, domain = spread.constraints[at], spread.domains[at]
    counter = world.counter((constraint.selects,))
    places = world.table.domains(constraint.key).places
    steps = counter.since(domain.at) if domain.counter is counter else None
    if steps is None:
        per_row = counter.per_row[: world.table.size]
        weights = np.where(domain.rows, per_row, 0)
        size = len(domain.counts)
        domain.counts = np.bincount(places, weights=weights, minlength=size).astype(np.int64)
        domain.counter = counter
    else:
        for row, amount in steps:
            if domain.rows[row]:
                domain.counts[places[row]] += amount
    domain.at = counter.position
    return domain.counts


def over_by(pod: PodInfo, world: World, row: int) -> list[tuple[Constraint, int]]:
    """The pod's own strict constraints that keep it off the row, each with the skew that it would make.

    Where the row's node lacks the label the skew is 0.
    """
    plugin = PodTopologySpread()
    state = plugin.prepare(pod, world)
    found = []
    for at, constraint in enumerate(state.constraints if state is not None else ()):
        assert state is not None
        place = int(world.table.domains(constraint.key).places[row])
        if not place:
            found.append((constraint, 0))
            continue
        counts = _counts(state, at, world)
        here = counts[state.domains[at].present]
        least = int(here.min()) if len(here) and len(here) >= constraint.min_domains else 0
        skew = int(counts[place]) + int(constraint.matches_itself) - least
        if skew > constraint.max_skew:
            found.append((constraint, skew))
    return found


def made_of(args: Mapping[str, Any]) -> PodTopologySpread:
    """The plugin that PodTopologySpreadArgs describe. Raises ValueError."""
    defaults = spread_defaults(args)
    return PodTopologySpread() if defaults is None else PodTopologySpread(defaults, system=False)
