"""Which volumes would serve a pod's unbound claims on each node, as kube-scheduler's volume binder. Pure.

The claims of one pod are served together, the smallest first, each by the smallest volume that is left: what
is given to one is not there for the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from sampan.kinds.core.node_selection import term_matches
from sampan.machinery.selectors import EVERYTHING
from sampan.scheduler.claims import BindVolume, Provision, Work
from sampan.scheduler.groups import selector_of
from sampan.scheduler.label_masks import terms_mask
from sampan.scheduler.table import Bools, NodeTable, Numbers
from sampan.scheduler.volume_use import Offer, asked_of, class_name
from sampan.scheduler.world import World
from sampan.schema import api

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
Delayed = tuple[api.PersistentVolumeClaim, api.StorageClass]


class Served(msgspec.Struct, frozen=True):
    """For each row: whether a claim has nothing there (`unmatched`), or no room to be made there (`full`).

    `requested` and `capacity` add up by storage class what is asked of existing volumes, and what these have;
    empty unless asked for.
    """

    unmatched: Bools
    full: Bools
    requested: dict[str, Numbers] = {}
    capacity: dict[str, Numbers] = {}


def serve(delayed: Sequence[Delayed], world: World, *, weighed: bool = False) -> Served:
    """What unbound claims would find on every row at once."""
    size = world.table.size
    served = Served(np.zeros(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_))
    taken: dict[str, Bools] = {}
    for claim, storage_class in _in_order(delayed):
        selected = selected_node(claim, world)
        if selected:
            matched = np.zeros(size, dtype=np.bool_)
        elif len(delayed) == 1 and not weighed:
            matched = reach_mask([o.volume for o in candidates(claim, world)], world.table)
        else:
            matched = _give(claim, world, taken, served if weighed else None)
        made, room = _provision_masks(claim, storage_class, world)
        if world.promises.volume_of(claim):
            made = np.zeros(size, dtype=np.bool_)
        if selected:
            only = np.zeros(size, dtype=np.bool_)
            if selected in world.table.rows:
                only[world.table.rows[selected]] = True
            made &= only
        served.unmatched[:] |= ~(matched | made)
        served.full[:] |= made & ~matched & ~room
    return served


def work_on(delayed: Sequence[Delayed], node: api.Node, world: World) -> list[Work]:
    """What has to be done for the claims so that they are served on this node."""
    name = node.metadata.name or ""
    work: list[Work] = []
    taken: set[str] = set()
    for claim, _ in _in_order(delayed):
        found = None
        if not selected_node(claim, world):
            left = (o for o in candidates(claim, world) if o.name not in taken)
            found = next((o for o in left if reaches(o.volume, node)), None)
        if found is None:
            work.append(Provision(claim, name))
        else:
            taken.add(found.name)
            work.append(BindVolume(claim, found.volume))
    return work


def selected_node(claim: api.PersistentVolumeClaim, world: World) -> str:
    """The node that a claim's volume is to be made for, seen or promised; "" where none was chosen."""
    return claim.metadata.annotations.get(SELECTED_NODE) or world.promises.node_of(claim)


def candidates(claim: api.PersistentVolumeClaim, world: World) -> list[Offer]:
    """The volumes that the claim could be bound to, the best first: meant for it, then the smallest."""
    promised = world.promises.volume_of(claim)
    selector = selector_of(claim.spec.selector) if claim.spec.selector is not None else EVERYTHING
    asked, wanted = asked_of(claim), class_name(claim)
    modes, mode = frozenset(claim.spec.accessModes), claim.spec.volumeMode or "Filesystem"
    attributes = claim.spec.volumeAttributesClassName or ""
    found = []
    for offer in world.volumes.offers(claim):
        volume, spec = offer.volume, offer.volume.spec
        if promised and offer.name != promised:
            continue
        owner = world.promises.volumes.get(offer.name)
        if owner is not None and owner != claim.metadata.uid:
            continue
        if spec.claimRef is not None and not is_for(volume, claim):
            continue
        if (
            offer.capacity >= asked
            and modes <= offer.modes
            and (spec.storageClassName or "") == wanted
            and (spec.volumeMode or "Filesystem") == mode
            and (spec.volumeAttributesClassName or "") == attributes
            and volume.metadata.deletionTimestamp is None
            and volume.status.phase in (None, "", "Available", "Bound")
            and selector.matches(volume.metadata.labels)
        ):
            found.append(offer)
    return sorted(found, key=lambda o: (o.volume.spec.claimRef is None, o.capacity))


def is_for(volume: api.PersistentVolume, claim: api.PersistentVolumeClaim) -> bool:
    """Whether the volume is meant for this claim."""
    ref = volume.spec.claimRef
    if ref is None:
        return False
    same = (ref.namespace, ref.name) == (claim.metadata.namespace, claim.metadata.name)
    return same and (not ref.uid or ref.uid == claim.metadata.uid)


def reaches(volume: api.PersistentVolume, node: api.Node) -> bool:
    """Whether the volume can be reached from the node."""
    affinity = volume.spec.nodeAffinity
    if affinity is None or affinity.required is None:
        return True
    name, labels = node.metadata.name or "", node.metadata.labels
    return any(
        (term.matchExpressions or term.matchFields) and term_matches(term)(name, labels)
        for term in affinity.required.nodeSelectorTerms
    )


def volume_mask(volume: api.PersistentVolume, table: NodeTable) -> Bools:
    """The rows from which the volume can be reached."""
    affinity = volume.spec.nodeAffinity
    if affinity is None or affinity.required is None:
        return table.live
    return terms_mask(affinity.required.nodeSelectorTerms, table)


def reach_mask(volumes: Iterable[api.PersistentVolume], table: NodeTable) -> Bools:
    """The rows from which any of the volumes can be reached; quick for many that name one host each."""
    found = np.zeros(table.size, dtype=np.bool_)
    values: dict[str, set[str]] = {}
    for volume in volumes:
        affinity = volume.spec.nodeAffinity
        if affinity is None or affinity.required is None:
            return table.live.copy()
        terms = affinity.required.nodeSelectorTerms
        if len(terms) == 1 and len(terms[0].matchExpressions) == 1 and not terms[0].matchFields:
            only = terms[0].matchExpressions[0]
            if only.operator == "In":
                values.setdefault(only.key, set()).update(only.values)
                continue
        found |= terms_mask(terms, table)
    for key, wanted in values.items():
        domains = table.domains(key)
        numbers = [domains.numbers[v] for v in wanted if v in domains.numbers]
        found |= np.isin(domains.ids, numbers)
    live: Bools = found & table.live
    return live


def _in_order(delayed: Sequence[Delayed]) -> list[Delayed]:
    return sorted(delayed, key=lambda each: asked_of(each[0]))


def _give(
    claim: api.PersistentVolumeClaim, world: World, taken: dict[str, Bools], weighed: Served | None
) -> Bools:
    """On each row the best volume that no other claim of the pod took there; gives where there is one."""
    table = world.table
    matched = np.zeros(table.size, dtype=np.bool_)
    for offer in candidates(claim, world):
        given = volume_mask(offer.volume, table) & ~matched
        before = taken.get(offer.name)
        if before is not None:
            given &= ~before
        taken[offer.name] = given if before is None else before | given
        matched |= given
        if weighed is not None:
            wanted = class_name(claim)
            for sums, amount in (
                (weighed.requested, asked_of(claim)),
                (weighed.capacity, offer.capacity),
            ):
                sums.setdefault(wanted, np.zeros(table.size, dtype=np.int64))[given] += amount
    return matched


def _provision_masks(
    claim: api.PersistentVolumeClaim, storage_class: api.StorageClass, world: World
) -> tuple[Bools, Bools]:
    """The rows for which a volume could be made, and those with room for it."""
    table = world.table
    if storage_class.provisioner == NO_PROVISIONER:
        nowhere = np.zeros(table.size, dtype=np.bool_)
        return nowhere, nowhere
    topologies = storage_class.allowedTopologies
    made = terms_mask(_as_terms(topologies), table) if topologies else table.live.copy()
    return made, _room_mask(claim, storage_class, world)


def _as_terms(topologies: Iterable[api.TopologySelectorTerm]) -> list[api.NodeSelectorTerm]:
    return [
        api.NodeSelectorTerm(
            matchExpressions=[
                api.NodeSelectorRequirement(key=e.key, operator="In", values=e.values)
                for e in topology.matchLabelExpressions
            ]
        )
        for topology in topologies
    ]


def _room_mask(claim: api.PersistentVolumeClaim, storage_class: api.StorageClass, world: World) -> Bools:
    """Where the driver says that there is room; everywhere where it says nothing of it."""
    table = world.table
    driver = world.cache(api.CSIDriver).get("", storage_class.provisioner)
    if driver is None or not driver.spec.storageCapacity:
        return table.live
    asked = asked_of(claim)
    found = np.zeros(table.size, dtype=np.bool_)
    for capacity in world.cache(api.CSIStorageCapacity).items():
        most = capacity.maximumVolumeSize or capacity.capacity
        if capacity.storageClassName != storage_class.metadata.name or capacity.nodeTopology is None:
            continue
        if most is not None and most.whole() >= asked:
            found |= _topology_mask(capacity.nodeTopology, table)
    return found


def _topology_mask(selector: api.LabelSelector, table: NodeTable) -> Bools:
    """The rows that a label selector matches; an empty one matches all."""
    expressions = [
        api.NodeSelectorRequirement(key=key, operator="In", values=[value])
        for key, value in selector.matchLabels.items()
    ] + [
        api.NodeSelectorRequirement(key=e.key, operator=e.operator, values=e.values)
        for e in selector.matchExpressions
    ]
    if not expressions:
        return table.live
    return terms_mask([api.NodeSelectorTerm(matchExpressions=expressions)], table)
