"""What `kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --force` would come to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sampan.client.cache import controller_of
from sampan.kinds.core.phases import is_finished
from sampan.kinds.core.pod_validation import MIRROR
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api
from sampan.simulation.budgets import Budgets
from sampan.simulation.placing import Placement, Placer
from sampan.simulation.workloads import SimulationError


class Drain(msgspec.Struct, frozen=True):
    """What draining a node comes to.

    `moved` are evicted and made anew by their controllers, in this order and there; `blocked` are refused by
    budgets for as long as nothing else changes; `lost` are deleted for good; `stays` are left alone.
    """

    node: str
    moved: tuple[Placement, ...] = ()
    blocked: tuple[Placement, ...] = ()
    lost: tuple[Placement, ...] = ()
    stays: tuple[Placement, ...] = ()


def drain(snapshot: Snapshot, name: str, profiles: Sequence[Profile] = ()) -> Drain:
    """What draining the node would come to. Raises SimulationError where there is no such node.

    A budget that allows some evictions allows the next ones once the pods that took the place of the first
    are ready, so pods go in rounds; where a round's pods find no node, the budget stays spent.
    """
    node = next((n for n in snapshot.nodes if n.metadata.name == name), None)
    if node is None:
        raise SimulationError(f"there is no node {name!r}")
    cordoned = msgspec.structs.replace(node, spec=msgspec.structs.replace(node.spec, unschedulable=True))
    placer = Placer(snapshot, profiles)
    placer.world.put_node(cordoned)
    here = [pod for pod in snapshot.pods if pod.spec.nodeName == name]
    here.sort(
        key=lambda pod: (-(pod.spec.priority or 0), pod.metadata.namespace or "", pod.metadata.name or "")
    )
    stays = [_told(pod, why) for pod in here if (why := _stays(pod))]
    leaving = [pod for pod in here if not _stays(pod)]
    budgets = Budgets(snapshot.others.get(api.PodDisruptionBudget, ()))
    moved: list[Placement] = []
    lost: list[Placement] = []
    while True:
        going = [pod for pod in leaving if not budgets.spend(pod)]
        if not going:
            break
        leaving = [pod for pod in leaving if not any(pod is each for each in going)]
        for pod in going:
            placer.world.unplace((pod.metadata.namespace or "", pod.metadata.name or ""))
        lost += [_told(pod, why) for pod in going if (why := _lost(pod))]
        for pod in (each for each in going if not _lost(each)):
            placement = placer.place([unbound(pod)])[0]
            if placement.node:
                budgets.give_back(pod)
            moved.append(_noted(placement, pod))
    blocked = [_told(pod, budgets.why(pod)) for pod in leaving]
    return Drain(name, tuple(moved), tuple(blocked), tuple(lost), tuple(stays))


def _stays(pod: api.Pod) -> str:
    owner = controller_of(pod)
    if MIRROR in pod.metadata.annotations:
        return "it is a static pod of the node"
    if owner is not None and owner.kind == "DaemonSet" and not is_finished(pod):
        return f"DaemonSet {owner.name} keeps it there"
    return ""


def _lost(pod: api.Pod) -> str:
    if is_finished(pod):
        return f"it has ended ({pod.status.phase})"
    if pod.metadata.deletionTimestamp is not None:
        return "it is being deleted already"
    if controller_of(pod) is None:
        return "no controller would make it again; kubectl drain wants --force for it"
    return ""


def _noted(placement: Placement, pod: api.Pod) -> Placement:
    """With a word on the data that stays behind."""
    volumes = [volume.name or "" for volume in pod.spec.volumes if volume.emptyDir is not None]
    if not volumes:
        return placement
    words = f"what is in its emptyDir{'s' if len(volumes) > 1 else ''} {', '.join(volumes)} is lost"
    return msgspec.structs.replace(placement, why="; ".join(filter(None, (placement.why, words))))


def unbound(pod: api.Pod) -> api.Pod:
    """The pod as its controller would make it again."""
    claims: Any = pod.status.resourceClaimStatuses
    return msgspec.structs.replace(
        pod,
        spec=msgspec.structs.replace(pod.spec, nodeName=None),
        status=api.PodStatus(phase="Pending", resourceClaimStatuses=claims),
    )


def _told(pod: api.Pod, why: str) -> Placement:
    return Placement(pod.metadata.namespace or "", pod.metadata.name or "", pod.spec.nodeName or "", why)
