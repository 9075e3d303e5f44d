"""Who belongs to which PodGroup, and which groups may be tried. Pure.

What kube-scheduler's PodGroupManager and the PreEnqueue step of its GangScheduling plugin know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sampan.client.cache import Cache
from sampan.kinds.core.phases import is_finished
from sampan.schema import api

Key = tuple[str, str]  # namespace, name
NO_GROUP: Final = "waiting for pod's pod group {} to appear in scheduling queue"
_ALIKE: Final = "all pods in a single pod group should have the same"
TOO_FEW: Final = "waiting for minCount pods from a gang to appear in scheduling queue"


def group_of(pod: api.Pod) -> Key | None:
    """The group that the pod names, by namespace and name."""
    named = pod.spec.schedulingGroup
    if named is None or not named.podGroupName:
        return None
    return pod.metadata.namespace or "", named.podGroupName


def least_of(group: api.PodGroupV1beta1 | None) -> int:
    """How many pods of the group have to have a node at once; one where it is no gang."""
    policy = group.spec.schedulingPolicy if group is not None else None
    gang = policy.gang if policy is not None else None
    return max(gang.minCount or 0, 1) if gang is not None else 1


def is_gang(group: api.PodGroupV1beta1) -> bool:
    policy = group.spec.schedulingPolicy
    return policy is not None and policy.gang is not None


def goes_whole(group: api.PodGroupV1beta1 | None) -> bool:
    """Whether pods of the group are only ever preempted all together."""
    mode = group.spec.disruptionMode if group is not None else None
    return mode is not None and mode.all is not None


def check_alike(pods: Sequence[api.Pod], group: api.PodGroupV1beta1) -> None:
    """Pods of a gang are tried as one: by one scheduler, as important as their group, and preempting alike.

    Raises ValueError, in kube-scheduler's words (validatePodGroup), where they are not.
    """
    names = sorted({pod.spec.schedulerName or "" for pod in pods})
    if len(names) > 1:
        raise ValueError(f"{_ALIKE} .spec.schedulerName set, got: {' and '.join(names)}")
    wanted = group.spec.priority or 0
    policy = _policy(pods[0])
    for pod in pods:
        priority = pod.spec.priority or 0
        if priority != wanted:
            raise ValueError(f"{_ALIKE} priority as the pod group's priority, got {priority} and {wanted}")
        if _policy(pod) != policy:
            raise ValueError(f"{_ALIKE} preemption policy, got {_policy(pod)} and {policy}")


def _policy(pod: api.Pod) -> str:
    return pod.spec.preemptionPolicy or "PreemptLowerPriority"


def topology_of(group: api.PodGroupV1beta1) -> str:
    """The node label whose value all pods of the group share; "" for none."""
    constraints = group.spec.schedulingConstraints
    return constraints.topology[0].key or "" if constraints is not None and constraints.topology else ""


class Gangs:
    """Pods by their groups. Pods that have ended or are being deleted count no more."""

    def __init__(self, cache: Callable[[type[Any]], Cache[Any]], knows: Callable[[type[Any]], bool]) -> None:
        self._cache = cache
        self._knows = knows
        self._members: dict[Key, dict[Key, str]] = {}  # by group: uids by namespace and name

    def group(self, key: Key) -> api.PodGroupV1beta1 | None:
        found: api.PodGroupV1beta1 | None = self._cache(api.PodGroupV1beta1).get(*key)
        return found

    def see(self, pod: api.Pod, *, gone: bool = False) -> Key | None:
        """Take over how a pod is now; gives its group, if it names one."""
        key = group_of(pod)
        if key is None:
            return None
        own = (pod.metadata.namespace or "", pod.metadata.name or "")
        is_over = gone or is_finished(pod)
        members = self._members.setdefault(key, {})
        if not is_over and pod.metadata.deletionTimestamp is None:
            members[own] = pod.metadata.uid or ""
        elif members.get(own) == (pod.metadata.uid or ""):
            del members[own]
        if not members:
            del self._members[key]
        return key

    def see_all(self, pods: Iterable[api.Pod]) -> None:
        for pod in pods:
            self.see(pod)

    def clear(self) -> None:
        self._members.clear()

    def members(self, key: Key) -> dict[Key, str]:
        """The uids of the group's pods by their namespaces and names, in the order in which they came."""
        return self._members.get(key, {})

    def waits(self, key: Key) -> str:
        """What the group's pods wait for before any of them is tried; "" where they may be."""
        group = self.group(key)
        if group is None:
            return NO_GROUP.format(f'"{key[1]}"')
        return TOO_FEW if len(self.members(key)) < least_of(group) else ""

    def waits_for(self, pod: api.Pod) -> str:
        """What one pod waits for, whether it is known here or not."""
        key = group_of(pod)
        if key is None or not self._knows(api.PodGroupV1beta1):
            return ""  # where nobody serves groups, pods that name one are pods like any other
        own = (pod.metadata.namespace or "", pod.metadata.name or "")
        group, members = self.group(key), self.members(key)
        if group is None or own in members:
            return self.waits(key)
        return TOO_FEW if len(members) + 1 < least_of(group) else ""
