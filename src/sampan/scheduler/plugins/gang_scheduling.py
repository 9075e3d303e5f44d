"""GangScheduling: pods of a gang are tried once enough of them are there, and then all together."""

from __future__ import annotations

from sampan.scheduler.framework import ADD, CLUSTER, Event, Plugin, Rejected
from sampan.scheduler.gangs import group_of, least_of
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.world import World
from sampan.schema import api

_POD_GROUP = "PodGroup"


class GangScheduling(Plugin):
    """As kube-scheduler's plugin: it keeps pods out of the queue; deciding together is the group cycle's."""

    name = "GangScheduling"
    reach = CLUSTER
    events = frozenset({_POD_GROUP})
    kinds = (api.PodGroupV1beta1,)

    def prepare(self, pod: PodInfo, world: World) -> Rejected | None:
        """Pods that reach a decision are held back by nothing here; this tells those who explain."""
        if pod.spec.schedulingGroup is None:
            return None
        why = world.gangs.waits_for(pod.pod)
        return Rejected(why) if why else None

    def wakes(self, pod: PodInfo, event: Event, world: World) -> bool:
        """A group that came, or now wants fewer pods (isSchedulableAfterPodGroupUpdated)."""
        group = event.new
        if group is None or group_of(pod.pod) != (group.metadata.namespace or "", group.metadata.name or ""):
            return False
        return event.does(ADD) or least_of(group) < least_of(event.old)
