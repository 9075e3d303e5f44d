from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Emit, Plan, Remove, UpdateStatus
from sampan.controllers import cronjob
from sampan.controllers.cronjob import CONTROLLER, View
from sampan.controllers.runtime.owners import owner_reference
from sampan.controllers.schedules import Schedule
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key, template
from tests.fakes.waiting import run

MADE = datetime(2026, 1, 1, tzinfo=UTC)


def owner(**spec: Any) -> api.CronJob:
    last = spec.pop("last", None)
    inner = api.JobSpec(template=template())
    meta = api.ObjectMeta(labels={"from": "cron"}, annotations={"note": "x"})
    return api.CronJob(
        apiVersion="batch/v1",
        kind="CronJob",
        metadata=api.ObjectMeta(name="tick", namespace=NAMESPACE, uid="cron", creationTimestamp=MADE),
        spec=api.CronJobSpec(
            schedule=spec.pop("schedule", "*/10 * * * *"),
            jobTemplate=api.JobTemplateSpec(metadata=meta, spec=inner),
            successfulJobsHistoryLimit=spec.pop("successfulJobsHistoryLimit", 3),
            failedJobsHistoryLimit=spec.pop("failedJobsHistoryLimit", 1),
            **spec,
        ),
        status=api.CronJobStatus(lastScheduleTime=last),
    )


def minutes(count: float) -> datetime:
    return MADE + timedelta(minutes=count)


def child(of: api.CronJob, minute: int, result: str = "") -> api.Job:
    made = cronjob.make_job(of, Schedule(of.spec.schedule), minutes(minute))
    made.metadata.uid = f"job-{minute}"
    made.metadata.creationTimestamp = minutes(minute)
    if result:
        made.status.conditions = [api.JobCondition(type=result, status="True")]
        made.status.completionTime = minutes(minute + 1) if result == "Complete" else None
    return made


def step(given: api.CronJob, at: float, *jobs: api.Job) -> Plan:
    return cronjob.plan(View(given, jobs), minutes(at))


def created(plan: Plan) -> list[str]:
    return [effect.obj.metadata.name for effect in plan.effects if isinstance(effect, Create)]


def removed(plan: Plan) -> list[str]:
    return [effect.ref.name for effect in plan.effects if isinstance(effect, Remove)]


def reasons(plan: Plan) -> list[str]:
    return [effect.reason for effect in plan.effects if isinstance(effect, Emit)]


def status(plan: Plan) -> api.CronJobStatus:
    (found,) = [effect.obj.status for effect in plan.effects if isinstance(effect, UpdateStatus)]
    return found


BASE = int(MADE.timestamp()) // 60


@pytest.mark.parametrize(
    ("spec", "at", "minute"),
    [
        ({}, 9.9, None),
        ({}, 10, 10),
        ({}, 10.5, 10),
        ({}, 35, 30),  # of three that were missed the last one is made up for
        ({"last": minutes(30)}, 35, None),
        ({"last": minutes(20)}, 35, 30),
        ({"suspend": True}, 35, None),
        ({"startingDeadlineSeconds": 60}, 30.5, 30),
        ({"startingDeadlineSeconds": 60}, 35, None),
        ({"timeZone": "Asia/Kolkata", "schedule": "0 * * * *"}, 31, 30),
        ({"schedule": "bad"}, 35, None),
    ],
)
def test_when_a_job_starts(spec: dict[str, Any], at: float, minute: int | None) -> None:
    plan = step(owner(**spec), at)
    assert created(plan) == ([] if minute is None else [f"tick-{BASE + minute}"])
    if minute is not None:
        assert status(plan).lastScheduleTime == minutes(minute)


def test_the_next_look_is_at_the_next_time() -> None:
    assert step(owner(), 4).requeue_after_s == 360
    assert step(owner(suspend=True), 4).requeue_after_s is None


def test_a_job_is_as_its_template_and_named_after_its_time() -> None:
    made = cronjob.make_job(owner(), Schedule("* * * * *", "Asia/Tokyo"), minutes(10))
    assert made.metadata.labels == {"from": "cron"}
    assert made.metadata.annotations == {
        "note": "x",
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T09:10:00+09:00",
    }
    (reference,) = made.metadata.ownerReferences
    assert (reference.name, reference.controller) == ("tick", True)


@pytest.mark.parametrize(
    ("policy", "creates", "removes"),
    [("Allow", 1, []), ("Forbid", 0, []), ("Replace", 1, [f"tick-{BASE + 10}"])],
)
def test_concurrency(policy: str, creates: int, removes: list[str]) -> None:
    given = owner(concurrencyPolicy=policy, last=minutes(10))
    plan = step(given, 20, child(given, 10))
    assert (len(created(plan)), removed(plan)) == (creates, removes)
    assert ("JobAlreadyActive" in reasons(plan)) == (policy == "Forbid")
    ended = step(given, 20, child(given, 10, "Complete"))
    assert (len(created(ended)), removed(ended)) == (1, [])


def test_history_keeps_the_newest() -> None:
    given = owner(last=minutes(100), successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
    jobs = [child(given, n, "Complete") for n in (10, 20, 30, 40)] + [child(given, 50, "Failed")]
    assert removed(step(given, 105, *jobs)) == [f"tick-{BASE + n}" for n in (10, 20, 50)]


def test_status_follows_the_jobs() -> None:
    given = owner(last=minutes(20))
    given.status.active = [
        api.ObjectReference(kind="Job", name=f"tick-{BASE + 10}", uid="job-10"),
        api.ObjectReference(kind="Job", name="lost", uid="lost"),
    ]
    plan = step(given, 25, child(given, 10, "Complete"), child(given, 20))
    found = status(plan)
    assert [reference.uid for reference in found.active] == ["job-20"]
    assert found.lastSuccessfulTime == minutes(11)
    assert reasons(plan) == ["SawCompletedJob", "MissingJob"]


def test_too_many_missed_times_are_told() -> None:
    assert reasons(step(owner(schedule="* * * * *"), 60 * 24)) == ["TooManyMissedTimes"]
    assert reasons(step(owner(schedule="* * * * *"), 60)) == []


def test_after_a_crash_the_job_is_found_and_not_made_again() -> None:
    given = owner()
    plan = step(given, 10, child(given, 10))
    assert created(plan) == []
    assert status(plan).lastScheduleTime == minutes(10)


def test_applying_a_plan_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        given = owner(concurrencyPolicy="Replace")
        given.metadata.uid = None
        await bench.client.create(given)
        await bench.clock.advance(610)
        for _ in range(2):
            await bench.settle(CONTROLLER, key("tick"))
            (job,) = await bench.all(api.Job)
            assert owner_reference(await bench.get(api.CronJob, "tick")) == job.metadata.ownerReferences[0]
            found = (await bench.get(api.CronJob, "tick")).status
            assert [reference.uid for reference in found.active] == [job.metadata.uid]
            assert (await bench.step(CONTROLLER, key("tick"))).effects == ()
            await bench.clock.advance(600)

    run(main())


def test_a_job_that_was_started_by_hand_hinders_nothing() -> None:
    given = owner(concurrencyPolicy="Forbid", last=minutes(10))
    manual = child(given, 15)
    manual.metadata.annotations = {"cronjob.kubernetes.io/instantiate": "manual"}
    plan = step(given, 20, manual)
    assert created(plan) == [f"tick-{BASE + 20}"]
    assert status(plan).active == []
