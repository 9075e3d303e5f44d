"""ReplicaSets and ReplicationControllers: as many pods as asked for, the least valuable of which go first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cmp_to_key
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.cache import controller_of
from sampan.client.effects import Create, Effect, Emit, Plan, Remove, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, owned
from sampan.controllers.runtime.owners import FREE, claim, free
from sampan.machinery import selectors
from sampan.schema import api

# At most so many pods are created or deleted for one plan; what is missing then is planned again.
BURST: Final = 500
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK: Final = {"Pending": 0, "Unknown": 1, "Running": 2}

# What differs between the two is the shape of their selectors and conditions.
Owner = api.ReplicaSet | api.ReplicationController


class View(msgspec.Struct, frozen=True):
    """A ReplicaSet or ReplicationController and every pod that it controls or could adopt."""

    owner: Owner
    candidates: tuple[api.Pod, ...]
    # Pods of all ReplicaSets of the same Deployment: of two on one node, one is worth less.
    related: tuple[api.Pod, ...] = ()
    failure: Failure | None = None


def gather(caches: Caches, key: Key, kind: type[Owner]) -> View | None:
    """The object of this kind with its candidates; None where it is gone."""
    owner = caches.of(kind).get(*key)
    if owner is None:
        return None
    pods = caches.of(api.Pod)
    uid = owner.metadata.uid or ""
    selector = _selector(owner)
    adoptable = [pod for pod in pods.by_index(FREE, key.namespace) if selector.matches(pod.metadata.labels)]
    return View(owner, (*pods.controlled_by(uid), *adoptable), _related(caches, owner), caches.failure(key))


def plan(view: View, now: datetime) -> Plan:
    """Claim, report, then create or delete what is too few or too many."""
    owner = view.owner
    claimed = claim(owner, _selector(owner), view.candidates)
    active = [pod for pod in claimed.objects if podutil.is_active(pod)]
    missing = _wanted(owner) - len(active)
    effects: list[Effect] = list(claimed.patches)
    status = _status(view, claimed.objects, missing, now)
    if status != owner.status:
        effects.append(UpdateStatus(msgspec.structs.replace(owner, status=status)))
    if owner.metadata.deletionTimestamp is None:
        if missing > 0:
            effects += _creates(owner, min(missing, BURST))
        elif missing < 0:
            doomed = to_delete(active, view.related or tuple(active), min(-missing, BURST), now)
            effects += [_remove(owner, pod) for pod in doomed]
    return Plan(tuple(effects), _waiting(owner, active, missing, now), _next_available_s(owner, active, now))


def to_delete(
    active: Sequence[api.Pod], related: Sequence[api.Pod], count: int, now: datetime
) -> list[api.Pod]:
    """The `count` pods that are worth least, in Kubernetes' order (ActivePodsWithRanks)."""
    crowd = Counter(pod.spec.nodeName for pod in related if podutil.is_active(pod))

    def compare(one: api.Pod, other: api.Pod) -> int:
        for order in (_by_state(one, other), crowd[other.spec.nodeName] - crowd[one.spec.nodeName]):
            if order:
                return order
        return _by_age(one, other, now)

    return sorted(active, key=cmp_to_key(compare))[:count]


def _by_state(one: api.Pod, other: api.Pod) -> int:
    ours, theirs = _state(one), _state(other)
    return (ours > theirs) - (ours < theirs)


def _state(pod: api.Pod) -> tuple[bool, int, bool, int]:
    return (
        bool(pod.spec.nodeName),
        _PHASE_RANK.get(pod.status.phase or "", 0),
        podutil.is_ready(pod),
        _deletion_cost(pod),
    )


def _by_age(one: api.Pod, other: api.Pod, now: datetime) -> int:
    if podutil.is_ready(one) and podutil.is_ready(other):
        order = _younger(podutil.ready_since(one), podutil.ready_since(other), one, other, now)
        if order:
            return order
    restarts = _restarts(other) - _restarts(one)
    if restarts:
        return restarts
    return _younger(one.metadata.creationTimestamp, other.metadata.creationTimestamp, one, other, now)


def _younger(
    since: datetime | None, other_since: datetime | None, one: api.Pod, other: api.Pod, now: datetime
) -> int:
    # Ages are compared by their magnitude and then at random (by uid), so that scaling down does not
    # always take the pods of one failure domain, which were all made at the same time.
    if since == other_since:
        return 0
    if since is None or other_since is None:
        return -1 if since is None else 1
    order = _magnitude(now - since) - _magnitude(now - other_since)
    if order:
        return order
    return -1 if (one.metadata.uid or "") < (other.metadata.uid or "") else 1


def _magnitude(age: timedelta) -> int:
    age_ns = age.total_seconds() * 1e9
    return int(math.log2(age_ns)) if age_ns > 0 else -1


def _restarts(pod: api.Pod) -> int:
    return max((status.restartCount for status in pod.status.containerStatuses), default=0)


def _deletion_cost(pod: api.Pod) -> int:
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _selector(owner: Owner) -> selectors.Selector:
    if isinstance(owner, api.ReplicationController):
        # A selector without labels selects nothing here, where it would select everything.
        return selectors.from_labels(owner.spec.selector) if owner.spec.selector else selectors.NOTHING
    return selectors.from_label_selector(owner.spec.selector)


def _wanted(owner: Owner) -> int:
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def _related(caches: Caches, owner: Owner) -> tuple[api.Pod, ...]:
    deployment = controller_of(owner)
    if deployment is None or not isinstance(owner, api.ReplicaSet):
        return ()
    pods = caches.of(api.Pod)
    siblings = caches.of(api.ReplicaSet).controlled_by(deployment.uid)
    return tuple(pod for one in siblings for pod in pods.controlled_by(one.metadata.uid or ""))


def _creates(owner: Owner, count: int) -> list[Effect]:
    about = ref_of(owner)
    pod = podutil.from_template(owner.spec.template, owner)
    done = Emit(about, "Normal", "SuccessfulCreate", "Created pod: {name}")
    failed = Emit(about, "Warning", "FailedCreate", "Error creating: {error}")
    return [Create(pod, done=done, failed=failed) for _ in range(count)]


def _remove(owner: Owner, pod: api.Pod) -> Remove:
    about = ref_of(owner)
    ref = msgspec.structs.replace(ref_of(pod), resource_version="")
    done = Emit(about, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
    failed = Emit(about, "Warning", "FailedDelete", "Error deleting: {error}")
    return Remove(ref, done=done, failed=failed)


def _status(view: View, claimed: Sequence[api.Pod], missing: int, now: datetime) -> Any:
    owner = view.owner
    active = [pod for pod in claimed if podutil.is_active(pod)]
    template = selectors.from_labels(owner.spec.template.metadata.labels)
    min_ready_s = owner.spec.minReadySeconds or 0
    status: Any = msgspec.structs.replace(
        owner.status,
        replicas=len(active),
        fullyLabeledReplicas=sum(template.matches(pod.metadata.labels) for pod in active) or None,
        readyReplicas=sum(map(podutil.is_ready, active)) or None,
        availableReplicas=sum(podutil.is_available(pod, min_ready_s, now) for pod in active) or None,
        observedGeneration=owner.metadata.generation,
        conditions=_conditions(view, missing, now),
    )
    if isinstance(owner, api.ReplicaSet):
        leaving = sum(map(podutil.is_terminating, claimed))
        status = msgspec.structs.replace(status, terminatingReplicas=leaving)
    return status


def _conditions(view: View, missing: int, now: datetime) -> list[Any]:
    """ReplicaFailure comes with the first failure to create or delete, and goes with the first success."""
    before: list[Any] = list(view.owner.status.conditions)
    known = [c for c in before if c.type == "ReplicaFailure"]
    failure = view.failure
    if failure is None or not isinstance(failure.effect, Create | Remove) or missing == 0:
        return [c for c in before if c.type != "ReplicaFailure"]
    if known:
        return before
    is_set = isinstance(view.owner, api.ReplicaSet)
    condition = (api.ReplicaSetCondition if is_set else api.ReplicationControllerCondition)(
        type="ReplicaFailure",
        status="True",
        reason="FailedCreate" if missing > 0 else "FailedDelete",
        message=str(failure.error),
        lastTransitionTime=kube_time(now),
    )
    return [*before, condition]


def _next_available_s(owner: Owner, active: Sequence[api.Pod], now: datetime) -> float | None:
    min_ready_s = owner.spec.minReadySeconds or 0
    waits = [podutil.available_in_s(pod, min_ready_s, now) for pod in active]
    return min((wait for wait in waits if wait), default=None)


def _waiting(owner: Owner, active: Sequence[api.Pod], missing: int, now: datetime) -> str:
    if owner.metadata.deletionTimestamp is not None:
        return "the garbage collector to finish its deletion"
    if missing:
        what = "created" if missing > 0 else "deleted"
        return f"{abs(missing)} pods to be {what}"
    min_ready_s = owner.spec.minReadySeconds or 0
    unavailable = sum(not podutil.is_available(pod, min_ready_s, now) for pod in active)
    return f"{unavailable} of {len(active)} pods to become available" if unavailable else ""


def controller(name: str, kind: type[Owner], reporter: str = "") -> Controller:
    """The controller for objects of this kind."""
    return Controller(
        name=name,
        reporter=reporter,
        kind=kind,
        watches=(owned(api.Pod, adopt=True),),
        indexes={api.Pod: {FREE: free}},
        gather=lambda caches, key: gather(caches, key, kind),
        plan=plan,
    )


CONTROLLER: Final = controller("replicaset", api.ReplicaSet)
