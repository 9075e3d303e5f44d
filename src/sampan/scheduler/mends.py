"""What would have to change for a node to take a pod, plugin by plugin. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sampan.kinds.core.node_selection import required, term_matches
from sampan.machinery.tolerations import KEEP_AWAY, tolerated
from sampan.scheduler.needed import LABEL, PORT, RESOURCE, TOLERATION, UNCORDON, Change, amount_text
from sampan.scheduler.neighbourmends import neighbours, spread
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.requests import PODS
from sampan.scheduler.storagemends import attach_fewer, bind_volumes, free_volumes, give_devices, zones
from sampan.scheduler.world import World
from sampan.schema import api

_CORDONED: Final = "node.kubernetes.io/unschedulable"

Mend = Callable[[World, PodInfo, api.Node], "tuple[Change, ...] | None"]


def changes(world: World, pod: PodInfo, node: str, plugins: Sequence[str]) -> tuple[Change, ...] | None:
    """What together would satisfy these plugins on the node; None where for one of them nothing is known."""
    found: list[Change] = []
    given = world.table.nodes[world.table.rows[node]]
    for plugin in plugins:
        mend = _MENDS.get(plugin)
        needed = mend(world, pod, given) if mend is not None and given is not None else None
        if needed is None:
            return None
        found += needed
    return tuple(found)


def _uncordon(_world: World, _pod: PodInfo, node: api.Node) -> tuple[Change, ...]:
    name = node.metadata.name or ""
    return (Change(UNCORDON, name, f"uncordon node {name}"),)


def _tolerate(_world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...]:
    return tuple(
        Change(
            TOLERATION, node.metadata.name or "", f"add a toleration of the taint {_taint(taint)} to the pod"
        )
        for taint in node.spec.taints
        if taint.effect in KEEP_AWAY
        and not tolerated(taint, pod.spec.tolerations)
        and not (node.spec.unschedulable and taint.key == _CORDONED)  # uncordoning takes it away
    )


def _taint(taint: api.Taint) -> str:
    value = f"={taint.value}" if taint.value else ""
    return f"{taint.key}{value}:{taint.effect}"


def _free_ports(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...]:
    name = node.metadata.name or ""
    return tuple(
        Change(
            PORT,
            name,
            f"free host port {port.port}/{port.protocol} on {name}, which pod {'/'.join(p.key)} has",
        )
        for port in pod.demand.ports
        for p in world.on(name)
        if any(port.clashes(other) for other in p.demand.ports)
    )


def _more(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...]:
    name = node.metadata.name or ""
    row = world.table.rows[name]
    found = []
    for resource, amount in pod.demand.amounts.items():
        offered = int(world.table.allocatable(resource)[row])
        short = amount + int(world.table.requested(resource)[row]) - offered
        if amount <= 0 or short <= 0:
            continue
        if resource == PODS:
            text = f"room for {short} more pod{'s' if short > 1 else ''} on {name}"
        else:
            text = f"{amount_text(resource, short)} more {resource} on {name}"
            if short < amount:
                left, asked = amount_text(resource, amount - short), amount_text(resource, amount)
                text += f", or a pod that asks for {left} instead of {asked}"
        found.append(Change(RESOURCE, name, text, short / offered if offered else float(short)))
    return tuple(found)


def _relabel(_world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """The fewest labels to set or remove; None where no labels help (contradictions, other names)."""
    name, labels = node.metadata.name or "", node.metadata.labels
    matches = required(pod.spec)
    if matches is None:
        return None
    wanted: dict[str, str | None] = {k: v for k, v in pod.spec.nodeSelector.items() if labels.get(k) != v}
    best: dict[str, str | None] | None = None
    for edits in _alternatives(pod.spec, {**labels, **{k: v for k, v in wanted.items() if v is not None}}):
        whole = {**wanted, **edits}
        after = {k: v for k, v in {**labels, **whole}.items() if v is not None}
        if matches(name, after) and (best is None or len(whole) < len(best)):
            best = whole
    if best is None:
        return None
    return tuple(Change(LABEL, name, _label(name, labels, k, v)) for k, v in sorted(best.items()))


def _label(node: str, labels: Mapping[str, str], key: str, value: str | None) -> str:
    if value is None:
        return f"remove the label {key} from node {node} (it is {labels.get(key)!r})"
    present = f"it is {labels[key]!r}" if key in labels else "it is missing"
    return f"label node {node} with {key}={value} ({present})"


def _alternatives(spec: api.PodSpec, labels: Mapping[str, str]) -> list[dict[str, str | None]]:
    """For each required term, the labels that would satisfy it; no edits at all where there are no terms."""
    affinity = spec.affinity.nodeAffinity if spec.affinity is not None else None
    terms = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if terms is None:
        return [{}]
    return [_edits(term, labels) for term in terms.nodeSelectorTerms]


def _edits(term: api.NodeSelectorTerm, labels: Mapping[str, str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for expression in term.matchExpressions:
        if term_matches(api.NodeSelectorTerm(matchExpressions=[expression]))("", labels):
            continue
        values = expression.values
        if expression.operator in ("NotIn", "DoesNotExist"):
            found[expression.key] = None
        elif expression.operator == "Exists":
            found[expression.key] = ""
        elif expression.operator in ("Gt", "Lt"):
            found[expression.key] = str(int(values[0]) + (1 if expression.operator == "Gt" else -1))
        else:
            found[expression.key] = values[0]
    return found


_MENDS: Final[Mapping[str, Mend]] = {
    "NodeUnschedulable": _uncordon,
    "TaintToleration": _tolerate,
    "NodePorts": _free_ports,
    "NodeResourcesFit": _more,
    "NodeAffinity": _relabel,
    "PodTopologySpread": spread,
    "InterPodAffinity": neighbours,
    "VolumeBinding": bind_volumes,
    "VolumeRestrictions": free_volumes,
    "NodeVolumeLimits": attach_fewer,
    "VolumeZone": zones,
    "DynamicResources": give_devices,
}
