"""Which nodes a DaemonSet's pods belong on, and how such a pod looks."""

from __future__ import annotations

from typing import Final, NamedTuple

from sampan.controllers import taints
from sampan.controllers.nodeaffinity import only_node
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.revisions import HASH_LABEL
from sampan.kinds.core.node_selection import required
from sampan.machinery.tolerations import tolerated
from sampan.schema import api

_NETWORK_UNAVAILABLE: Final = "node.kubernetes.io/network-unavailable"
# A daemon stays where nothing else may be: AddOrUpdateDaemonPodTolerations.
_TOLERATED: Final = (
    (taints.NOT_READY, taints.NO_EXECUTE),
    (taints.UNREACHABLE, taints.NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", taints.NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", taints.NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", taints.NO_SCHEDULE),
    (taints.UNSCHEDULABLE, taints.NO_SCHEDULE),
)


class Fit(NamedTuple):
    """Whether a node should get a pod, and whether one that is there may stay."""

    run: bool
    stay: bool


class Placement:
    """Answers for one DaemonSet which nodes its pods belong on."""

    def __init__(self, owner: api.DaemonSet) -> None:
        self._owner = owner
        self._spec = owner.spec.template.spec
        self._matches = required(self._spec)
        self._tolerations = tolerations(self._spec)

    def fit(self, node: api.Node) -> Fit:
        """NodeShouldRunDaemonPod: affinity decides, NoSchedule keeps new pods away, NoExecute all."""
        if self._spec.nodeName and self._spec.nodeName != node.metadata.name:
            return Fit(False, False)
        if self._matches is not None and not self._matches(node.metadata.name or "", node.metadata.labels):
            return Fit(False, False)
        refused = {t.effect for t in node.spec.taints if not tolerated(t, self._tolerations)}
        if taints.NO_EXECUTE in refused:
            return Fit(False, False)
        return Fit(taints.NO_SCHEDULE not in refused, True)

    def pod_for(self, node: str, revision_hash: str) -> api.Pod:
        """The pod for this node: bound to it by affinity, so that the scheduler still has its say."""
        pod = podutil.from_template(self._owner.spec.template, self._owner)
        pod.metadata.labels[HASH_LABEL] = revision_hash
        pod.spec.tolerations = list(self._tolerations)
        only_node(pod.spec, node)
        return pod


def tolerations(spec: api.PodSpec) -> list[api.Toleration]:
    """The template's tolerations with those that every daemon has."""
    wanted = list(_TOLERATED)
    if spec.hostNetwork:
        wanted.append((_NETWORK_UNAVAILABLE, taints.NO_SCHEDULE))
    added = [api.Toleration(key=key, operator="Exists", effect=effect) for key, effect in wanted]
    own = [
        t
        for t in spec.tolerations
        if (t.key, t.operator, t.effect) not in {(a.key, a.operator, a.effect) for a in added}
    ]
    return [*own, *added]
