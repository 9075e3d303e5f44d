"""Counting each pod of a Job exactly once, whatever happens in between.

A pod has a finalizer until it is counted, so it cannot vanish before. Its uid is written to
status.uncountedTerminatedPods first, then the finalizer goes, then the uid turns into a count: after a crash
at any point the next plan sees how far the last one came. Successes of indexed Jobs need no uids: an index
that is written down twice is still one index.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from sampan.client.effects import Patch
from sampan.client.resources import ref_of
from sampan.controllers.job import indexes
from sampan.controllers.job.facts import TRACKING, Facts, is_indexed
from sampan.kinds.core.phases import is_finished
from sampan.schema import api

# At most so many uids are in a status at a time.
UNCOUNTED_MOST: Final = 500


class Tally(msgspec.Struct, frozen=True):
    """The Job's status with its counts, and the pods that may be let go once it is written."""

    status: api.JobStatus
    release: tuple[api.Pod, ...]

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to count."""
        uncounted = self.status.uncountedTerminatedPods
        return uncounted is None or not (uncounted.succeeded or uncounted.failed)


def tally(facts: Facts, *, finishing: bool) -> Tally:
    """Count what has ended. While the Job goes on, pods are kept that hold the failures of their index."""
    job = facts.job
    succeeded = [uid for uid in facts.uncounted_succeeded if uid in facts.tracked]
    failed = [uid for uid in facts.uncounted_failed if uid in facts.tracked]
    succeeded_before = (job.status.succeeded or 0) + len(facts.uncounted_succeeded) - len(succeeded)
    failed_before = (job.status.failed or 0) + len(facts.uncounted_failed) - len(failed)
    release = [facts.tracked[uid] for uid in (*succeeded, *failed)]
    held = set() if finishing else {pod.metadata.uid for pod in facts.held.values()}
    room = UNCOUNTED_MOST - len(release)
    for pod in facts.new_succeeded[: max(room, 0)]:
        release.append(pod)
        if not is_indexed(job):
            succeeded.append(pod.metadata.uid or "")
    room = UNCOUNTED_MOST - len(release)
    for pod in [pod for pod in facts.new_failed if pod.metadata.uid not in held][: max(room, 0)]:
        release.append(pod)
        if facts.verdict(pod).counts:
            failed.append(pod.metadata.uid or "")
    release += _unplaced(facts, release)
    status = msgspec.structs.replace(
        job.status,
        succeeded=(len(facts.succeeded_indexes) if is_indexed(job) else succeeded_before) or None,
        failed=failed_before or None,
        uncountedTerminatedPods=api.UncountedTerminatedPods(succeeded=succeeded, failed=failed),
    )
    if is_indexed(job):
        status = msgspec.structs.replace(
            status,
            completedIndexes=indexes.write(facts.succeeded_indexes) or None,
            failedIndexes=indexes.write(facts.failed_indexes) if facts.has_limit_per_index else None,
        )
    return Tally(status, tuple(release))


def _unplaced(facts: Facts, released: Iterable[api.Pod]) -> list[api.Pod]:
    """Ended pods of indexes that there are no more, and all pods of a Job that is being deleted."""
    listed = {pod.metadata.uid for pod in (*released, *facts.new_succeeded, *facts.new_failed)}
    leaving = facts.job.metadata.deletionTimestamp is not None
    return [pod for uid, pod in facts.tracked.items() if uid not in listed and (leaving or is_finished(pod))]


def let_go(pod: api.Pod) -> Patch:
    """Take the finalizer off the pod, in exactly the version that was planned with."""
    kept = [finalizer for finalizer in pod.metadata.finalizers if finalizer != TRACKING]
    meta = {
        "uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resourceVersion,
        "finalizers": kept or None,
    }
    return Patch(ref_of(pod), {"metadata": meta})
