"""Pods by their labels, and how many of those that a rule selects are on each node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from sampan.machinery import selectors
from sampan.machinery.selectors import NOTHING, Requirement, Selector
from sampan.scheduler.podinfo import PodInfo, Template
from sampan.scheduler.rowcounts import RowCounts
from sampan.schema import api

# Rules whose pods are counted at once; beyond that counting begins anew.
MOST_COUNTERS: Final = 4096
NamespaceLabels = Callable[[str], Mapping[str, str]]


class Selects(msgspec.Struct, frozen=True):
    """Which pods a rule is about: of these namespaces, or of those that a selector picks."""

    namespaces: frozenset[str]
    selector: Selector
    by_labels: Selector = NOTHING
    terminating: bool = True  # whether pods that are being deleted count

    def matches(self, namespace: str, labels: Mapping[str, str], of: NamespaceLabels) -> bool:
        if namespace not in self.namespaces and not self.by_labels.matches(of(namespace)):
            return False
        return self.selector.matches(labels)


class Term(msgspec.Struct, frozen=True):
    """One affinity term: which pods, and what "together" means."""

    selects: Selects
    topology_key: str

    def matches(self, template: Template, of: NamespaceLabels) -> bool:
        return self.selects.matches(template.namespace, template.labels, of)


def selector_of(selector: api.LabelSelector | None) -> Selector:
    """The selector; one that is not valid selects nothing."""
    try:
        return selectors.from_label_selector(selector)
    except selectors.SelectorError:
        return NOTHING


def with_keys(selector: Selector, labels: Mapping[str, str], same: list[str], other: list[str]) -> Selector:
    """The selector narrowed by matchLabelKeys and mismatchLabelKeys, as far as the pod has the labels."""
    more = [Requirement(k, selectors.IN, (labels[k],)) for k in same if k in labels]
    more += [Requirement(k, selectors.NOT_IN, (labels[k],)) for k in other if k in labels]
    if not more or selector.selects_nothing:
        return selector
    return Selector((*selector.requirements, *more))


def term_of(term: api.PodAffinityTerm, namespace: str, labels: Mapping[str, str]) -> Term:
    """A pod's affinity term; without namespaces it is about the pod's own."""
    narrowed = with_keys(selector_of(term.labelSelector), labels, term.matchLabelKeys, term.mismatchLabelKeys)
    names = frozenset(term.namespaces)
    if not names and term.namespaceSelector is None:
        names = frozenset((namespace,))
    by_labels = selector_of(term.namespaceSelector) if term.namespaceSelector is not None else NOTHING
    return Term(Selects(names, narrowed, by_labels), term.topologyKey)


class Counter(RowCounts):
    """How many pods that all of some rules select are on each row."""

    __slots__ = ("rules",)

    def __init__(self, rules: tuple[Selects, ...], size: int) -> None:
        super().__init__(size)
        self.rules = rules


class Group:
    """The placed pods of one namespace with the same labels."""

    __slots__ = ("counters", "labels", "namespace", "rows", "terminating")

    def __init__(self, namespace: str, labels: Mapping[str, str], terminating: bool) -> None:
        self.namespace = namespace
        self.labels = labels
        self.terminating = terminating
        self.rows: dict[int, int] = {}
        self.counters: list[Counter] = []


class Groups:
    """All placed pods by their labels, with the counters that somebody asked for."""

    def __init__(self, namespace_labels: NamespaceLabels) -> None:
        self._namespace_labels = namespace_labels
        self._groups: dict[tuple[Template, bool], Group] = {}
        self._counters: dict[tuple[Selects, ...], Counter] = {}
        self._size = 0

    def counter(self, rules: tuple[Selects, ...], size: int) -> Counter:
        """The pods that all of `rules` select; kept up to date from now on."""
        known = self._counters.get(rules)
        if known is None:
            if len(self._counters) >= MOST_COUNTERS:
                self.forget_counters()
            known = self._counters[rules] = Counter(rules, size)
            for group in self._groups.values():
                self._join(group, known)
        known.grow(size)
        return known

    def add(self, pod: PodInfo, row: int, amount: int = 1) -> None:
        """Count a pod on a row, or with -1 no longer."""
        key = (pod.template, pod.terminating)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(pod.namespace, pod.labels, pod.terminating)
            for counter in self._counters.values():
                self._join(group, counter)
        count = group.rows.get(row, 0) + amount
        if count:
            group.rows[row] = count
        else:
            del group.rows[row]
            if not group.rows:
                del self._groups[key]
        for counter in group.counters:
            counter.add(row, amount)

    def forget_counters(self) -> None:
        """Count anew, as where namespaces got other labels."""
        self._counters.clear()
        for group in self._groups.values():
            group.counters.clear()

    def _join(self, group: Group, counter: Counter) -> None:
        if group.terminating and not all(rule.terminating for rule in counter.rules):
            return
        of = self._namespace_labels
        if all(rule.matches(group.namespace, group.labels, of) for rule in counter.rules):
            group.counters.append(counter)
            for row, count in group.rows.items():
                counter.add(row, count)
