"""Which pods of a DaemonSet are removed, and which nodes get one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from sampan.client.effects import Emit
from sampan.client.resources import ref_of
from sampan.controllers.daemonset.placement import Fit
from sampan.controllers.daemonset.view import age, is_rolling, surge_and_unavailable
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.revisions import HASH_LABEL
from sampan.schema import api

Pods = Mapping[str, Sequence[api.Pod]]


class Moves(msgspec.Struct):
    """What is to be done, gathered step by step: pods to remove, nodes that get a pod, what to tell."""

    remove: list[api.Pod] = []
    nodes: list[str] = []
    events: list[Emit] = []
    # When the next failed pod may be removed.
    next_due: datetime | None = None

    @property
    def removed(self) -> set[str]:
        return {pod.metadata.uid or "" for pod in self.remove}


def manage(
    owner: api.DaemonSet,
    pods: Pods,
    fits: Mapping[str, Fit],
    revision_hash: str,
    due: Mapping[str, datetime],
    now: datetime,
) -> Moves:
    """One pod on each node that is fit, and no other: DaemonSetsController.manage."""
    moves = Moves()
    surges = surge_and_unavailable(owner, sum(fit.run for fit in fits.values()))[0] > 0
    for name, fit in fits.items():
        here = pods.get(name, ())
        if fit.run and not here:
            moves.nodes.append(name)
        elif fit.stay:
            running = _without_finished(owner, name, here, due, now, moves)
            moves.remove += _surplus(owner, running, revision_hash, now) if surges else running[1:]
        else:
            moves.remove += [pod for pod in here if pod.metadata.deletionTimestamp is None]
    for name, here in pods.items():
        if name not in fits:  # never bound, and its node is gone; bound ones are for the pod collector
            moves.remove += [p for p in here if not p.spec.nodeName and p.metadata.deletionTimestamp is None]
    return moves


def _without_finished(
    owner: api.DaemonSet,
    node: str,
    pods: Sequence[api.Pod],
    due: Mapping[str, datetime],
    now: datetime,
    moves: Moves,
) -> list[api.Pod]:
    running: list[api.Pod] = []
    for pod in pods:
        if pod.metadata.deletionTimestamp is not None:
            continue
        if not podutil.is_finished(pod):
            running.append(pod)
            continue
        until = due.get(pod.metadata.uid or "", now)
        if until > now:
            moves.next_due = min(until, moves.next_due or until)
            continue
        failed = pod.status.phase == "Failed"
        state, verb = ("failed", "kill") if failed else ("succeeded", "delete")
        where = f"{pod.metadata.namespace}/{pod.metadata.name} on node {node}"
        message = f"Found {state} daemon pod {where}, will try to {verb} it"
        reason = "FailedDaemonPod" if failed else "SucceededDaemonPod"
        moves.events.append(Emit(ref_of(owner), "Warning" if failed else "Normal", reason, message))
        moves.remove.append(pod)
    return running


def _surplus(
    owner: api.DaemonSet, running: Sequence[api.Pod], revision_hash: str, now: datetime
) -> list[api.Pod]:
    """While surging, one old and one new pod may be on a node; the old one goes when the new one is up."""
    oldest: dict[bool, api.Pod] = {}
    doomed: list[api.Pod] = []
    for pod in running:
        is_new = is_updated(pod, revision_hash)
        if is_new in oldest:
            doomed.append(pod)
        else:
            oldest[is_new] = pod
    old, new = oldest.get(False), oldest.get(True)
    if old is not None and new is not None:
        min_ready_s = owner.spec.minReadySeconds or 0
        if not podutil.is_ready(old) or podutil.is_available(new, min_ready_s, now):
            doomed.append(old)
    return doomed


def roll(
    owner: api.DaemonSet,
    pods: Pods,
    fits: Mapping[str, Fit],
    revision_hash: str,
    now: datetime,
    moves: Moves,
) -> None:
    """Replace what is out of date, as far as maxUnavailable or maxSurge allow."""
    if not is_rolling(owner):
        return
    removed = moves.removed
    here: dict[str, list[api.Pod]] = {name: [] for name, fit in fits.items() if fit.run}
    for name, all_pods in pods.items():
        if name in fits:
            here[name] = [
                pod
                for pod in all_pods
                if pod.metadata.deletionTimestamp is None and pod.metadata.uid not in removed
            ]
    surge, unavailable = surge_and_unavailable(owner, sum(fit.run for fit in fits.values()))
    min_ready_s = owner.spec.minReadySeconds or 0
    nodes = [_Node(name, found, revision_hash, min_ready_s, now) for name, found in sorted(here.items())]
    if surge == 0:
        moves.remove += _replaced(nodes, unavailable)
    else:
        _surge(nodes, surge, moves)


class _Node:
    """The old and the new pod of one node."""

    def __init__(
        self, name: str, pods: Sequence[api.Pod], revision_hash: str, min_ready_s: int, now: datetime
    ) -> None:
        new = [pod for pod in pods if is_updated(pod, revision_hash)]
        old = [pod for pod in pods if not is_updated(pod, revision_hash)]
        self.name = name
        self.is_clear = len(new) <= 1 and len(old) <= 1
        self.new = min(new, key=age, default=None)
        self.old = min(old, key=age, default=None)
        self.new_is_up = self.new is not None and podutil.is_available(self.new, min_ready_s, now)
        self.old_is_up = self.old is not None and podutil.is_available(self.old, min_ready_s, now)


def _replaced(nodes: Sequence[_Node], most: int) -> list[api.Pod]:
    """Old pods that are not available go at once, others while no more than `most` are unavailable."""
    unavailable = 0
    broken: list[api.Pod] = []
    candidates: list[api.Pod] = []
    for node in nodes:
        if not node.is_clear or (node.old is None) == (node.new is None):
            unavailable += 1
        elif node.old is None:
            unavailable += not node.new_is_up
        elif node.old_is_up:
            candidates.append(node.old)
        else:
            broken.append(node.old)
    return [*broken, *candidates[: max(most - unavailable, 0)]]


def _surge(nodes: Sequence[_Node], most: int, moves: Moves) -> None:
    surging = 0
    broken: list[str] = []
    candidates: list[str] = []
    for node in nodes:
        if not node.is_clear:
            surging += 1
        elif node.old is None:
            continue
        elif node.new is None:
            (candidates if node.old_is_up else broken).append(node.name)
        elif node.new_is_up:
            moves.remove.append(node.old)
        else:
            surging += 1
    moves.nodes += [*broken, *candidates[: max(most - surging, 0)]]


def is_updated(pod: api.Pod, revision_hash: str) -> bool:
    """Whether the pod was made from the revision with this hash."""
    return pod.metadata.labels.get(HASH_LABEL) == revision_hash
