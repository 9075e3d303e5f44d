"""Which nodes a pod may run on, by its node selector and required node affinity.

Shared by all who ask: the scheduler, the DaemonSet controller and the node's own admission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sampan.machinery import selectors
from sampan.machinery.selectors import Requirement
from sampan.schema import api

_OPERATORS: Final = {
    "In": selectors.IN,
    "NotIn": selectors.NOT_IN,
    "Exists": selectors.EXISTS,
    "DoesNotExist": selectors.DOES_NOT_EXIST,
    "Gt": selectors.GREATER_THAN,
    "Lt": selectors.LESS_THAN,
}
NAME_FIELD: Final = "metadata.name"
# The node's name and labels in, whether it will do out.
Matches = Callable[[str, Mapping[str, str]], bool]


def required(spec: api.PodSpec) -> Matches | None:
    """What a node must be like for the pod; None where anything will do."""
    selector = spec.nodeSelector
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if not selector and terms is None:
        return None
    alternatives = [term_matches(term) for term in terms.nodeSelectorTerms] if terms is not None else None

    def matches(name: str, labels: Mapping[str, str]) -> bool:
        if any(labels.get(key) != value for key, value in selector.items()):
            return False
        return alternatives is None or any(alternative(name, labels) for alternative in alternatives)

    return matches


def term_matches(term: api.NodeSelectorTerm) -> Matches:
    """All expressions and fields of one term. A term without any matches no node."""
    by_label = _requirements(term.matchExpressions)
    by_field = _requirements(term.matchFields)
    if not by_label and not by_field:
        return lambda _name, _labels: False

    def matches(name: str, labels: Mapping[str, str]) -> bool:
        fields = {NAME_FIELD: name}
        return all(r.matches(labels) for r in by_label) and all(r.matches(fields) for r in by_field)

    return matches


def _requirements(expressions: Sequence[api.NodeSelectorRequirement]) -> list[Requirement]:
    return [Requirement(e.key, _OPERATORS[e.operator], tuple(e.values)) for e in expressions]
