"""Whether a Job has failed or succeeded, and its conditions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.base.clock import kube_time
from sampan.controllers.job import indexes
from sampan.controllers.job.facts import Facts, is_indexed
from sampan.controllers.job.failures import FAIL_JOB
from sampan.schema import api

FAILURE_TARGET: Final = "FailureTarget"
SUCCESS_CRITERIA: Final = "SuccessCriteriaMet"
SUSPENDED: Final = "Suspended"
# What a decision becomes once every pod has ended.
FINAL: Final = {FAILURE_TARGET: "Failed", SUCCESS_CRITERIA: "Complete"}


class Decision(msgspec.Struct, frozen=True):
    """That a Job is to end: as a failure or a success, and why."""

    type: str
    reason: str
    message: str


def decide(facts: Facts, now: datetime) -> Decision | None:
    """What was decided before, or what follows from the pods now; None while the Job goes on."""
    return (
        _decided(facts.job)
        or _failed_by_policy(facts)
        or _failed_by_limits(facts, now)
        or _failed_by_indexes(facts)
        or _succeeded_by_policy(facts)
        or _completed(facts)
    )


def _decided(job: api.Job) -> Decision | None:
    for found in job.status.conditions:
        if found.type in FINAL and found.status == "True":
            return Decision(found.type, found.reason or "", found.message or "")
    return None


def _failed_by_policy(facts: Facts) -> Decision | None:
    for verdict in facts.verdicts.values():
        if verdict.action == FAIL_JOB:
            return Decision(FAILURE_TARGET, "PodFailurePolicy", verdict.message)
    return None


def _failed_by_limits(facts: Facts, now: datetime) -> Decision | None:
    limit = facts.job.spec.backoffLimit
    if limit is not None and (facts.failed > limit or _restarts_too_often(facts, limit)):
        message = "Job has reached the specified backoff limit"
        return Decision(FAILURE_TARGET, "BackoffLimitExceeded", message)
    if deadline_in_s(facts.job, now) == 0:
        return Decision(FAILURE_TARGET, "DeadlineExceeded", "Job was active longer than specified deadline")
    return None


def _restarts_too_often(facts: Facts, limit: int) -> bool:
    """Where containers restart in place, their restarts count: pastBackoffLimitOnFailure."""
    if facts.job.spec.template.spec.restartPolicy != "OnFailure":
        return False
    restarts = sum(
        status.restartCount
        for pod in facts.pods
        if pod.status.phase in ("Running", "Pending")
        for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses)
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def deadline_in_s(job: api.Job, now: datetime) -> float | None:
    """Seconds until activeDeadlineSeconds have passed; None without a deadline, or while it stands still."""
    limit_s, started = job.spec.activeDeadlineSeconds, job.status.startTime
    if limit_s is None or started is None or job.spec.suspend:
        return None
    return max((started + timedelta(seconds=limit_s) - now).total_seconds(), 0.0)


def _failed_by_indexes(facts: Facts) -> Decision | None:
    if not facts.has_limit_per_index:
        return None
    failed, most = len(facts.failed_indexes), facts.job.spec.maxFailedIndexes
    if most is not None and failed > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Decision(FAILURE_TARGET, "MaxFailedIndexesExceeded", message)
    if failed and failed + len(facts.succeeded_indexes) >= (facts.completions or 0):
        return Decision(FAILURE_TARGET, "FailedIndexes", "Job has failed indexes")
    return None


def _succeeded_by_policy(facts: Facts) -> Decision | None:
    policy = facts.job.spec.successPolicy
    if policy is None or not is_indexed(facts.job):
        return None
    for position, rule in enumerate(policy.rules):
        matching = facts.succeeded_indexes
        least = rule.succeededCount
        if rule.succeededIndexes is not None:
            listed = indexes.parse(rule.succeededIndexes, facts.completions or 0)
            matching = matching & listed
            least = len(listed) if least is None else least
        if least is not None and len(matching) >= least:
            return Decision(SUCCESS_CRITERIA, "SuccessPolicy", f"Matched rules at index {position}")
    return None


def _completed(facts: Facts) -> Decision | None:
    if facts.completions is None:  # a work queue: one success says that the queue is empty
        done = facts.succeeded > 0 and not facts.active and not facts.job.spec.suspend
    else:
        done = facts.succeeded >= facts.completions and not facts.active
    if not done:
        return None
    return Decision(SUCCESS_CRITERIA, "CompletionsReached", "Reached expected number of succeeded pods")


def with_condition(
    status: api.JobStatus, type: str, is_true: bool, reason: str, message: str, now: datetime
) -> api.JobStatus:
    """The status with this condition; its times stay where it says what it said before."""
    wanted = "True" if is_true else "False"
    known = next((c for c in status.conditions if c.type == type), None)
    if known is not None and (known.status, known.reason, known.message) == (wanted, reason, message):
        return status
    at = kube_time(now)
    changed = known is None or known.status != wanted
    new = api.JobCondition(
        type=type,
        status=wanted,
        reason=reason,
        message=message,
        lastProbeTime=at,
        lastTransitionTime=at if changed or known is None else known.lastTransitionTime,
    )
    if known is None:
        return msgspec.structs.replace(status, conditions=[*status.conditions, new])
    conditions = [new if c.type == type else c for c in status.conditions]
    return msgspec.structs.replace(status, conditions=conditions)
