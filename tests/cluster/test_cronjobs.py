from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.schema import api
from sampan.testing import Cluster


def cronjob(run_s: float, **spec: Any) -> api.CronJob:
    annotations = {"sampan.dev/simulate": json.dumps({"run_s": run_s})}
    pods = api.PodTemplateSpec(
        metadata=api.ObjectMeta(annotations=annotations),
        spec=api.PodSpec(containers=[api.Container(name="c", image="c:1")], restartPolicy="OnFailure"),
    )
    return api.CronJob(
        metadata=api.ObjectMeta(name="tick", namespace="default"),
        spec=api.CronJobSpec(
            schedule="*/1 * * * *",
            jobTemplate=api.JobTemplateSpec(spec=api.JobSpec(template=pods)),
            **spec,
        ),
    )


def jobs(cluster: Cluster) -> list[api.Job]:
    return cluster.client.list(api.Job, "default")


def active(cluster: Cluster) -> int:
    return len(cluster.client.get(api.CronJob, "tick", "default").status.active)


def test_jobs_come_by_the_clock_and_history_is_kept_short() -> None:
    with Cluster() as cluster:
        cluster.client.create(cronjob(5, successfulJobsHistoryLimit=2))
        cluster.advance(59)
        assert jobs(cluster) == []
        for _ in range(6):
            cluster.advance(30)
        cluster.advance(30)
        cluster.wait_until(lambda: active(cluster) == 0)
        assert len(jobs(cluster)) == 2
        status = cluster.client.get(api.CronJob, "tick", "default").status
        assert status.lastScheduleTime is not None
        assert status.lastSuccessfulTime is not None


@pytest.mark.conformance("CronJob should not schedule new jobs when ForbidConcurrent")
@pytest.mark.conformance("CronJob should replace jobs when ReplaceConcurrent")
@pytest.mark.conformance("CronJob should schedule multiple jobs concurrently")
def test_forbid_lets_one_run_and_replace_the_newest() -> None:
    for policy, names in (("Allow", 3), ("Forbid", 1), ("Replace", 1)):
        with Cluster() as cluster:
            cluster.client.create(cronjob(10_000, concurrencyPolicy=policy))
            cluster.advance(60)
            cluster.wait_until(lambda c=cluster: active(c) == 1)
            first = jobs(cluster)[0].metadata.name
            cluster.advance(60)
            cluster.advance(60)
            cluster.wait_until(lambda c=cluster, n=names: len(jobs(c)) == active(c) == n)
            kept = [job.metadata.name for job in jobs(cluster)]
            assert (first in kept) == (policy != "Replace")


@pytest.mark.conformance("CronJob should not schedule jobs when suspended")
def test_suspended_cronjobs_start_nothing() -> None:
    with Cluster() as cluster:
        cluster.client.create(cronjob(5, suspend=True))
        cluster.advance(300)
        assert jobs(cluster) == []
