from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.controllers.job.facts import COMPLETION_INDEX, TRACKING
from sampan.schema import api
from sampan.testing import Cluster

SIMULATE = "sampan.dev/simulate"


def job(name: str = "work", run_s: float = 2, exit_code: int = 0, **spec: Any) -> api.Job:
    """A Job whose containers end by themselves."""
    annotations = {SIMULATE: json.dumps({"run_s": run_s, "exit_code": exit_code})}
    restart = spec.pop("restart", "Never")
    return api.Job(
        metadata=api.ObjectMeta(name=name, namespace="default"),
        spec=api.JobSpec(
            template=api.PodTemplateSpec(
                metadata=api.ObjectMeta(annotations=annotations),
                spec=api.PodSpec(containers=[api.Container(name="c", image="work:1")], restartPolicy=restart),
            ),
            **spec,
        ),
    )


def get(cluster: Cluster, name: str = "work") -> api.Job:
    return cluster.client.get(api.Job, name, "default")


def is_true(cluster: Cluster, type: str) -> bool:
    return any(c.type == type and c.status == "True" for c in get(cluster).status.conditions)


def reason(cluster: Cluster, type: str) -> str | None:
    return next((c.reason for c in get(cluster).status.conditions if c.type == type), None)


def pods(cluster: Cluster) -> list[api.Pod]:
    return cluster.client.list(api.Pod, "default")


def test_a_job_completes_and_goes_after_its_time() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(completions=5, parallelism=2, ttlSecondsAfterFinished=60))
        cluster.wait_until(lambda: is_true(cluster, "Complete"))
        status = get(cluster).status
        assert (status.succeeded, status.failed, status.active) == (5, None, None)
        assert all(pod.metadata.finalizers == [] for pod in pods(cluster))
        cluster.advance(70)
        cluster.wait_until(lambda: not cluster.client.list(api.Job, "default"))
        cluster.wait_until(lambda: not pods(cluster))


@pytest.mark.conformance(
    "Job should create pods for an Indexed job with completion indexes and specified hostname"
)
def test_an_indexed_job_runs_each_index() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(completions=4, parallelism=3, completionMode="Indexed"))
        cluster.wait_until(lambda: is_true(cluster, "Complete"))
        assert get(cluster).status.completedIndexes == "0-3"
        found = sorted(pod.metadata.annotations[COMPLETION_INDEX] for pod in pods(cluster))
        assert found == ["0", "1", "2", "3"]
        assert sorted(pod.spec.hostname or "" for pod in pods(cluster)) == [f"work-{n}" for n in range(4)]


def test_a_failing_job_gives_up_at_its_limit() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(exit_code=3, backoffLimit=2))
        cluster.wait_until(lambda: is_true(cluster, "Failed"))
        assert (get(cluster).status.failed, reason(cluster, "Failed")) == (3, "BackoffLimitExceeded")


def test_containers_that_restart_in_place_count() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(exit_code=3, backoffLimit=1, restart="OnFailure"))
        cluster.wait_until(lambda: is_true(cluster, "Failed"))
        assert reason(cluster, "Failed") == "BackoffLimitExceeded"


@pytest.mark.conformance("Job should allow to use the pod failure policy on exit code to fail the job early")
def test_a_failure_policy_fails_the_job_early() -> None:
    with Cluster() as cluster:
        codes = api.PodFailurePolicyOnExitCodesRequirement(operator="In", values=[3])
        rules = [api.PodFailurePolicyRule(action="FailJob", onExitCodes=codes)]
        cluster.client.create(job(exit_code=3, podFailurePolicy=api.PodFailurePolicy(rules=rules)))
        cluster.wait_until(lambda: is_true(cluster, "Failed"))
        assert (get(cluster).status.failed, reason(cluster, "Failed")) == (1, "PodFailurePolicy")


def test_all_indexes_run_although_each_fails() -> None:
    with Cluster() as cluster:
        given = job(
            exit_code=3, completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1
        )
        cluster.client.create(given)
        cluster.wait_until(lambda: is_true(cluster, "Failed"))
        status = get(cluster).status
        assert (status.failed, status.failedIndexes, reason(cluster, "Failed")) == (4, "0,1", "FailedIndexes")


def test_a_deadline_ends_running_pods() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(run_s=1000, parallelism=2, completions=2, activeDeadlineSeconds=30))
        cluster.wait_until(lambda: get(cluster).status.ready == 2)
        cluster.advance(40)
        cluster.wait_until(lambda: is_true(cluster, "Failed"))
        assert reason(cluster, "Failed") == "DeadlineExceeded"
        cluster.wait_until(lambda: not [p for p in pods(cluster) if p.status.phase == "Running"])


def test_suspend_and_resume() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(run_s=20, suspend=True))
        cluster.wait_until(lambda: is_true(cluster, "Suspended"))
        assert pods(cluster) == []
        cluster.client.patch(api.Job, "work", "default", {"spec": {"suspend": False}})
        cluster.wait_until(lambda: get(cluster).status.ready == 1)
        cluster.client.patch(api.Job, "work", "default", {"spec": {"suspend": True}})
        cluster.wait_until(lambda: not pods(cluster))
        cluster.client.patch(api.Job, "work", "default", {"spec": {"suspend": False}})
        cluster.wait_until(lambda: is_true(cluster, "Complete"))
        assert (get(cluster).status.succeeded, get(cluster).status.failed) == (1, None)


def test_a_success_policy_ends_the_rest() -> None:
    with Cluster() as cluster:
        policy = api.SuccessPolicy(rules=[api.SuccessPolicyRule(succeededIndexes="0")])
        given = job(run_s=5, completions=3, parallelism=1, completionMode="Indexed", successPolicy=policy)
        cluster.client.create(given)
        cluster.wait_until(lambda: is_true(cluster, "Complete"))
        assert get(cluster).status.completedIndexes == "0"
        assert reason(cluster, "Complete") == "SuccessPolicy"


@pytest.mark.conformance("Job should delete a job")
def test_a_deleted_job_takes_its_pods_along() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(run_s=1000, parallelism=3, completions=3))
        cluster.wait_until(lambda: get(cluster).status.ready == 3)
        cluster.client.delete(api.Job, "work", "default", propagation="Background")
        cluster.wait_until(lambda: not pods(cluster))


def test_a_deleted_pod_is_replaced_and_counted_once() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(run_s=30))
        cluster.wait_until(lambda: get(cluster).status.ready == 1)
        (pod,) = pods(cluster)
        cluster.client.delete(api.Pod, pod.metadata.name or "", "default")
        cluster.wait_until(lambda: is_true(cluster, "Complete"))
        assert (get(cluster).status.succeeded, get(cluster).status.failed) == (1, 1)


@pytest.mark.conformance("Job should adopt matching orphans and release non-matching pods")
def test_an_orphan_is_adopted_again_and_a_stranger_is_let_go() -> None:
    with Cluster() as cluster:
        cluster.client.create(job(run_s=10_000, parallelism=2, completions=4))
        cluster.wait_until(lambda: get(cluster).status.ready == 2)
        name = pods(cluster)[0].metadata.name or ""
        pod = cluster.client.get(api.Pod, name, "default")
        labels = dict(pod.metadata.labels)
        cluster.client.patch(api.Pod, name, "default", {"metadata": {"ownerReferences": None}})
        cluster.wait_until(
            lambda: bool(cluster.client.get(api.Pod, name, "default").metadata.ownerReferences)
        )
        assert cluster.client.get(api.Pod, name, "default").metadata.finalizers == [TRACKING]
        none: dict[str, Any] = dict.fromkeys(labels)
        cluster.client.patch(api.Pod, name, "default", {"metadata": {"labels": none}})
        cluster.wait_until(lambda: not cluster.client.get(api.Pod, name, "default").metadata.ownerReferences)
        assert cluster.client.get(api.Pod, name, "default").metadata.finalizers == []
        cluster.wait_until(lambda: get(cluster).status.ready == 2)
