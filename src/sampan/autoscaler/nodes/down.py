"""Which nodes are not needed, and what keeps the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Final

import msgspec

from sampan.autoscaler.nodes.config import Config
from sampan.autoscaler.nodes.room import Room
from sampan.controllers.taints import is_ready
from sampan.kinds.core.pod_validation import MIRROR
from sampan.machinery import selectors
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api

TO_BE_DELETED: Final = "ToBeDeletedByClusterAutoscaler"
CANDIDATE: Final = "DeletionCandidateOfClusterAutoscaler"
SAFE: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
DISABLED: Final = "cluster-autoscaler.kubernetes.io/scale-down-disabled"


class Shrink(msgspec.Struct, frozen=True):
    """`mark` becomes a candidate, `unmark` is needed again, `drain` had its time; `kept`: why others stay."""

    mark: tuple[str, ...] = ()
    unmark: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    kept: Mapping[str, str] = {}


def plan_down(
    snapshot: Snapshot,
    config: Config,
    members: Mapping[str, Sequence[str]],
    upcoming: Mapping[str, Sequence[str]],
    budgets: Sequence[api.PodDisruptionBudget],
    now: datetime,
    profiles: Sequence[Profile] = (),
) -> Shrink:
    """Decide about every node of the groups (`members`, names by group; those that are only `upcoming` stay).

    At most one node begins to drain.
    """
    nodes = {n.metadata.name or "": n for n in snapshot.nodes}
    draining = {name for name, node in nodes.items() if taint_of(node, TO_BE_DELETED) is not None}
    asked = _Asked(snapshot, config, budgets, profiles)
    for name in sorted(draining):
        asked.take_away(nodes[name])
    mark: list[str] = []
    unmark: list[str] = []
    drain: list[str] = []
    kept: dict[str, str] = {}
    for group in config.groups:
        names = [name for name in members.get(group.name, ()) if name in nodes and name not in draining]
        coming = frozenset(upcoming.get(group.name, ()))
        spare = len(names) - group.min
        for name in sorted(names):
            why = "it is on its way" if name in coming else asked.keeps(nodes[name])
            if not why and spare <= 0:
                why = "the node group is at its least size"
            taint = taint_of(nodes[name], CANDIDATE)
            if why:
                kept[name] = why
                if taint is not None:
                    unmark.append(name)
                continue
            spare -= 1
            if taint is None:
                mark.append(name)
            elif not draining and not drain and _had_its_time(nodes[name], taint, config, now):
                drain.append(name)
                asked.take_away(nodes[name])
    return Shrink(tuple(mark), tuple(unmark), tuple(drain), kept)


class _Asked:
    """What the nodes of one snapshot are asked, one after the other, in one world."""

    def __init__(
        self,
        snapshot: Snapshot,
        config: Config,
        budgets: Sequence[api.PodDisruptionBudget],
        profiles: Sequence[Profile],
    ) -> None:
        self._config = config
        self._budgets = [Budget.of(b) for b in budgets if b.spec.selector is not None]
        self._room = Room(snapshot, profiles)

    def keeps(self, node: api.Node) -> str:
        """Why a node must stay; "" where it is not needed."""
        if node.metadata.annotations.get(DISABLED) == "true":
            return f"it is annotated {DISABLED}"
        movable = self._movable(node)
        used = self._room.utilization(node.metadata.name or "", movable)
        if used >= self._config.scale_down_utilization_threshold:
            return f"its utilization is {used:.2f}"
        for pod in movable:
            why = holds(pod, self._config, self._budgets)
            if why:
                return f"pod {pod.metadata.namespace}/{pod.metadata.name} {why}"
        if not movable:
            return ""
        with ExitStack() as undo:
            homeless = self._room.empty(node, movable, undo)
        if homeless is None:
            return ""
        return f"pod {homeless.metadata.namespace}/{homeless.metadata.name} would find no other node"

    def take_away(self, node: api.Node) -> None:
        """Go on as if the node were gone and its pods were elsewhere, as far as there is room."""
        self._room.empty(node, self._movable(node), ExitStack())

    def _movable(self, node: api.Node) -> list[api.Pod]:
        """What has to go elsewhere, those included that came from nodes that were taken away."""
        here = sorted(self._room.world.on(node.metadata.name or ""), key=lambda info: info.key)
        return [info.pod for info in here if not stays_behind(info.pod)]


class Budget(msgspec.Struct, frozen=True):
    """A PodDisruptionBudget with its selector read once."""

    namespace: str
    name: str
    selector: selectors.Selector
    allowed: int

    @classmethod
    def of(cls, budget: api.PodDisruptionBudget) -> Budget:
        meta = budget.metadata
        selector = selectors.from_label_selector(budget.spec.selector)
        allowed = budget.status.disruptionsAllowed or 0
        return cls(meta.namespace or "", meta.name or "", selector, allowed)

    def selects(self, pod: api.Pod) -> bool:
        return self.namespace == pod.metadata.namespace and self.selector.matches(pod.metadata.labels)


def holds(pod: api.Pod, config: Config, budgets: Sequence[Budget]) -> str:
    """Why a pod may not be moved; "" where it may."""
    selected = [b for b in budgets if b.selects(pod)]
    for budget in selected:
        if budget.allowed <= 0:
            return f"is held by the PodDisruptionBudget {budget.name}"
    safe = pod.metadata.annotations.get(SAFE)
    if safe == "true" or pod.metadata.deletionTimestamp is not None:
        return ""
    if safe == "false":
        return f"is annotated {SAFE}: false"
    if not any(o.controller for o in pod.metadata.ownerReferences):
        return "has no controller that would make it anew"
    if config.skip_nodes_with_system_pods and pod.metadata.namespace == "kube-system" and not selected:
        return "is a system pod without a PodDisruptionBudget"
    local = [v.name for v in pod.spec.volumes if v.hostPath is not None or _on_disk(v)]
    if config.skip_nodes_with_local_storage and local:
        return f"has local storage ({local[0]})"
    return ""


def stays_behind(pod: api.Pod) -> bool:
    """Whether the pod goes with its node: a DaemonSet's, or a static one."""
    if MIRROR in pod.metadata.annotations:
        return True
    return any(o.controller and o.kind == "DaemonSet" for o in pod.metadata.ownerReferences)


def taint_of(node: api.Node, key: str) -> api.Taint | None:
    """The node's taint of that key."""
    return next((t for t in node.spec.taints if t.key == key), None)


def since(taint: api.Taint) -> float:
    """When the autoscaler set the taint, in seconds since 1970; 0 where somebody else set it."""
    value = taint.value or ""
    return float(value) if value.isdecimal() else 0.0


def _had_its_time(node: api.Node, taint: api.Taint, config: Config, now: datetime) -> bool:
    wait_s = config.scale_down_unneeded_time_s if is_ready(node) else config.scale_down_unready_time_s
    return now.timestamp() - since(taint) >= wait_s


def _on_disk(volume: api.Volume) -> bool:
    return volume.emptyDir is not None and volume.emptyDir.medium != "Memory"
