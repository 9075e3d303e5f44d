"""Pods that are meant for one node: reading and writing the node affinity that says so."""

from __future__ import annotations

from sampan.kinds.core.node_selection import NAME_FIELD
from sampan.schema import api


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
