"""One step of a Job: count what ended, decide whether it is over, then remove or make pods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Create, Effect, Emit, Patch, Plan, UpdateStatus
from sampan.client.resources import ref_of
from sampan.controllers.job import scaling
from sampan.controllers.job.facts import TRACKING, Facts, View, is_finished, is_tracked
from sampan.controllers.job.outcome import (
    FAILURE_TARGET,
    FINAL,
    SUSPENDED,
    Decision,
    deadline_in_s,
    decide,
    with_condition,
)
from sampan.controllers.job.tracking import Tally, let_go, tally
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, owned
from sampan.controllers.runtime.owners import FREE, Claimed, claim, free
from sampan.machinery import selectors
from sampan.schema import api

# Pods of one Job often end together: their changes are looked at together.
BATCH_S: Final = 0.1
MANAGER: Final = "kubernetes.io/job-controller"


def gather(caches: Caches, key: Key) -> View | None:
    """The Job with its candidates; None where it is gone or somebody else manages it."""
    job = caches.of(api.Job).get(*key)
    if job is None or job.spec.managedBy not in (None, MANAGER):
        return None
    pods = caches.of(api.Pod)
    selector = selectors.from_label_selector(job.spec.selector)
    adoptable = [pod for pod in pods.by_index(FREE, key.namespace) if selector.matches(pod.metadata.labels)]
    return View(job, (*pods.controlled_by(job.metadata.uid or ""), *adoptable), caches.failure(key))


def plan(view: View, now: datetime) -> Plan:
    """The next step."""
    job = view.job
    claimed = claim(job, selectors.from_label_selector(job.spec.selector), view.candidates)
    if claimed.patches:
        return Plan(tuple(_with_finalizers(view, claimed)), "its pods to be claimed")
    if is_finished(job):
        return Plan(tuple(let_go(pod) for pod in claimed.objects if is_tracked(pod)))
    facts = Facts(job, claimed.objects)
    decision = decide(facts, now)
    counted = tally(facts, finishing=decision is not None)
    effects: list[Effect] = []
    # A Job that is decided waits for its pods to end: its deadline may long have passed.
    again_s = deadline_in_s(job, now) if decision is None else None
    creates: list[Effect] = []
    if decision is not None:
        effects += [scaling.remove(job, pod) for pod in facts.active]
    elif job.metadata.deletionTimestamp is None:
        moves = scaling.moves(facts, now)
        effects += scaling.remove_uncounted(job, moves.remove)
        creates = [scaling.create(job, pod) for pod in moves.create]
        waits = [wait_s for wait_s in (again_s, moves.again_s) if wait_s is not None]
        again_s = min(waits, default=None)
    failed_before = view.failure is not None and isinstance(view.failure.effect, Create)
    active = len(facts.active) + (0 if failed_before else len(creates))
    status, events = _status(facts, counted, decision, active, now)
    first: list[Effect] = []
    if status != job.status:
        first = [UpdateStatus(msgspec.structs.replace(job, status=status))]
    released = [let_go(pod) for pod in counted.release]
    effects = [*first, *events, *released, *effects, *creates]
    return Plan(tuple(effects), _waiting(facts, decision), again_s)


def _status(
    facts: Facts, counted: Tally, decision: Decision | None, active: int, now: datetime
) -> tuple[api.JobStatus, list[Emit]]:
    """The status after this step, and what is to be told about it."""
    job = facts.job
    events: list[Emit] = []
    status = msgspec.structs.replace(
        counted.status,
        active=active or None,
        ready=sum(map(podutil.is_ready, facts.active)),
        terminating=len(facts.terminating),
    )
    if status.startTime is None and not job.spec.suspend:
        status = msgspec.structs.replace(status, startTime=kube_time(now))
    if decision is None:
        status, told = _suspension(job, status, now)
        return status, told
    status = with_condition(status, decision.type, True, decision.reason, decision.message, now)
    if active or facts.terminating or counted.release or not counted.is_settled:
        return status, events
    if decision.type == FAILURE_TARGET:
        events.append(Emit(ref_of(job), "Warning", decision.reason, decision.message))
    else:
        status = msgspec.structs.replace(status, completionTime=kube_time(now))
        events.append(Emit(ref_of(job), "Normal", "Completed", "Job completed"))
    if status.startTime is None:  # suspended from the start, and failed before it was ever resumed
        status = msgspec.structs.replace(status, startTime=kube_time(now))
    final = FINAL[decision.type]
    return with_condition(status, final, True, decision.reason, decision.message, now), events


def _suspension(job: api.Job, status: api.JobStatus, now: datetime) -> tuple[api.JobStatus, list[Emit]]:
    is_noted = any(c.type == SUSPENDED and c.status == "True" for c in status.conditions)
    if bool(job.spec.suspend) == is_noted:
        return status, []
    if job.spec.suspend:
        status = with_condition(status, SUSPENDED, True, "JobSuspended", "Job suspended", now)
        # The active deadline counts from when the Job is resumed.
        status = msgspec.structs.replace(status, startTime=None)
        return status, [Emit(ref_of(job), "Normal", "Suspended", "Job suspended")]
    status = with_condition(status, SUSPENDED, False, "JobResumed", "Job resumed", now)
    return status, [Emit(ref_of(job), "Normal", "Resumed", "Job resumed")]


def _with_finalizers(view: View, claimed: Claimed[api.Pod]) -> Sequence[Patch]:
    """What is adopted gets the finalizer, and what is released loses it."""
    pods = {pod.metadata.uid: pod for pod in view.candidates}
    kept = {pod.metadata.uid for pod in claimed.objects}
    patches = []
    for patch in claimed.patches:
        pod = pods[patch.ref.uid]
        others = [name for name in pod.metadata.finalizers if name != TRACKING]
        if patch.ref.uid in kept and not podutil.is_finished(pod):
            others.append(TRACKING)
        meta: dict[str, Any] = {**patch.patch["metadata"], "finalizers": others or None}
        patches.append(msgspec.structs.replace(patch, patch={"metadata": meta}))
    return patches


def _waiting(facts: Facts, decision: Decision | None) -> str:
    if decision is not None:
        left = len(facts.active) + len(facts.terminating)
        return f"{left} pods to end" if left else "its last pods to be counted"
    if facts.job.spec.suspend:
        return "the Job to be resumed"
    wanted = facts.completions if facts.completions is not None else 1
    return f"its pods: {facts.succeeded} of {wanted} have succeeded"


CONTROLLER: Final = Controller(
    name="job",
    kind=api.Job,
    watches=(msgspec.structs.replace(owned(api.Pod, adopt=True), delay_s=BATCH_S),),
    indexes={api.Pod: {FREE: free}},
    gather=gather,
    plan=plan,
)
