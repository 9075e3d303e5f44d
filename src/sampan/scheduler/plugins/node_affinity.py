"""NodeAffinity: nodeSelector, required terms (OR of ANDs), preferred terms by weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sampan.machinery import selectors
from sampan.machinery.selectors import Requirement
from sampan.scheduler.table import Mask, NodeTable, Numbers
from sampan.schema import api

REASON = "node(s) didn't match Pod's node affinity/selector"
_OPERATORS: Final = {
    "In": selectors.IN,
    "NotIn": selectors.NOT_IN,
    "Exists": selectors.EXISTS,
    "DoesNotExist": selectors.DOES_NOT_EXIST,
    "Gt": selectors.GREATER_THAN,
    "Lt": selectors.LESS_THAN,
}
Matches = Callable[[api.Node], bool]


def filter_nodes(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """None where the pod asks for nothing of its node."""
    wanted = required(pod.spec)
    if wanted is None:
        return None
    passes = np.zeros(nodes.size, dtype=np.bool_)
    for row in nodes.live_rows():
        node = nodes.nodes[row]
        passes[row] = node is not None and wanted(node)
    return Mask(passes, ((REASON, ~passes),))


def score_nodes(pod: api.Pod, nodes: NodeTable) -> Numbers | None:
    """The weights of the preferred terms that a node matches, scaled to 0..100."""
    affinity = pod.spec.affinity.nodeAffinity if pod.spec.affinity is not None else None
    if affinity is None or not affinity.preferredDuringSchedulingIgnoredDuringExecution:
        return None
    totals = np.zeros(nodes.size, dtype=np.int64)
    for preferred in affinity.preferredDuringSchedulingIgnoredDuringExecution:
        if preferred.preference is None:
            continue
        matches = term_matches(preferred.preference)
        for row in nodes.live_rows():
            node = nodes.nodes[row]
            if node is not None and matches(node):
                totals[row] += preferred.weight
    most = int(totals.max(initial=0))
    return None if most == 0 else totals * 100 // most


def required(spec: api.PodSpec) -> Matches | None:
    """What a node must be like for the pod; None where anything will do."""
    selector = spec.nodeSelector
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if not selector and terms is None:
        return None
    alternatives = [term_matches(term) for term in terms.nodeSelectorTerms] if terms is not None else None

    def matches(node: api.Node) -> bool:
        labels = node.metadata.labels
        if any(labels.get(key) != value for key, value in selector.items()):
            return False
        return alternatives is None or any(alternative(node) for alternative in alternatives)

    return matches


def term_matches(term: api.NodeSelectorTerm) -> Matches:
    """All expressions and fields of one term. A term without any matches no node."""
    by_label = _requirements(term.matchExpressions)
    by_field = _requirements(term.matchFields)
    if not by_label and not by_field:
        return lambda _node: False

    def matches(node: api.Node) -> bool:
        fields = {"metadata.name": node.metadata.name or ""}
        return all(r.matches(node.metadata.labels) for r in by_label) and all(
            r.matches(fields) for r in by_field
        )

    return matches


def _requirements(expressions: Sequence[api.NodeSelectorRequirement]) -> list[Requirement]:
    return [Requirement(e.key, _OPERATORS[e.operator], tuple(e.values)) for e in expressions]
