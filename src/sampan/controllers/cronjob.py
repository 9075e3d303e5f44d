"""CronJobs: a Job for each time that the schedule names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Create, Effect, Emit, Plan, Remove, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, owned
from sampan.controllers.runtime.owners import owner_reference
from sampan.controllers.schedules import MISSED_MOST, Schedule, ScheduleError
from sampan.schema import api, codec

SCHEDULED_AT: Final = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class View(msgspec.Struct, frozen=True):
    """A CronJob and the Jobs that it controls."""

    owner: api.CronJob
    jobs: tuple[api.Job, ...]
    failure: Failure | None = None


def gather(caches: Caches, key: Key) -> View | None:
    owner = caches.of(api.CronJob).get(*key)
    if owner is None:
        return None
    jobs = caches.of(api.Job).controlled_by(owner.metadata.uid or "")
    return View(owner, tuple(sorted(jobs, key=_started)), caches.failure(key))


def plan(view: View, now: datetime) -> Plan:
    """Note what ended, remove old Jobs, and start the one that is due."""
    owner = view.owner
    status, effects = _noted(view)
    if owner.metadata.deletionTimestamp is not None:
        return Plan((*effects, *_write(owner, status)), "the garbage collector to finish its deletion")
    effects += _cleaned(view)
    if owner.spec.suspend:
        return Plan((*effects, *_write(owner, status)), "the CronJob to be resumed")
    try:
        schedule = Schedule(owner.spec.schedule, owner.spec.timeZone)
    except ScheduleError as error:
        emit = Emit(ref_of(owner), "Warning", "UnparseableSchedule", str(error))
        return Plan((*effects, *_write(owner, status), emit), "a schedule that can be read")
    start = _due(owner, schedule, now)
    effects += start.events
    if start.at is None:
        effects += _write(owner, status)
    elif _refuses(view):
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        effects += [*_write(owner, status), Emit(ref_of(owner), "Normal", "JobAlreadyActive", message)]
    else:
        effects += _started_effects(view, schedule, start.at, status)
    return _until_next(schedule, effects, now)


class Start(msgspec.Struct, frozen=True):
    """When the Job that is due should have started; None where none is due."""

    at: datetime | None = None
    events: tuple[Emit, ...] = ()


def _due(owner: api.CronJob, schedule: Schedule, now: datetime) -> Start:
    """Of all times that were missed only the last is made up for, and only within its deadline."""
    earliest = owner.status.lastScheduleTime or owner.metadata.creationTimestamp or now
    deadline_s = owner.spec.startingDeadlineSeconds
    if deadline_s is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline_s))
    at = schedule.latest(earliest, now)
    if at is None:
        return Start()
    if deadline_s is None and schedule.missed(earliest, now) > MISSED_MOST:
        message = (
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        )
        return Start(at, (Emit(ref_of(owner), "Warning", "TooManyMissedTimes", message),))
    return Start(at)


def _refuses(view: View) -> bool:
    return view.owner.spec.concurrencyPolicy == "Forbid" and any(map(_is_running, view.jobs))


def _started_effects(view: View, schedule: Schedule, at: datetime, status: api.CronJobStatus) -> list[Effect]:
    """The Job goes before the note that it was started: after a crash it is found by its name."""
    owner = view.owner
    effects: list[Effect] = []
    job = make_job(owner, schedule, at)
    is_made = any(one.metadata.name == job.metadata.name for one in view.jobs)
    noted = msgspec.structs.replace(status, lastScheduleTime=at)
    if is_made:
        return [*_write(owner, noted)]
    if view.failure is not None and isinstance(view.failure.effect, Create):
        effects += _write(owner, status)  # it may fail again, and what is known should be said
        if effects:
            return effects
    if owner.spec.concurrencyPolicy == "Replace":
        effects += [
            _remove(owner, one)
            for one in view.jobs
            if _is_running(one) and one.metadata.deletionTimestamp is None
        ]
    done = Emit(ref_of(owner), "Normal", "SuccessfulCreate", "Created job {name}")
    failed = Emit(ref_of(owner), "Warning", "FailedCreate", "Error creating job: {error}")
    return [*effects, Create(job, expect_exists=True, done=done, failed=failed), *_write(owner, noted)]


def make_job(owner: api.CronJob, schedule: Schedule, at: datetime) -> api.Job:
    """The Job for this time, named after it, so that no time can get two."""
    template = codec.copy(owner.spec.jobTemplate or api.JobTemplateSpec())
    stamp = at.astimezone(schedule.zone).isoformat().replace("+00:00", "Z")
    return api.Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=api.ObjectMeta(
            name=f"{owner.metadata.name}-{int(at.timestamp()) // 60}",
            namespace=owner.metadata.namespace,
            labels=template.metadata.labels,
            annotations={**template.metadata.annotations, SCHEDULED_AT: stamp},
            finalizers=template.metadata.finalizers,
            ownerReferences=[owner_reference(owner)],
        ),
        spec=template.spec,
    )


def _noted(view: View) -> tuple[api.CronJobStatus, list[Effect]]:
    """The status with the Jobs that run now, and events about those that no longer do."""
    owner, status = view.owner, view.owner.status
    about = ref_of(owner)
    by_uid = {job.metadata.uid: job for job in view.jobs}
    events: list[Effect] = []
    for reference in status.active:
        job = by_uid.get(reference.uid)
        if job is None:
            message = f"Active job went missing: {reference.name}"
            events.append(Emit(about, "Normal", "MissingJob", message))
        elif _result(job):
            message = f"Saw completed job: {reference.name}, condition: {_result(job)}"
            events.append(Emit(about, "Normal", "SawCompletedJob", message))
    succeeded = [job.status.completionTime for job in view.jobs if _result(job) == "Complete"]
    last = max((at for at in [*succeeded, status.lastSuccessfulTime] if at is not None), default=None)
    known = {reference.uid: reference for reference in status.active}
    active = [known.get(job.metadata.uid) or _reference(job) for job in view.jobs if _is_running(job)]
    return msgspec.structs.replace(status, active=active, lastSuccessfulTime=last), events


def _reference(job: api.Job) -> api.ObjectReference:
    ref = ref_of(job)
    return api.ObjectReference(
        apiVersion=ref.api_version,
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        uid=ref.uid,
        resourceVersion=ref.resource_version,
    )


def _cleaned(view: View) -> list[Effect]:
    """The removal of the oldest finished Jobs over the history limits."""
    spec = view.owner.spec
    effects: list[Effect] = []
    for result, limit in (
        ("Complete", spec.successfulJobsHistoryLimit),
        ("Failed", spec.failedJobsHistoryLimit),
    ):
        ended = [
            job for job in view.jobs if _result(job) == result and job.metadata.deletionTimestamp is None
        ]
        if limit is not None:
            effects += [_remove(view.owner, job) for job in ended[: max(len(ended) - limit, 0)]]
    return effects


def _remove(owner: api.CronJob, job: api.Job) -> Remove:
    about = ref_of(owner)
    ref = msgspec.structs.replace(ref_of(job), resource_version="")
    done = Emit(about, "Normal", "SuccessfulDelete", f"Deleted job {job.metadata.name}")
    failed = Emit(about, "Warning", "FailedDelete", "Deleted job: {error}")
    return Remove(ref, propagation="Background", done=done, failed=failed)


def _result(job: api.Job) -> str:
    """Complete or Failed; "" while the Job goes on."""
    ended = [c.type for c in job.status.conditions if c.type in ("Complete", "Failed") and c.status == "True"]
    return ended[0] if ended else ""


def _is_running(job: api.Job) -> bool:
    """Whether the schedule started the Job, and it goes on. What somebody started by hand hinders no run."""
    return SCHEDULED_AT in job.metadata.annotations and not _result(job)


def _started(job: api.Job) -> tuple[datetime, str]:
    at = job.status.startTime or job.metadata.creationTimestamp or _LONG_AGO
    return at, job.metadata.name or ""


def _write(owner: api.CronJob, status: api.CronJobStatus) -> list[Effect]:
    if status == owner.status:
        return []
    return [UpdateStatus(msgspec.structs.replace(owner, status=status))]


def _until_next(schedule: Schedule, effects: Sequence[Effect], now: datetime) -> Plan:
    upcoming = schedule.after(now)
    if upcoming is None:
        return Plan(tuple(effects), "a schedule that ever comes due")
    wait_s = (upcoming - now).total_seconds()
    return Plan(tuple(effects), f"its next run at {upcoming:%Y-%m-%dT%H:%M:%SZ}", wait_s)


def _job_matters(old: Any, new: Any) -> bool:
    """Counts of a running Job change often and make no difference."""
    return bool(
        _result(old) != _result(new)
        or old.metadata.deletionTimestamp != new.metadata.deletionTimestamp
        or controller_of(old) != controller_of(new)
    )


CONTROLLER: Final = Controller(
    name="cronjob",
    kind=api.CronJob,
    watches=(msgspec.structs.replace(owned(api.Job), matters=_job_matters),),
    gather=gather,
    plan=plan,
)
