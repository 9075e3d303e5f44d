"""What can be told from a Job and its pods as they are: before anything is decided or written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from sampan.client.executor import Failure
from sampan.controllers.job import indexes
from sampan.controllers.job.failures import COUNTED, FAIL_INDEX, Verdict, is_failed, judge
from sampan.controllers.runtime import pods as podutil
from sampan.schema import api

PREFIX: Final = "batch.kubernetes.io/"
TRACKING: Final = PREFIX + "job-tracking"
COMPLETION_INDEX: Final = PREFIX + "job-completion-index"
INDEX_FAILURES: Final = PREFIX + "job-index-failure-count"
INDEX_IGNORED: Final = PREFIX + "job-index-ignored-failure-count"


class View(msgspec.Struct, frozen=True):
    """A Job and every pod that it controls or could adopt."""

    job: api.Job
    candidates: tuple[api.Pod, ...]
    failure: Failure | None = None


def is_indexed(job: api.Job) -> bool:
    return job.spec.completionMode == "Indexed"


def is_tracked(pod: api.Pod) -> bool:
    """Whether the pod has still to be counted, or to be let go after it was."""
    return TRACKING in pod.metadata.finalizers


def is_true(job: api.Job, type: str) -> bool:
    return any(c.type == type and c.status == "True" for c in job.status.conditions)


def is_finished(job: api.Job) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def index_of(pod: api.Pod) -> int | None:
    """The completion index in the pod's annotations."""
    text = pod.metadata.annotations.get(COMPLETION_INDEX, "")
    return int(text) if text.isdigit() else None


def number(pod: api.Pod, annotation: str) -> int:
    """An annotation that counts; 0 where it is absent."""
    text = pod.metadata.annotations.get(annotation, "")
    return int(text) if text.isdigit() else 0


class Facts:
    """The pods of a Job, sorted out once for everything that asks about them."""

    def __init__(self, job: api.Job, pods: Sequence[api.Pod]) -> None:
        self.job = job
        self.pods = pods
        self.completions = job.spec.completions
        self.active = [pod for pod in pods if podutil.is_active(pod)]
        self.terminating = [pod for pod in pods if podutil.is_terminating(pod)]
        self.tracked = {pod.metadata.uid or "": pod for pod in pods if is_tracked(pod)}
        uncounted = job.status.uncountedTerminatedPods or api.UncountedTerminatedPods()
        self.uncounted_succeeded = list(uncounted.succeeded)
        self.uncounted_failed = list(uncounted.failed)
        listed = {*uncounted.succeeded, *uncounted.failed}
        new = [pod for uid, pod in self.tracked.items() if uid not in listed and self._has_place(pod)]
        self.new_succeeded = [pod for pod in new if pod.status.phase == "Succeeded"]
        self.new_failed = [pod for pod in new if is_failed(job, pod)]
        self.verdicts = {pod.metadata.uid or "": judge(job, pod) for pod in self.new_failed}
        self.succeeded_indexes = self._succeeded_indexes()
        self.failed_indexes = self._failed_indexes()
        self.held = self._held()

    def verdict(self, pod: api.Pod) -> Verdict:
        return self.verdicts.get(pod.metadata.uid or "", COUNTED)

    @property
    def has_limit_per_index(self) -> bool:
        return is_indexed(self.job) and self.job.spec.backoffLimitPerIndex is not None

    @property
    def succeeded(self) -> int:
        """How many pods, or indexes, have succeeded, written down or not."""
        if is_indexed(self.job):
            return len(self.succeeded_indexes)
        return (self.job.status.succeeded or 0) + len(self.uncounted_succeeded) + len(self.new_succeeded)

    @property
    def failed(self) -> int:
        """How many pods have failed, written down or not, without those that the policy ignores."""
        new = sum(verdict.counts for verdict in self.verdicts.values())
        return (self.job.status.failed or 0) + len(self.uncounted_failed) + new

    def failures_of_index(self, pod: api.Pod) -> int:
        """How often the index of this failed pod has failed, this time included."""
        return number(pod, INDEX_FAILURES) + self.verdict(pod).counts

    def _has_place(self, pod: api.Pod) -> bool:
        if not is_indexed(self.job):
            return True
        index = index_of(pod)
        return index is not None and index < (self.completions or 0)

    def _succeeded_indexes(self) -> frozenset[int]:
        if not is_indexed(self.job):
            return frozenset()
        known = indexes.parse(self.job.status.completedIndexes or "", self.completions or 0)
        return known | {index for pod in self.new_succeeded if (index := index_of(pod)) is not None}

    def _failed_indexes(self) -> frozenset[int]:
        if not self.has_limit_per_index:
            return frozenset()
        limit = self.job.spec.backoffLimitPerIndex or 0
        known = indexes.parse(self.job.status.failedIndexes or "", self.completions or 0)
        new = {
            index
            for pod in self.new_failed
            if (index := index_of(pod)) is not None
            and (self.verdict(pod).action == FAIL_INDEX or self.failures_of_index(pod) > limit)
        }
        return known | (new - self.succeeded_indexes)

    def _held(self) -> dict[int, api.Pod]:
        """The last failed pod of each index without a successor: it alone knows the index's failures."""
        if not self.has_limit_per_index:
            return {}
        settled = self.succeeded_indexes | self.failed_indexes
        replaced = {index_of(pod) for pod in self.active}
        held: dict[int, api.Pod] = {}
        for pod in self.new_failed:
            index = index_of(pod)
            if index is None or index in settled or index in replaced:
                continue
            before = held.get(index)
            if before is None or _failures(before) <= _failures(pod):
                held[index] = pod
        return held


def _failures(pod: api.Pod) -> int:
    return number(pod, INDEX_FAILURES) + number(pod, INDEX_IGNORED)
