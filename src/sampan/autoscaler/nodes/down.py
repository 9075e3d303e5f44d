"""Which nodes are not needed, and what keeps the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from sampan.autoscaler.nodes.config import Config
from sampan.machinery import selectors
from sampan.scheduler.cycle import Decision, Engine
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot, is_finished, world_of
from sampan.schema import api

TO_BE_DELETED: Final = "ToBeDeletedByClusterAutoscaler"
CANDIDATE: Final = "DeletionCandidateOfClusterAutoscaler"
SAFE: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
DISABLED: Final = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
_MIRROR: Final = "kubernetes.io/config.mirror"


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
    budgets: Sequence[api.PodDisruptionBudget],
    now: datetime,
) -> Shrink:
    """Decide about every node of the groups (`members`, names by group). At most one node begins to drain."""
    nodes = {n.metadata.name or "": n for n in snapshot.nodes}
    draining = {name for name, node in nodes.items() if taint_of(node, TO_BE_DELETED) is not None}
    mark: list[str] = []
    unmark: list[str] = []
    drain: list[str] = []
    kept: dict[str, str] = {}
    for group in config.groups:
        names = [name for name in members.get(group.name, ()) if name in nodes and name not in draining]
        spare = len(names) - group.min
        for name in sorted(names):
            why = keeps(snapshot, nodes[name], config, budgets, draining | set(drain))
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
            elif not draining and not drain and _had_its_time(taint, config, now):
                drain.append(name)
    return Shrink(tuple(mark), tuple(unmark), tuple(drain), kept)


def keeps(
    snapshot: Snapshot,
    node: api.Node,
    config: Config,
    budgets: Sequence[api.PodDisruptionBudget],
    leaving: set[str],
) -> str:
    """Why a node must stay; "" where it is not needed."""
    if node.metadata.annotations.get(DISABLED) == "true":
        return f"it is annotated {DISABLED}"
    here = [p for p in snapshot.pods if p.spec.nodeName == node.metadata.name and not is_finished(p)]
    movable = [p for p in here if not stays_behind(p)]
    used = utilization(node, movable)
    if used >= config.scale_down_utilization_threshold:
        return f"its utilization is {used:.2f}"
    for pod in movable:
        why = holds(pod, config, budgets)
        if why:
            return f"pod {pod.metadata.namespace}/{pod.metadata.name} {why}"
    return _no_room(snapshot, node, movable, leaving)


def holds(pod: api.Pod, config: Config, budgets: Sequence[api.PodDisruptionBudget]) -> str:
    """Why a pod may not be moved; "" where it may."""
    selected = [b for b in budgets if _selects(b, pod)]
    for budget in selected:
        if not budget.status.disruptionsAllowed:
            return f"is held by the PodDisruptionBudget {budget.metadata.name}"
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
    if _MIRROR in pod.metadata.annotations:
        return True
    return any(o.controller and o.kind == "DaemonSet" for o in pod.metadata.ownerReferences)


def utilization(node: api.Node, pods: Sequence[api.Pod]) -> float:
    """The larger share of cpu and memory that the pods ask for."""
    world = world_of(Snapshot(nodes=[node], pods=pods))
    row = world.table.rows[node.metadata.name or ""]
    shares = [0.0]
    for resource in ("cpu", "memory"):
        offered = int(world.table.allocatable(resource)[row])
        if offered:
            shares.append(int(world.table.requested(resource)[row]) / offered)
    return max(shares)


def taint_of(node: api.Node, key: str) -> api.Taint | None:
    """The node's taint of that key."""
    return next((t for t in node.spec.taints if t.key == key), None)


def since(taint: api.Taint) -> float:
    """When the autoscaler set the taint, in seconds since 1970; 0 where somebody else set it."""
    value = taint.value or ""
    return float(value) if value.isdecimal() else 0.0


def _had_its_time(taint: api.Taint, config: Config, now: datetime) -> bool:
    return now.timestamp() - since(taint) >= config.scale_down_unneeded_time_s


def _no_room(snapshot: Snapshot, node: api.Node, pods: Sequence[api.Pod], leaving: set[str]) -> str:
    """Which pod would find no other node, were this one gone with those that are leaving."""
    if not pods:
        return ""
    world = world_of(snapshot)
    gone = {*leaving, node.metadata.name or ""}
    for name in gone & set(world.table.rows):
        world.remove_node(name)
    engine = Engine(default_profile(), world)
    for pod in pods:
        world.unplace((pod.metadata.namespace or "", pod.metadata.name or ""))
    for pod in pods:
        bare = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, nodeName=None))
        info = world.infos.of(bare)
        rows = engine.feasible(info)
        if isinstance(rows, Decision):
            return f"pod {pod.metadata.namespace}/{pod.metadata.name} would find no other node"
        target = world.table.nodes[int(rows[0])]
        world.place(info, (target.metadata.name if target is not None else "") or "")
    return ""


def _selects(budget: api.PodDisruptionBudget, pod: api.Pod) -> bool:
    if budget.metadata.namespace != pod.metadata.namespace or budget.spec.selector is None:
        return False
    return selectors.from_label_selector(budget.spec.selector).matches(pod.metadata.labels)


def _on_disk(volume: api.Volume) -> bool:
    return volume.emptyDir is not None and volume.emptyDir.medium != "Memory"
