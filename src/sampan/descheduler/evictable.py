"""Which pods may be evicted: what the community's DefaultEvictor lets pass, and no pods of groups. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sampan.client.cache import controller_of
from sampan.descheduler.policy import SYSTEM_PRIORITY, Evictor
from sampan.kinds.core.phases import is_finished
from sampan.kinds.core.pod_validation import MIRROR
from sampan.schema import api

# Lets a pod be evicted that would not be otherwise; no static one, nor a DaemonSet's, nor one of nobody.
EVICT: Final = "descheduler.alpha.kubernetes.io/evict"


class Evictable:
    """Answers for one evictor about the pods of one cluster."""

    def __init__(
        self,
        evictor: Evictor,
        pods: Iterable[api.Pod],
        classes: Iterable[api.PriorityClass],
        now: datetime,
    ) -> None:
        self._evictor = evictor
        self._now = now
        self._threshold = _threshold(evictor, classes)
        self._replicas = Counter(o.uid for pod in pods if (o := controller_of(pod)) is not None)

    def why_not(self, pod: api.Pod) -> str:
        """Why the pod stays whatever it violates; "" where it may be evicted."""
        owner = controller_of(pod)
        if MIRROR in pod.metadata.annotations or "kubernetes.io/config.source" in pod.metadata.annotations:
            return "it is a static pod of the node"
        if owner is None:
            return "no controller would make it again"
        if owner.kind == "DaemonSet":
            return "its DaemonSet keeps it there"
        if pod.metadata.deletionTimestamp is not None or is_finished(pod):
            return "it goes anyhow"
        if pod.spec.schedulingGroup is not None:
            return "it belongs to a group"
        if EVICT in pod.metadata.annotations:
            return ""
        return self._optional(pod, owner.uid or "")

    def _optional(self, pod: api.Pod, owner: str) -> str:
        args, selector = self._evictor.args, self._evictor.selector
        if self._threshold is not None and (pod.spec.priority or 0) >= self._threshold:
            return "its priority is too high"
        volumes = pod.spec.volumes
        if not args.evict_local_storage_pods and any(v.emptyDir or v.hostPath for v in volumes):
            return "it has data on the node"
        if args.ignore_pvc_pods and any(v.persistentVolumeClaim for v in volumes):
            return "it has claims"
        if selector is not None and not selector.matches(pod.metadata.labels):
            return "its labels are not those asked for"
        if args.min_replicas > 1 and self._replicas[owner] < args.min_replicas:
            return "its controller has too few pods"
        created = pod.metadata.creationTimestamp
        age_s = (self._now - created).total_seconds() if created is not None else math.inf
        return "it is too young" if age_s < self._evictor.min_age_s else ""


def _threshold(evictor: Evictor, classes: Iterable[api.PriorityClass]) -> int | None:
    """The priority from which on pods stay; a class that is not there protects as the system's do."""
    args = evictor.args
    if args.evict_system_critical_pods:
        return None
    wanted = args.priority_threshold
    if wanted is None:
        return SYSTEM_PRIORITY
    if wanted.value is not None:
        return min(wanted.value, SYSTEM_PRIORITY)
    found = next((c.value for c in classes if c.metadata.name == wanted.name), None)
    return SYSTEM_PRIORITY if found is None else min(found, SYSTEM_PRIORITY)
