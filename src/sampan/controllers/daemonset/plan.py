"""One step of a DaemonSet: claim pods and revisions, put pods where they belong, replace old ones, count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Emit, Plan, Remove, UpdateStatus
from sampan.client.resources import ref_of
from sampan.controllers.daemonset import rollout, status
from sampan.controllers.daemonset.failures import FailureLog
from sampan.controllers.daemonset.placement import Placement
from sampan.controllers.daemonset.view import View, by_node
from sampan.controllers.nodeaffinity import named_node
from sampan.controllers.runtime import revisions
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped, owned
from sampan.controllers.runtime.owners import FREE, claim, free
from sampan.machinery import selectors
from sampan.schema import api

# At most so many pods are created or deleted for one plan.
BURST: Final = 250


def gather(caches: Caches, key: Key, failures: FailureLog) -> View | None:
    """The DaemonSet with every node and what it controls; None where it is gone."""
    owner = caches.of(api.DaemonSet).get(*key)
    if owner is None:
        return None
    uid = owner.metadata.uid or ""
    selector = selectors.from_label_selector(owner.spec.selector)
    pods, known = caches.of(api.Pod), caches.of(api.ControllerRevision)
    own = pods.controlled_by(uid)
    due: dict[str, datetime] = {}
    for pod in own:
        failed_at = _failed_at(pod, pods.seen_at(key.namespace, pod.metadata.name or ""))
        if failed_at is not None:
            pod_uid = pod.metadata.uid or ""
            due[pod_uid] = failures.due((uid, named_node(pod.spec)), pod_uid, failed_at)
    return View(
        owner,
        tuple(caches.of(api.Node).items()),
        (*own, *_selected(pods.by_index(FREE, key.namespace), selector)),
        (*known.controlled_by(uid), *_selected(known.by_index(FREE, key.namespace), selector)),
        due,
        caches.failure(key),
    )


def plan(view: View, now: datetime) -> Plan:
    """The next step."""
    owner = view.owner
    selector = selectors.from_label_selector(owner.spec.selector)
    if selector.empty:
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        return Plan(
            (Emit(ref_of(owner), "Warning", "SelectingAll", message),), "a selector that is not empty"
        )
    if owner.metadata.deletionTimestamp is not None:
        return Plan(waiting_for="the garbage collector to finish its deletion")
    claimed, history = claim(owner, selector, view.pods), claim(owner, selector, view.revisions)
    if history.patches:
        return Plan(history.patches, "its revisions to be claimed")
    found = revisions.find(owner, history.objects, view.failure)
    hashed = revisions.hash_of(found.current)
    placement = Placement(owner)
    fits = {node.metadata.name or "": placement.fit(node) for node in view.nodes}
    pods = by_node(claimed.objects)
    moves = rollout.manage(owner, pods, fits, hashed, view.due, now)
    rollout.roll(owner, pods, fits, hashed, now, moves)
    counts = status.counted(owner, pods, fits, hashed, found.collisions, now)
    live = frozenset(pod.metadata.labels.get(revisions.HASH_LABEL, "") for pod in claimed.objects)
    effects: list[Effect] = [*claimed.patches, *found.effects, *moves.events]
    if counts != owner.status:
        effects.append(UpdateStatus(msgspec.structs.replace(owner, status=counts)))
    effects += [_create(owner, placement.pod_for(name, hashed)) for name in moves.nodes[:BURST]]
    effects += [_remove(owner, pod) for pod in moves.remove[:BURST]]
    effects += revisions.surplus(found.others, live, owner.spec.revisionHistoryLimit)
    waits = [status.next_available_s(owner, claimed.objects, now)]
    waits.append(None if moves.next_due is None else (moves.next_due - now).total_seconds())
    again_s = min((wait for wait in waits if wait is not None), default=None)
    return Plan(tuple(effects), _waiting(counts), again_s)


def _selected(objects: Iterable[Any], selector: selectors.Selector) -> list[Any]:
    return [obj for obj in objects if selector.matches(obj.metadata.labels)]


def _failed_at(pod: api.Pod, seen_at: datetime | None) -> datetime | None:
    if pod.status.phase != "Failed" or pod.metadata.deletionTimestamp is not None:
        return None
    return seen_at or pod.metadata.creationTimestamp


def _create(owner: api.DaemonSet, pod: api.Pod) -> Create:
    about = ref_of(owner)
    done = Emit(about, "Normal", "SuccessfulCreate", "Created pod: {name}")
    return Create(pod, done=done, failed=Emit(about, "Warning", "FailedCreate", "Error creating: {error}"))


def _remove(owner: api.DaemonSet, pod: api.Pod) -> Remove:
    about = ref_of(owner)
    ref = msgspec.structs.replace(ref_of(pod), resource_version="")
    done = Emit(about, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
    return Remove(ref, done=done, failed=Emit(about, "Warning", "FailedDelete", "Error deleting: {error}"))


def _waiting(counts: api.DaemonSetStatus) -> str:
    desired = counts.desiredNumberScheduled
    updated, available = counts.updatedNumberScheduled or 0, counts.numberAvailable or 0
    if min(updated, available) >= desired:
        return ""
    return f"its pods: of {desired} wanted, {updated} are up to date and {available} available"


def _all(caches: Caches, _node: api.Node) -> Sequence[Key]:
    return [Key(*key) for key in caches.of(api.DaemonSet).keys()]  # noqa: SIM118


def _fitness_changes(old: api.Node, new: api.Node) -> bool:
    return (old.metadata.labels, old.spec.taints) != (new.metadata.labels, new.spec.taints)


def controller() -> Controller:
    """The controller, with a memory of failed pods of its own."""
    failures = FailureLog()
    return Controller(
        name="daemonset",
        kind=api.DaemonSet,
        watches=(
            owned(api.Pod, adopt=True),
            mapped(api.Node, _all, _fitness_changes),
            cached(api.ControllerRevision),
        ),
        indexes={api.Pod: {FREE: free}, api.ControllerRevision: {FREE: free}},
        gather=lambda caches, key: gather(caches, key, failures),
        plan=plan,
    )
