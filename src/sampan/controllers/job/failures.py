"""What a failed pod of a Job means, and how long to wait before the next one is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.controllers.runtime import pods as podutil
from sampan.schema import api

BACKOFF_FIRST_S: Final = 10.0
BACKOFF_MOST_S: Final = 600.0
FAIL_JOB: Final = "FailJob"
FAIL_INDEX: Final = "FailIndex"
IGNORE: Final = "Ignore"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Verdict(msgspec.Struct, frozen=True):
    """What podFailurePolicy says of a failed pod: which action, and why where it fails the whole Job."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        return self.action != IGNORE


COUNTED: Final = Verdict()


def replaces_failed_only(job: api.Job) -> bool:
    """Whether a pod that is ending has to have failed before it is counted and replaced."""
    return job.spec.podReplacementPolicy == "Failed" or job.spec.podFailurePolicy is not None


def is_failed(job: api.Job, pod: api.Pod) -> bool:
    """Whether the pod counts as failed: isPodFailed of the Job controller."""
    if pod.status.phase == "Failed":
        return True
    if replaces_failed_only(job):
        return False
    return pod.metadata.deletionTimestamp is not None and pod.status.phase != "Succeeded"


def judge(job: api.Job, pod: api.Pod) -> Verdict:
    """What the first rule that fits the failed pod says; where none does it counts against backoffLimit."""
    policy = job.spec.podFailurePolicy
    for position, rule in enumerate(policy.rules if policy is not None else ()):
        if rule.onExitCodes is not None:
            why = _exit_reason(rule.onExitCodes, pod)
        else:
            why = _condition_reason(rule.onPodConditions, pod)
        if why:
            return Verdict(rule.action, f"{why} matching {rule.action} rule at index {position}")
    return COUNTED


def _exit_reason(wanted: Any, pod: api.Pod) -> str:
    for status in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        ended = status.state.terminated if status.state is not None else None
        if ended is None or ended.exitCode == 0 or wanted.containerName not in (None, status.name):
            continue
        if (ended.exitCode in wanted.values) == (wanted.operator == "In"):
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return f"Container {status.name} for pod {where} failed with exit code {ended.exitCode}"
    return ""


def _condition_reason(patterns: Sequence[Any], pod: api.Pod) -> str:
    for pattern in patterns:
        found = podutil.condition(pod, pattern.type)
        if found is not None and found.status == (pattern.status or "True"):
            where = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return f"Pod {where} has condition {pattern.type}"
    return ""


def ended_at(pod: api.Pod) -> datetime:
    """When the pod's last container ended; where nobody says, the nearest time that is known."""
    times = [
        status.state.terminated.finishedAt
        for status in pod.status.containerStatuses
        if status.state is not None and status.state.terminated is not None
    ]
    known = [at for at in times if at is not None]
    if known and len(known) == len(pod.status.containerStatuses):
        return max(known)
    ready = podutil.condition(pod, "Ready")
    if ready is not None and ready.status == "False" and ready.lastTransitionTime is not None:
        return ready.lastTransitionTime
    if (
        pod.metadata.deletionTimestamp is not None
    ):  # which is when it must have ended, not when it was asked to
        return pod.metadata.deletionTimestamp - timedelta(
            seconds=pod.metadata.deletionGracePeriodSeconds or 0
        )
    return pod.metadata.creationTimestamp or _LONG_AGO


def backoff_s(failures: int, last: datetime, now: datetime) -> float:
    """Seconds left of the wait after so many failures in a row: 10 s, doubled each time, 10 min at most."""
    if failures <= 0:
        return 0.0
    wait_s = min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 32), BACKOFF_MOST_S)
    return max((last + timedelta(seconds=wait_s) - now).total_seconds(), 0.0)


def job_backoff_s(job: api.Job, pods: Iterable[api.Pod], now: datetime) -> float:
    """Seconds left before the Job makes another pod: by the failures since the last success."""
    failed: list[datetime] = []
    succeeded = _LONG_AGO
    for pod in pods:
        if pod.status.phase == "Succeeded":
            succeeded = max(succeeded, ended_at(pod))
        elif is_failed(job, pod):
            failed.append(ended_at(pod))
    since = [at for at in failed if at > succeeded]
    return backoff_s(len(since), max(since, default=now), now)
