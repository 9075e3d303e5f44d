"""Which pods of a Job are made and which are removed: manageJob."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from sampan.client.effects import Create, Effect, Emit, Remove
from sampan.client.resources import ref_of
from sampan.controllers.job.facts import (
    COMPLETION_INDEX,
    INDEX_FAILURES,
    INDEX_IGNORED,
    TRACKING,
    Facts,
    index_of,
    is_indexed,
    is_tracked,
    number,
)
from sampan.controllers.job.failures import backoff_s, ended_at, job_backoff_s, replaces_failed_only
from sampan.controllers.job.tracking import let_go
from sampan.controllers.replicaset import to_delete
from sampan.controllers.runtime import pods as podutil
from sampan.schema import api

# At most so many pods are created or deleted for one plan.
BURST: Final = 500
_INDEX_ENV: Final = "JOB_COMPLETION_INDEX"
_GENERATE_NAME_MOST: Final = 58


class Moves(msgspec.Struct):
    """Pods to remove uncounted, pods to create, and when to look again."""

    remove: list[api.Pod] = []
    create: list[api.Pod] = []
    again_s: float | None = None


def moves(facts: Facts, now: datetime) -> Moves:
    """As many active pods as wanted: too many go first, new ones come after their back-off."""
    job = facts.job
    if job.spec.suspend:
        return Moves(remove=facts.active[:BURST])
    wanted = _wanted(facts)
    surplus = _surplus(facts, max(len(facts.active) - wanted, 0), now)
    if surplus:
        return Moves(remove=surplus[:BURST])
    ending = len(facts.terminating) if replaces_failed_only(job) else 0
    missing = min(wanted - len(facts.active) - ending, BURST)
    if missing <= 0:
        return Moves()
    if facts.has_limit_per_index:
        return _per_index(facts, missing, now)
    wait_s = job_backoff_s(job, facts.pods, now)
    if wait_s > 0:
        return Moves(again_s=wait_s)
    if not is_indexed(job):
        return Moves(create=[_pod(job) for _ in range(missing)])
    return Moves(create=[_indexed_pod(facts, index) for index in _pending(facts)[:missing]])


def _wanted(facts: Facts) -> int:
    """How many pods should be active at once."""
    job = facts.job
    parallelism = 1 if job.spec.parallelism is None else job.spec.parallelism
    if facts.completions is None:
        return len(facts.active) if facts.succeeded > 0 else parallelism
    left = facts.completions - facts.succeeded - len(facts.failed_indexes)
    return max(min(parallelism, left), 0)


def _surplus(facts: Facts, least: int, now: datetime) -> list[api.Pod]:
    """Of indexed Jobs pods whose index is taken or too large, whatever the count; then the least valuable."""
    doomed: list[api.Pod] = []
    left = facts.active
    if is_indexed(facts.job):
        doomed, left = _misplaced(facts, now)
    if len(doomed) < least:
        doomed += to_delete(left, left, least - len(doomed), now)
    return doomed


def _misplaced(facts: Facts, now: datetime) -> tuple[list[api.Pod], list[api.Pod]]:
    by_index: dict[int | None, list[api.Pod]] = {}
    for pod in facts.active:
        by_index.setdefault(index_of(pod), []).append(pod)
    doomed: list[api.Pod] = []
    left: list[api.Pod] = []
    for index, pods in by_index.items():
        if index is None or index >= (facts.completions or 0):
            doomed += pods
        elif len(pods) == 1:
            left += pods
        else:
            worst = to_delete(pods, pods, len(pods), now)
            doomed += worst[:-1]
            left.append(worst[-1])
    return doomed, left


def _pending(facts: Facts) -> list[int]:
    """The indexes that need a pod, lowest first."""
    busy = [*facts.active, *(facts.terminating if replaces_failed_only(facts.job) else ())]
    taken = {index_of(pod) for pod in busy} | facts.succeeded_indexes | facts.failed_indexes
    return [index for index in range(facts.completions or 0) if index not in taken]


def _per_index(facts: Facts, missing: int, now: datetime) -> Moves:
    """Each index waits for its own back-off."""
    found = Moves()
    for index in _pending(facts):
        if len(found.create) == missing:
            break
        last = facts.held.get(index)
        wait_s = 0.0
        if last is not None:
            failures = number(last, INDEX_FAILURES) + number(last, INDEX_IGNORED) + 1
            wait_s = backoff_s(failures, ended_at(last), now)
        if wait_s > 0:
            found.again_s = min(wait_s, found.again_s or wait_s)
        else:
            found.create.append(_indexed_pod(facts, index))
    return found


def first_pods(job: api.Job) -> list[api.Pod]:
    """All pods that a new Job would have at once."""
    if job.spec.suspend:
        return []
    facts = Facts(job, ())
    if is_indexed(job):
        return [_indexed_pod(facts, index) for index in range(_wanted(facts))]
    return [_pod(job) for _ in range(_wanted(facts))]


def _pod(job: api.Job) -> api.Pod:
    pod = podutil.from_template(job.spec.template, job)
    pod.metadata.finalizers = [*pod.metadata.finalizers, TRACKING]
    return pod


def _indexed_pod(facts: Facts, index: int) -> api.Pod:
    """A pod for one index: it is told in an annotation, a label, the hostname and the environment."""
    job = facts.job
    pod = _pod(job)
    pod.metadata.generateName = f"{job.metadata.name}-{index}"[: _GENERATE_NAME_MOST - 1] + "-"
    pod.metadata.annotations[COMPLETION_INDEX] = pod.metadata.labels[COMPLETION_INDEX] = str(index)
    pod.spec.hostname = f"{job.metadata.name}-{index}"
    if facts.has_limit_per_index:
        last = facts.held.get(index)
        failures = facts.failures_of_index(last) if last is not None else 0
        ignored = number(last, INDEX_IGNORED) + (not facts.verdict(last).counts) if last is not None else 0
        pod.metadata.annotations[INDEX_FAILURES] = str(failures)
        if ignored:
            pod.metadata.annotations[INDEX_IGNORED] = str(ignored)
    path = f"metadata.labels['{COMPLETION_INDEX}']"
    source = api.EnvVarSource(fieldRef=api.ObjectFieldSelector(fieldPath=path))
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        if all(one.name != _INDEX_ENV for one in container.env):
            container.env = [*container.env, api.EnvVar(name=_INDEX_ENV, valueFrom=source)]
    return pod


def remove_uncounted(job: api.Job, pods: Sequence[api.Pod]) -> list[Effect]:
    """Let the pods go before they are removed, so that they do not count as failed."""
    return [*(let_go(pod) for pod in pods if is_tracked(pod)), *(remove(job, pod) for pod in pods)]


def remove(job: api.Job, pod: api.Pod) -> Remove:
    about = ref_of(job)
    ref = msgspec.structs.replace(ref_of(pod), resource_version="")
    done = Emit(about, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
    return Remove(ref, done=done, failed=Emit(about, "Warning", "FailedDelete", "Error deleting: {error}"))


def create(job: api.Job, pod: api.Pod) -> Create:
    about = ref_of(job)
    done = Emit(about, "Normal", "SuccessfulCreate", "Created pod: {name}")
    return Create(pod, done=done, failed=Emit(about, "Warning", "FailedCreate", "Error creating: {error}"))
