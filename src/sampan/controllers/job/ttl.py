"""Finished Jobs that have stayed for ttlSecondsAfterFinished are removed, with their pods."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.client.effects import Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.job.facts import is_finished
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.schema import api


class View(msgspec.Struct, frozen=True):
    """A finished Job with a time to live."""

    job: api.Job


def gather(caches: Caches, key: Key) -> View | None:
    job = caches.of(api.Job).get(*key)
    if job is None or job.spec.ttlSecondsAfterFinished is None or not is_finished(job):
        return None
    return View(job) if job.metadata.deletionTimestamp is None else None


def plan(view: View, now: datetime) -> Plan:
    """Remove the Job once its time has come, its pods before it."""
    job = view.job
    ended = [
        c.lastTransitionTime
        for c in job.status.conditions
        if c.type in ("Complete", "Failed") and c.status == "True" and c.lastTransitionTime is not None
    ]
    limit = timedelta(seconds=job.spec.ttlSecondsAfterFinished or 0)
    left_s = (min(ended, default=now) + limit - now).total_seconds()
    if left_s > 0:
        return Plan(waiting_for=f"its time to live to end in {left_s:.0f} s", requeue_after_s=left_s)
    # With the version: whoever gives it more time at this moment wins.
    return Plan((Remove(ref_of(job), propagation="Foreground"),))


CONTROLLER: Final = Controller(name="ttl-after-finished", kind=api.Job, gather=gather, plan=plan)
