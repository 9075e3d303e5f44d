"""Node selector terms over all nodes at once, by numbered label values. Pure."""

from __future__ import annotations

import numpy as np

from sampan.kinds.core.node_selection import NAME_FIELD, term_matches
from sampan.scheduler.table import Bools, NodeTable
from sampan.schema import api

_SIMPLE = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


def terms_mask(terms: list[api.NodeSelectorTerm], table: NodeTable) -> Bools:
    """The rows that any of the terms matches."""
    found = np.zeros(table.size, dtype=np.bool_)
    for term in terms:
        found |= term_mask(term, table)
    return found & table.live


def selector_mask(labels: dict[str, str], table: NodeTable) -> Bools:
    """The rows that have all of the labels."""
    found = table.live.copy()
    for key, value in labels.items():
        domains = table.domains(key)
        number = domains.numbers.get(value)
        if number is None:
            return np.zeros(table.size, dtype=np.bool_)
        found &= domains.ids == number
    return found


def term_mask(term: api.NodeSelectorTerm, table: NodeTable) -> Bools:
    """The rows that one term matches. A term without any expression matches none."""
    expressions, fields = term.matchExpressions, term.matchFields
    if not expressions and not fields:
        return np.zeros(table.size, dtype=np.bool_)
    if any(e.operator not in _SIMPLE for e in expressions):
        return _one_by_one(term, table)
    found = table.live.copy()
    for expression in expressions:
        found &= _expression_mask(expression, table)
    for field in fields:
        if field.key != NAME_FIELD or field.operator not in ("In", "NotIn"):
            return _one_by_one(term, table)
        named = np.zeros(table.size, dtype=np.bool_)
        named[[table.rows[name] for name in field.values if name in table.rows]] = True
        found &= named if field.operator == "In" else ~named
    return found


def _expression_mask(expression: api.NodeSelectorRequirement, table: NodeTable) -> Bools:
    domains = table.domains(expression.key)
    if expression.operator == "Exists":
        return domains.ids >= 0
    if expression.operator == "DoesNotExist":
        return domains.ids < 0
    # The first place is for nodes without the label.
    listed = np.zeros(domains.count + 1, dtype=np.bool_)
    for value in expression.values:
        number = domains.numbers.get(value)
        if number is not None:
            listed[number + 1] = True
    among: Bools = listed[domains.ids + 1]
    return among if expression.operator == "In" else ~among


def _one_by_one(term: api.NodeSelectorTerm, table: NodeTable) -> Bools:
    matches = term_matches(term)
    return np.array(
        [n is not None and matches(n.metadata.name or "", n.metadata.labels) for n in table.nodes],
        dtype=np.bool_,
    )
