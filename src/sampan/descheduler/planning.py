"""Which pods to evict, and why. Pure.

A strategy asks the scheduler's own filters whether they would let a pod onto the node where it is. Each
eviction counts for those after it, with its successor where the scheduler would put it: what is planned once
is not wanted again when it has been done.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from sampan.client.cache import controller_of
from sampan.descheduler import policy as policies
from sampan.descheduler.evictable import Evictable
from sampan.descheduler.policy import Policy, Strategy
from sampan.descheduler.trial import Eviction, Trial
from sampan.kinds.core.node_selection import required
from sampan.machinery import tolerations
from sampan.scheduler.cycle import Engine
from sampan.scheduler.framework import Rejected, Verdict
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.profile import Profile
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api

# A node without any of a resource: whoever asks for it is over every threshold.
_FULL: Final = 100.0
# Nodes are alike for a pod where none of these refuses it.
_SUITING: Final = ("NodeUnschedulable", "TaintToleration", "NodeAffinity")


def plan(
    snapshot: Snapshot, policy: Policy, profiles: Sequence[Profile], now: datetime
) -> tuple[Eviction, ...]:
    """What one run evicts, in this order."""
    trial = Trial(snapshot, policy, profiles, now)
    classes = snapshot.others.get(api.PriorityClass, ())
    for strategy in policy.strategies:
        evictable = Evictable(strategy.evictor, trial.snapshot.pods, classes, now)
        done = -1
        while done != len(trial.evictions):  # who has left may have made room for another's successor
            done = len(trial.evictions)
            _PLANS[strategy.name](trial, strategy, evictable)
    return tuple(trial.evictions)


def _candidates(trial: Trial, strategy: Strategy, evictable: Evictable, node: str) -> Iterator[PodInfo]:
    for pod in trial.on(node):
        if strategy.args.namespaces.allows(pod.namespace) and not evictable.why_not(pod.pod):
            yield pod


def _evict_where(
    trial: Trial, strategy: Strategy, evictable: Evictable, why: Callable[[PodInfo, str], str]
) -> None:
    """Evict whoever there is a reason for to go from where it is."""
    fits = strategy.evictor.args.node_fit
    for node in trial.nodes():
        for pod in _candidates(trial, strategy, evictable, node):
            text = why(pod, node)
            if text:
                trial.evict(pod, node, strategy.name, text, fits=fits)


# -- pods that violate a rule ----------------------------------------------------------------------------


def _node_taints(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    args: policies.TaintsArgs = strategy.args
    effects = ("NoSchedule", "PreferNoSchedule") if args.include_prefer_no_schedule else ("NoSchedule",)

    def why(pod: PodInfo, node: str) -> str:
        held = _node(trial, node)
        for taint in held.spec.taints:
            if taint.effect not in effects or _is_excluded(taint, args.excluded_taints):
                continue
            if not tolerations.tolerated(taint, pod.spec.tolerations):
                return f"it does not tolerate the taint {taint.key}:{taint.effect}"
        return ""

    _evict_where(trial, strategy, evictable, why)


def _node_affinity(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    def why(pod: PodInfo, node: str) -> str:
        matches = required(pod.spec)
        if matches is None or matches(node, _node(trial, node).metadata.labels):
            return ""
        return "its node affinity or selector does not match the node"

    _evict_where(trial, strategy, evictable, why)


def _anti_affinity(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    def why(pod: PodInfo, node: str) -> str:
        found = _refusal(trial, pod, node, "InterPodAffinity")
        return found if "anti-affinity" in found else ""

    if any(_has_anti_affinity(pod) for pod in trial.snapshot.pods):
        _evict_where(trial, strategy, evictable, why)


def _spread(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    def why(pod: PodInfo, node: str) -> str:
        hard = any(c.whenUnsatisfiable == "DoNotSchedule" for c in pod.spec.topologySpreadConstraints)
        return _refusal(trial, pod, node, "PodTopologySpread") if hard else ""

    _evict_where(trial, strategy, evictable, why)


def _refusal(trial: Trial, pod: PodInfo, node: str, name: str) -> str:
    """Why one filter would not let the pod onto its node, were it to be placed there now."""
    engine, world = trial.engine(pod), trial.world
    plugin = _plugin(engine, name) if engine is not None else None
    if plugin is None:
        return ""
    world.unplace(pod.key)
    try:
        state = plugin.prepare(pod, world)
        if state is None or isinstance(state, Rejected):
            return ""
        rows = np.array([world.table.rows[node]], dtype=np.intp)
        verdict: Verdict | None = plugin.filter(state, world, rows)
        if verdict is None or not verdict.refused[0]:
            return ""
        return next((r.text for r in verdict.reasons if r.where[0]), "")
    finally:
        world.place(pod, node)


# -- pods that are too many together ---------------------------------------------------------------------


def _duplicates(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    """Pods of one controller, the same images and the same choice of nodes: no more of them on a node than
    there have to be."""
    args: policies.DuplicatesArgs = strategy.args
    nodes = trial.nodes()
    suiting: dict[bytes, tuple[str, ...]] = {}

    def sameness(pod: PodInfo) -> Any:
        suits = suiting.get(pod.shape.key)
        if suits is None:
            suits = suiting[pod.shape.key] = _suiting(trial, pod, nodes)
        owner = controller_of(pod.pod)
        images = tuple(sorted(c.image or "" for c in pod.spec.containers))
        return pod.namespace, owner.uid if owner is not None else pod.uid, images, suits

    counts: dict[Any, Counter[str]] = {}
    movable: dict[Any, list[tuple[PodInfo, str]]] = {}
    for node in nodes:
        for pod in trial.world.on(node):  # those that were moved, or may not be, count as well
            counts.setdefault(sameness(pod), Counter())[node] += 1
        for pod in _candidates(trial, strategy, evictable, node):
            owner = controller_of(pod.pod)
            if owner is None or owner.kind not in args.exclude_owner_kinds:
                movable.setdefault(sameness(pod), []).append((pod, node))
    for key, pods in movable.items():
        suits = key[-1]
        if len(suits) > 1 and max(counts[key].values()) > 1:
            most = math.ceil(counts[key].total() / len(suits))
            _take_apart(trial, strategy, pods, counts[key], most)


def _take_apart(
    trial: Trial, strategy: Strategy, pods: Sequence[tuple[PodInfo, str]], counts: Counter[str], most: int
) -> None:
    """Move pods from nodes that have more than `most` of them to nodes that have fewer."""
    fits = strategy.evictor.args.node_fit

    def will_do(to: str) -> bool:
        return counts[to] < most

    for pod, node in pods:
        if counts[node] > most:
            text = f"there are {counts[node]} pods of its controller on the node, and {most} would do"
            if trial.evict(pod, node, strategy.name, text, fits=fits, will_do=will_do):
                counts[node] -= 1
                counts[trial.evictions[-1].to] += 1


def _suiting(trial: Trial, pod: PodInfo, nodes: Sequence[str]) -> tuple[str, ...]:
    """The nodes that the pod could be on, whatever else is there."""
    engine, world = trial.engine(pod), trial.world
    if engine is None:
        return ()
    rows = np.array([world.table.rows[name] for name in nodes], dtype=np.intp)
    left = np.ones(len(rows), dtype=np.bool_)
    for plugin in engine.profile.filters:
        if plugin.name not in _SUITING:
            continue
        state = plugin.prepare(pod, world)
        verdict = plugin.filter(state, world, rows) if state is not None else None
        if verdict is not None:
            left &= ~verdict.refused
    return tuple(name for name, suits in zip(nodes, left, strict=True) if suits)


def _utilization(trial: Trial, strategy: Strategy, evictable: Evictable) -> None:
    """From nodes that are over-used, as long as there are nodes with room to spare."""
    args: policies.UtilizationArgs = strategy.args
    nodes = trial.nodes()
    usage = {node: _usage(trial, node, args.thresholds) for node in nodes}
    spare = {
        node
        for node in nodes
        if not _node(trial, node).spec.unschedulable
        and all(usage[node][name] < low for name, low in args.thresholds.items())
    }
    over = [node for node in nodes if _is_over(usage[node], args.target_thresholds)]
    if not spare or not over or len(spare) <= args.number_of_nodes:
        return
    over.sort(key=lambda node: (-max(usage[node].values()), node))

    def will_do(to: str) -> bool:
        return not _is_over(_usage(trial, to, args.thresholds), args.target_thresholds)

    for node in over:
        for pod in _candidates(trial, strategy, evictable, node):
            now = _usage(trial, node, args.thresholds)
            if not _is_over(now, args.target_thresholds):
                break
            told = ", ".join(f"{name} {share:.0f}%" for name, share in sorted(now.items()))
            trial.evict(pod, node, strategy.name, f"the node is over-used: {told}", will_do=will_do)


def _usage(trial: Trial, node: str, resources: Iterable[str]) -> dict[str, float]:
    """The shares of the resources that the node's pods ask for, in percent."""
    table = trial.world.table
    row = table.rows[node]
    found = {}
    for name in resources:
        offered, asked = int(table.allocatable(name)[row]), int(table.requested(name)[row])
        found[name] = 100.0 * asked / offered if offered else (_FULL if asked else 0.0)
    return found


def _is_over(usage: dict[str, float], targets: dict[str, float]) -> bool:
    return any(usage[name] > high for name, high in targets.items())


# -- what they look at -----------------------------------------------------------------------------------


def _node(trial: Trial, name: str) -> api.Node:
    node = trial.world.table.nodes[trial.world.table.rows[name]]
    assert node is not None
    return node


def _plugin(engine: Engine, name: str) -> Any:
    return next((each for each in engine.profile.filters if each.name == name), None)


def _is_excluded(taint: api.Taint, excluded: Sequence[str]) -> bool:
    return taint.key in excluded or f"{taint.key}={taint.value or ''}" in excluded


def _has_anti_affinity(pod: api.Pod) -> bool:
    affinity = pod.spec.affinity
    apart = affinity.podAntiAffinity if affinity is not None else None
    return apart is not None and bool(apart.requiredDuringSchedulingIgnoredDuringExecution)


_PLANS: Final[dict[str, Callable[[Trial, Strategy, Evictable], None]]] = {
    policies.TAINTS: _node_taints,
    policies.NODE_AFFINITY: _node_affinity,
    policies.ANTI_AFFINITY: _anti_affinity,
    policies.DUPLICATES: _duplicates,
    policies.SPREAD: _spread,
    policies.UTILIZATION: _utilization,
}
