"""NodeAffinity: nodeSelector, required terms (OR of ANDs), preferred terms by weight."""

from __future__ import annotations

from typing import Final

import numpy as np

from sampan.kinds.core.node_selection import NAME_FIELD, required, term_matches
from sampan.scheduler.table import Mask, NodeTable, Numbers
from sampan.schema import api

REASON: Final = "node(s) didn't match Pod's node affinity/selector"
PINNED_REASON: Final = "node(s) didn't satisfy plugin(s) [NodeAffinity]"


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
        passes[row] = node is not None and wanted(node.metadata.name or "", node.metadata.labels)
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
            if node is not None and matches(node.metadata.name or "", node.metadata.labels):
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
