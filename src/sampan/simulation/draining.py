"""What `kubectl drain NODE --ignore-daemonsets --delete-emptydir-data --force` would come to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.evictions import costs_nothing, is_unhealthy_and_free
from sampan.client.cache import controller_of
from sampan.scheduler.cycle import Profile
from sampan.scheduler.groups import selector_of
from sampan.scheduler.snapshot import Snapshot, is_finished
from sampan.schema import api
from sampan.simulation.placing import Placement, Placer
from sampan.simulation.workloads import SimulationError

_MIRROR: Final = "kubernetes.io/config.mirror"


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
    budgets = _Budgets(snapshot.others.get(api.PodDisruptionBudget, ()))
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
            placement = placer.place([_unbound(pod)])[0]
            if placement.node:
                budgets.give_back(pod)
            moved.append(_noted(placement, pod))
    blocked = [_told(pod, budgets.why(pod)) for pod in leaving]
    return Drain(name, tuple(moved), tuple(blocked), tuple(lost), tuple(stays))


class _Budgets:
    """How many more evictions each PodDisruptionBudget allows, as pods go and others take their place."""

    def __init__(self, budgets: Iterable[api.PodDisruptionBudget]) -> None:
        self._all = list(budgets)
        self._allowed = {id(b): max(b.status.disruptionsAllowed or 0, 0) for b in self._all}

    def spend(self, pod: api.Pod) -> str:
        """Why the eviction is refused; counts it where it is not."""
        why = self.why(pod)
        if not why:
            for budget in self._counted(pod):
                self._allowed[id(budget)] -= 1
        return why

    def give_back(self, pod: api.Pod) -> None:
        """A pod of the same kind has become ready elsewhere."""
        for budget in self._counted(pod):
            self._allowed[id(budget)] += 1

    def why(self, pod: api.Pod) -> str:
        """Why the pod may not be evicted as things are; "" where it may."""
        if costs_nothing(pod):
            return ""
        selecting = self._selecting(pod)
        if len(selecting) > 1:
            names = ", ".join(b.metadata.name or "" for b in selecting)
            return f"the PodDisruptionBudgets {names} select it, and evictions heed one at most"
        for budget in self._counted(pod):
            if not self._allowed[id(budget)]:
                status = budget.status
                return (
                    f"PodDisruptionBudget {budget.metadata.name} needs {status.desiredHealthy or 0} "
                    f"healthy pods, has {status.currentHealthy or 0} and allows "
                    f"{status.disruptionsAllowed or 0} disruptions"
                )
        return ""

    def _selecting(self, pod: api.Pod) -> list[api.PodDisruptionBudget]:
        namespace, labels = pod.metadata.namespace, pod.metadata.labels
        return [
            b
            for b in self._all
            if b.metadata.namespace == namespace and selector_of(b.spec.selector).matches(labels)
        ]

    def _counted(self, pod: api.Pod) -> list[api.PodDisruptionBudget]:
        if costs_nothing(pod):
            return []
        return [b for b in self._selecting(pod) if not is_unhealthy_and_free(pod, b)]


def _stays(pod: api.Pod) -> str:
    owner = controller_of(pod)
    if _MIRROR in pod.metadata.annotations:
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


def _unbound(pod: api.Pod) -> api.Pod:
    """The pod as its controller would make it again."""
    claims: Any = pod.status.resourceClaimStatuses
    return msgspec.structs.replace(
        pod,
        spec=msgspec.structs.replace(pod.spec, nodeName=None),
        status=api.PodStatus(phase="Pending", resourceClaimStatuses=claims),
    )


def _told(pod: api.Pod, why: str) -> Placement:
    return Placement(pod.metadata.namespace or "", pod.metadata.name or "", pod.spec.nodeName or "", why)
