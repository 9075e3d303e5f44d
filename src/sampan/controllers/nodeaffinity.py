"""Which nodes a pod may run on by its node selector and required node affinity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sampan.machinery import selectors
from sampan.machinery.selectors import Requirement
from sampan.schema import api

Matches = Callable[[api.Node], bool]

_OPERATORS: Final = {
    "In": selectors.IN,
    "NotIn": selectors.NOT_IN,
    "Exists": selectors.EXISTS,
    "DoesNotExist": selectors.DOES_NOT_EXIST,
    "Gt": selectors.GREATER_THAN,
    "Lt": selectors.LESS_THAN,
}
NAME_FIELD: Final = "metadata.name"


def required(spec: api.PodSpec) -> Matches:
    """Whether a node is as the pod asks: nodeSelector, and one of the required terms."""
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    alternatives = [_term(term) for term in terms.nodeSelectorTerms] if terms is not None else None

    def matches(node: api.Node) -> bool:
        labels = node.metadata.labels
        if any(labels.get(key) != value for key, value in spec.nodeSelector.items()):
            return False
        return alternatives is None or any(fits(node) for fits in alternatives)

    return matches


def _term(term: api.NodeSelectorTerm) -> Matches:
    """All expressions and fields of the term; one without any matches no node."""
    by_label, by_field = _requirements(term.matchExpressions), _requirements(term.matchFields)
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


def named_node(spec: api.PodSpec) -> str:
    """The one node that the pod is bound to, or that its affinity names; "" where there is none."""
    if spec.nodeName:
        return spec.nodeName
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    for term in terms.nodeSelectorTerms if terms is not None else ():
        for wanted in term.matchFields:
            if (wanted.key, wanted.operator) == (NAME_FIELD, "In") and len(wanted.values) == 1:
                return wanted.values[0]
    return ""


def only_node(spec: api.PodSpec, name: str) -> None:
    """Have the pod run on this node alone: ReplaceDaemonSetPodNodeNameNodeAffinity."""
    wanted = api.NodeSelectorRequirement(key=NAME_FIELD, operator="In", values=[name])
    term = api.NodeSelectorTerm(matchFields=[wanted])
    spec.affinity = spec.affinity or api.Affinity()
    spec.affinity.nodeAffinity = spec.affinity.nodeAffinity or api.NodeAffinity()
    selector = api.NodeSelector(nodeSelectorTerms=[term])
    spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution = selector
