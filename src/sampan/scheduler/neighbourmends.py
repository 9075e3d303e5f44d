"""What would have to change among a node's neighbours for it to take a pod: spread and pod affinity. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sampan.scheduler.groups import Selects, Term
from sampan.scheduler.holders import terms_of
from sampan.scheduler.needed import LABEL, NEIGHBOUR, SPREAD, Change
from sampan.scheduler.plugins.inter_pod_affinity import InterPodAffinity, Needs
from sampan.scheduler.plugins.pod_topology_spread import over_by
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

# With more pods than this in the way nothing small would help.
MOST_IN_THE_WAY: Final = 5


def spread(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """A label that is missing, or the skew that would have to be allowed."""
    name, labels = node.metadata.name or "", node.metadata.labels
    found = []
    for constraint, skew in over_by(pod, world, world.table.rows[name]):
        key, most = constraint.key, constraint.max_skew
        if key not in labels:
            found.append(_labelled(name, key))
        else:
            fewer = f"{skew - most} fewer of the pods that it counts where {key} is {labels[key]}"
            text = f"a maxSkew of {skew} instead of {most} for {key} in the pod, or {fewer}"
            found.append(Change(SPREAD, name, text))
    return tuple(found) or None


def neighbours(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """Pods to be moved away, and pods that would have to be near."""
    needs = InterPodAffinity().prepare(pod, world)
    if needs is None:
        return None
    name = node.metadata.name or ""
    away: dict[tuple[str, str], Change] = {}
    for other, place in _in_the_way(world, needs, name):
        text = f"move pod {'/'.join(other.key)} away from where {place}: anti-affinity keeps the two apart"
        away.setdefault(other.key, Change(NEIGHBOUR, name, text))
    if len(away) > MOST_IN_THE_WAY:
        return None
    return (*_near(world, pod, needs, node), *away.values()) or None


def _in_the_way(world: World, needs: Needs, node: str) -> Iterator[tuple[PodInfo, str]]:
    """Pods that the pod wants to be apart from, or that want that of it, with where they are."""
    of = world.namespace_labels
    for term in needs.far:
        for other, place in _beside(world, term.topology_key, node):
            if term.matches(other.template, of) and (term.selects.terminating or not other.terminating):
                yield other, place
    for held in needs.kept_out_by:
        for other, place in _beside(world, held.term.topology_key, node):
            if held in terms_of(other.template).held:
                yield other, place


def _beside(world: World, key: str, node: str) -> Iterator[tuple[PodInfo, str]]:
    """The pods on the nodes that have the node's value of a label."""
    value = world.table.labels(world.table.rows[node]).get(key)
    if value is None:
        return
    for name, row in world.table.rows.items():
        if world.table.labels(row).get(key) == value:
            for other in world.on(name):
                yield other, f"{key} is {value}"


def _near(world: World, pod: PodInfo, needs: Needs, node: api.Node) -> Iterator[Change]:
    """What the pod asks for near it and does not find: a pod, or the label that says what near is."""
    name, labels, of = node.metadata.name or "", node.metadata.labels, world.namespace_labels
    on = {
        placed.node
        for placed in world.placed.values()
        if all(term.matches(placed.pod.template, of) for term in needs.near)
    }
    rows = [world.table.rows[each] for each in on if each in world.table.rows]
    for key in dict.fromkeys(term.topology_key for term in needs.near):
        there = {world.table.labels(row)[key] for row in rows if key in world.table.labels(row)}
        value = labels.get(key)
        if value is None:
            yield _labelled(name, key, min(there, default=""))
        if not there and needs.alone:
            continue  # the first of a group may go anywhere that has the labels
        if value not in there and (value is not None or not there):
            wanted = " and ".join(dict.fromkeys(_described(term) for term in needs.near))
            where = f"{key} is {value}" if value is not None else f"{key} is the same"
            yield Change(NEIGHBOUR, name, f"a pod that matches {wanted} where {where}")


def _described(term: Term) -> str:
    selects: Selects = term.selects
    where = f" in namespace {', '.join(sorted(selects.namespaces))}" if selects.namespaces else ""
    return f"{selects.selector or 'any labels'}{where}"


def _labelled(node: str, key: str, value: str = "") -> Change:
    label = f"{key}={value}" if value else key
    return Change(LABEL, node, f"label node {node} with {label} (it is missing)")
