"""NodeAffinity: nodeSelector, required terms (OR of ANDs), preferred terms by weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sampan.machinery import selectors
from sampan.machinery.selectors import Requirement
from sampan.scheduler.table import Mask, NodeTable, Numbers
from sampan.schema import api

REASON: Final = "node(s) didn't match Pod's node affinity/selector"
_OPERATORS: Final = {
    "In": selectors.IN,
    "NotIn": selectors.NOT_IN,
    "Exists": selectors.EXISTS,
    "DoesNotExist": selectors.DOES_NOT_EXIST,
    "Gt": selectors.GREATER_THAN,
    "Lt": selectors.LESS_THAN,
}
NAME_FIELD: Final = "metadata.name"
PINNED_REASON: Final = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
Matches = Callable[[api.Node], bool]


def filter_pinned(pod: api.Pod, nodes: NodeTable) -> Mask | None:
    """Upstream looks at no other nodes than those that a pod is pinned to, and words it in its own way."""
    names = pinned(pod.spec)
    if names is None:
        return None
    passes = np.zeros(nodes.size, dtype=np.bool_)
    for name in names:
        row = nodes.rows.get(name)
        if row is not None:
            passes[row] = True
    return Mask(passes, ((PINNED_REASON, ~passes),))


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
    """The sum of the weights of the preferred terms that each node matches; None where the pod has none."""
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
    return totals


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
        fields = {NAME_FIELD: node.metadata.name or ""}
        return all(r.matches(node.metadata.labels) for r in by_label) and all(
            r.matches(fields) for r in by_field
        )

    return matches


def _requirements(expressions: Sequence[api.NodeSelectorRequirement]) -> list[Requirement]:
    return [Requirement(e.key, _OPERATORS[e.operator], tuple(e.values)) for e in expressions]
