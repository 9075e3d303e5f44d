"""The affinity terms of placed pods, and on which nodes the pods are that hold them. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.scheduler.groups import Term, term_of
from sampan.scheduler.podinfo import PodInfo, Template
from sampan.scheduler.rowcounts import RowCounts
from sampan.schema import api

KEEPS_OUT: Final = "required anti-affinity"
WANTED: Final = "preferred affinity"
UNWANTED: Final = "preferred anti-affinity"
NEEDED: Final = "required affinity"


class Held(msgspec.Struct, frozen=True):
    """A term with what it means to its holder; `weight` is 0 for required ones."""

    kind: str
    term: Term
    weight: int = 0


class Terms(msgspec.Struct, frozen=True):
    """All affinity terms of one template."""

    held: tuple[Held, ...] = ()

    def of(self, kind: str) -> tuple[Held, ...]:
        return tuple(h for h in self.held if h.kind == kind)


_NONE: Final = Terms()


def terms_of(template: Template) -> Terms:
    """The template's terms; worked out once."""
    affinity = template.shape.spec.affinity
    if affinity is None or (affinity.podAffinity is None and affinity.podAntiAffinity is None):
        return _NONE
    known: Terms | None = template.memo.get("terms")
    if known is None:
        known = template.memo["terms"] = Terms(tuple(_terms(template, affinity)))
    return known


def _terms(template: Template, affinity: api.Affinity) -> list[Held]:
    found: list[Held] = []
    for part, required, preferred in (
        (affinity.podAffinity, NEEDED, WANTED),
        (affinity.podAntiAffinity, KEEPS_OUT, UNWANTED),
    ):
        if part is None:
            continue
        namespace, labels = template.namespace, template.labels
        for term in part.requiredDuringSchedulingIgnoredDuringExecution:
            found.append(Held(required, term_of(term, namespace, labels)))
        for weighted in part.preferredDuringSchedulingIgnoredDuringExecution:
            if weighted.podAffinityTerm is not None:
                own = term_of(weighted.podAffinityTerm, namespace, labels)
                found.append(Held(preferred, own, weighted.weight))
    return found


class Holders:
    """How many pods hold each term on each row. `version` changes when a term comes or goes."""

    def __init__(self) -> None:
        self.version = 0
        self._counts: dict[Held, tuple[RowCounts, list[int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def held(self) -> tuple[Held, ...]:
        return tuple(self._counts)

    def counts(self, held: Held, size: int) -> RowCounts:
        """How many pods of each row hold it."""
        counts = self._counts[held][0]
        counts.grow(size)
        return counts

    def add(self, pod: PodInfo, row: int, amount: int, size: int) -> None:
        """Count the pod's terms on a row, or with -1 no longer."""
        for held in terms_of(pod.template).held:
            known = self._counts.get(held)
            if known is None:
                known = self._counts[held] = RowCounts(size), [0]
                self.version += 1
            counts, total = known
            counts.add(row, amount)
            total[0] += amount
            if not total[0]:
                del self._counts[held]
                self.version += 1
