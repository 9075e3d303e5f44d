"""InterPodAffinity: pods near some pods and far from others, in both directions."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from sampan.scheduler.changes import Rows
from sampan.scheduler.framework import (
    ADD,
    ASSIGNED_POD,
    MOST_SCORE,
    NODE_EVENT,
    UPDATE_LABELS,
    Event,
    Plugin,
    Reason,
    Verdict,
)
from sampan.scheduler.groups import Selects, Term
from sampan.scheduler.holders import KEEPS_OUT, NEEDED, UNWANTED, WANTED, Held, terms_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.rowcounts import RowCounts
from sampan.scheduler.table import Domains, Numbers
from sampan.scheduler.world import World

AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
EXISTING: Final = "node(s) didn't satisfy existing pods anti-affinity rules"


class Needs(msgspec.Struct, frozen=True):
    """What a pod requires of its neighbours, and which placed pods' terms keep it out."""

    near: tuple[Term, ...]
    alone: bool  # whether the pod itself is what its own terms ask for
    far: tuple[Term, ...]
    kept_out_by: tuple[Held, ...]


class Wishes(msgspec.Struct, frozen=True):
    """Weighted terms of the pod, and of placed pods about it."""

    own: tuple[tuple[Term, int], ...]
    of_others: tuple[tuple[Held, int], ...]


class InterPodAffinity(Plugin):
    """`hard_weight` is what another pod's required affinity adds; see InterPodAffinityArgs."""

    name: ClassVar[str] = "InterPodAffinity"
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, ASSIGNED_POD, "Namespace"})

    def __init__(self, hard_weight: int = 1, *, ignore_others: bool = False) -> None:
        self._hard_weight = hard_weight
        self._ignore_others = ignore_others

    def prepare(self, pod: PodInfo, world: World) -> Needs | None:
        terms = terms_of(pod.template)
        if not terms.held and not world.holders:
            return None
        near = tuple(held.term for held in terms.of(NEEDED))
        far = tuple(held.term for held in terms.of(KEEPS_OUT))
        kept_out = self._about(pod, world, KEEPS_OUT)
        if not near and not far and not kept_out:
            return None
        of = world.namespace_labels
        return Needs(near, all(t.matches(pod.template, of) for t in near), far, kept_out)

    def filter(self, state: Any, world: World, rows: Rows) -> Verdict | None:
        needs: Needs = state
        found = []
        if needs.near:
            found.append((self._far_from_all(needs, world, rows), AFFINITY, False))
        if needs.far:
            out = None
            for term in needs.far:
                near = _at(
                    world.counter((term.selects,)).by_place(_domains(term, world)) > 0, term, world, rows
                )
                out = near if out is None else out | near
            found.append((out, ANTI_AFFINITY, True))
        if needs.kept_out_by:
            out = None
            for held in needs.kept_out_by:
                held_on = world.holders.counts(held, world.table.size)
                near = _at(held_on.by_place(_domains(held.term, world)) > 0, held.term, world, rows)
                out = near if out is None else out | near
            found.append((out, EXISTING, True))
        refused: Any = None
        reasons: list[Reason] = []
        for where, text, resolvable in found:
            fresh = where if refused is None else where & ~refused
            if fresh.any():
                reasons.append(Reason(text, fresh, resolvable))
                refused = fresh if refused is None else refused | fresh
        return Verdict(refused, tuple(reasons)) if refused is not None else None

    def prepare_score(self, pod: PodInfo, world: World) -> Wishes | None:
        terms = terms_of(pod.template)
        if not terms.held and not world.holders:
            return None
        key = (self.name, "own")
        own = pod.template.memo.get(key)
        if own is None:
            own = pod.template.memo[key] = tuple(
                (held.term, held.weight if held.kind == WANTED else -held.weight)
                for held in terms.held
                if held.kind in (WANTED, UNWANTED)
            )
        if self._ignore_others and not own:
            return None
        others = [(held, held.weight) for held in self._about(pod, world, WANTED)]
        others += [(held, -held.weight) for held in self._about(pod, world, UNWANTED)]
        if self._hard_weight > 0:
            others += [(held, self._hard_weight) for held in self._about(pod, world, NEEDED)]
        return Wishes(own, tuple(others)) if own or others else None

    def score(self, state: Any, world: World, rows: Rows) -> Numbers | None:
        """Already 0..100, from the least to the most that any node has."""
        sums = _sums(state, world)
        total: Any = 0
        for key, by_place in sums.items():
            total = total + by_place[world.table.domains(key).places[rows]]
        least, most = int(total.min()), int(total.max())
        if most == least:
            return None  # the same for all
        if len(sums) == 1:  # a label has fewer values than nodes
            key, by_place = next(iter(sums.items()))
            shares: Numbers = _shares(by_place, least, most)[world.table.domains(key).places[rows]]
            return shares
        return _shares(total, least, most)

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        if event.kind == NODE_EVENT:
            return event.does(ADD, UPDATE_LABELS)
        if event.kind != ASSIGNED_POD:
            return True
        of = world.namespace_labels
        terms = terms_of(pod.template)
        about = [held.term.selects for held in (*terms.of(NEEDED), *terms.of(KEEPS_OUT))]
        for seen in (event.old, event.new):
            if seen is None:
                continue
            namespace = seen.metadata.namespace or ""
            if any(s.matches(namespace, seen.metadata.labels, of) for s in about):
                return True
            affinity = seen.spec.affinity
            if affinity is not None and affinity.podAntiAffinity is not None:
                return True  # it may be what kept the pod out
        return False

    def _about(self, pod: PodInfo, world: World, kind: str) -> tuple[Held, ...]:
        """The placed pods' terms of a kind that are about this pod."""
        if not world.holders:
            return ()
        key = (self.name, kind)
        kept = pod.template.memo.get(key)
        if kept is None or kept[0] != world.holders.version or kept[1] is not world:
            of, template = world.namespace_labels, pod.template
            found = tuple(
                held for held in world.holders.held() if held.kind == kind and held.term.matches(template, of)
            )
            kept = pod.template.memo[key] = (world.holders.version, world, found)
        about: tuple[Held, ...] = kept[2]
        return about

    def _far_from_all(self, needs: Needs, world: World, rows: Rows) -> Any:
        """Where a term has no match. The first of a group may go anywhere that has the labels."""
        rules: tuple[Selects, ...] = tuple(term.selects for term in needs.near)
        missing: Any = None
        unmet: Any = None
        nobody = True
        for term in needs.near:
            places = _domains(term, world).places[rows]
            by_place = world.counter(rules).by_place(_domains(term, world))
            no_label = places == 0
            none = (by_place == 0)[places]
            missing = no_label if missing is None else missing | no_label
            unmet = none if unmet is None else unmet | none
            nobody = nobody and not by_place.any()
        return missing if nobody and needs.alone else missing | unmet


def _domains(term: Term, world: World) -> Domains:
    return world.table.domains(term.topology_key)


def _at(by_place: Any, term: Term, world: World, rows: Rows) -> Any:
    """For each row what stands at the place of its label; nothing where it has none."""
    return by_place[_domains(term, world).places[rows]]


def _sums(wishes: Wishes, world: World) -> dict[str, Numbers]:
    """What the wishes come to under each value of each label that they are about."""
    sums: dict[str, Numbers] = {}
    counted: list[tuple[Term, int, RowCounts]] = [
        (term, weight, world.counter((term.selects,))) for term, weight in wishes.own
    ]
    for held, weight in wishes.of_others:
        counted.append((held.term, weight, world.holders.counts(held, world.table.size)))
    for term, weight, counts in counted:
        more = weight * counts.by_place(_domains(term, world))
        sums[term.topology_key] = sums[term.topology_key] + more if term.topology_key in sums else more
    return sums


def _shares(total: Numbers, least: int, most: int) -> Numbers:
    shares: Numbers = (MOST_SCORE * ((total - least) / (most - least))).astype(np.int64)
    return shares
