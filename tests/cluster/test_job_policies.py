"""What Jobs make of pods that end in different ways. No nodes: the tests write what nodes would report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.controllers.job.facts import COMPLETION_INDEX
from sampan.schema import api
from sampan.testing import Cluster

NAMESPACE = "default"
TARGET = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
    "message": "evicted",
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=0, scheduler=False) as made:
        yield made


def create(cluster: Cluster, count: int, **spec: Any) -> None:
    """An Indexed Job whose `count` indexes all run at once."""
    pod = api.PodSpec(containers=[api.Container(name="c", image="work:1")], restartPolicy="Never")
    given = api.JobSpec(
        completions=count,
        parallelism=count,
        completionMode="Indexed",
        template=api.PodTemplateSpec(spec=pod),
        **spec,
    )
    cluster.client.create(api.Job(metadata=api.ObjectMeta(name="work", namespace=NAMESPACE), spec=given))
    active(cluster, count)


def job(cluster: Cluster) -> api.Job:
    return cluster.client.get(api.Job, "work", NAMESPACE)


def active(cluster: Cluster, count: int) -> None:
    """Wait for so many pods that have not ended."""
    cluster.wait_until(lambda: (job(cluster).status.active or 0) == count)
    cluster.settle()


def running(cluster: Cluster) -> dict[int, api.Pod]:
    """Pods that have not ended, by index."""
    return {
        int(pod.metadata.annotations[COMPLETION_INDEX]): pod
        for pod in cluster.client.list(api.Pod, NAMESPACE)
        if pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletionTimestamp is None
    }


def end(cluster: Cluster, index: int, exit_code: int = 0, *conditions: dict[str, str]) -> None:
    """Report that the pod of this index has ended with this exit status."""
    at = cluster.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": exit_code, "startedAt": at, "finishedAt": at, "reason": "Error"}
    container = {"name": "c", "image": "work:1", "imageID": "", "ready": False, "restartCount": 0}
    status = {
        "phase": "Failed" if exit_code else "Succeeded",
        "containerStatuses": [container | {"state": {"terminated": ended}}],
        "conditions": list(conditions),
    }
    cluster.wait_until(lambda: index in running(cluster))
    name = running(cluster)[index].metadata.name or ""
    cluster.client.patch(api.Pod, name, NAMESPACE, {"status": status}, subresource="status")


def finished(cluster: Cluster, type: str) -> str | None:
    """Wait for this condition; gives its reason."""

    def found() -> list[api.JobCondition]:
        return [c for c in job(cluster).status.conditions if c.type == type and c.status == "True"]

    cluster.wait_until(lambda: bool(found()))
    return found()[0].reason


def on_exit(action: str, code: int) -> api.PodFailurePolicyRule:
    codes = api.PodFailurePolicyOnExitCodesRequirement(operator="In", values=[code])
    return api.PodFailurePolicyRule(action=action, onExitCodes=codes)


@pytest.mark.conformance(
    "Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition"
)
def test_a_failure_through_a_disruption_may_be_ignored(cluster: Cluster) -> None:
    pattern = api.PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
    rule = api.PodFailurePolicyRule(action="Ignore", onPodConditions=[pattern])
    create(cluster, 1, backoffLimit=0, podFailurePolicy=api.PodFailurePolicy(rules=[rule]))
    end(cluster, 0, 137, TARGET)
    cluster.wait_until(lambda: 0 in running(cluster))
    assert not job(cluster).status.conditions
    end(cluster, 0)
    assert finished(cluster, "Complete") == "CompletionsReached"
    assert (job(cluster).status.succeeded, job(cluster).status.failed) == (1, None)


def test_the_first_rule_that_fits_decides(cluster: Cluster) -> None:
    rules = [on_exit("Count", 3), on_exit("FailJob", 4), on_exit("Ignore", 4)]
    create(cluster, 2, backoffLimit=6, podFailurePolicy=api.PodFailurePolicy(rules=rules))
    end(cluster, 0, 3)
    cluster.wait_until(lambda: job(cluster).status.failed == 1)
    end(cluster, 1, 4)
    assert finished(cluster, "FailureTarget") == "PodFailurePolicy"
    (condition,) = (c for c in job(cluster).status.conditions if c.type == "FailureTarget")
    name = (condition.message or "").split()[4]
    assert condition.message == (
        f"Container c for pod {name} failed with exit code 4 matching FailJob rule at index 1"
    )
    assert finished(cluster, "Failed") == "PodFailurePolicy"
    cluster.wait_until(lambda: not running(cluster))


@pytest.mark.conformance(
    "Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy"
)
def test_an_index_is_failed_at_once_where_the_policy_says_so(cluster: Cluster) -> None:
    policy = api.PodFailurePolicy(rules=[on_exit("FailIndex", 42)])
    create(cluster, 2, backoffLimitPerIndex=1, podFailurePolicy=policy)
    end(cluster, 0, 42)
    cluster.wait_until(lambda: job(cluster).status.failedIndexes == "0")
    active(cluster, 1)
    end(cluster, 1, 1)  # may be tried once more
    cluster.wait_until(lambda: job(cluster).status.failed == 2)
    end(cluster, 1)
    assert finished(cluster, "Failed") == "FailedIndexes"
    status = job(cluster).status
    assert (status.completedIndexes, status.failedIndexes, status.failed) == ("1", "0", 2)


@pytest.mark.conformance(
    "Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes"
)
def test_too_many_failed_indexes_end_the_rest(cluster: Cluster) -> None:
    create(cluster, 4, backoffLimitPerIndex=0, maxFailedIndexes=1)
    end(cluster, 0, 1)
    cluster.wait_until(lambda: job(cluster).status.failedIndexes == "0")
    assert len(running(cluster)) == 3
    end(cluster, 1, 1)
    assert finished(cluster, "Failed") == "MaxFailedIndexesExceeded"
    cluster.wait_until(lambda: not running(cluster))
    assert job(cluster).status.succeeded is None


@pytest.mark.conformance(
    "Job should execute all indexes despite some failing when using backoffLimitPerIndex"
)
def test_indexes_that_fail_for_good_leave_the_others_alone(cluster: Cluster) -> None:
    create(cluster, 4, backoffLimitPerIndex=1)
    for number, index in enumerate((1, 3, 1, 3), start=1):
        end(cluster, index, 1)
        cluster.wait_until(lambda least=number: job(cluster).status.failed == least)
    cluster.wait_until(lambda: job(cluster).status.failedIndexes == "1,3")
    assert set(running(cluster)) == {0, 2}
    end(cluster, 0)
    end(cluster, 2)
    assert finished(cluster, "Failed") == "FailedIndexes"
    status = job(cluster).status
    assert (status.completedIndexes, status.succeeded, status.failed) == ("0,2", 2, 4)


@pytest.mark.conformance(
    "Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending"
)
@pytest.mark.conformance(
    "Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending"
)
@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (api.SuccessPolicyRule(succeededIndexes="1-2"), [1, 2]),
        (api.SuccessPolicyRule(succeededCount=2), [0, 3]),
        (api.SuccessPolicyRule(succeededIndexes="0-2", succeededCount=1), [2]),
    ],
)
def test_a_success_policy_ends_what_is_left(
    cluster: Cluster, rule: api.SuccessPolicyRule, ends: list[int]
) -> None:
    create(cluster, 4, successPolicy=api.SuccessPolicy(rules=[rule]))
    for done, index in enumerate(ends):
        assert (job(cluster).status.succeeded or 0) == done
        assert not job(cluster).status.conditions
        end(cluster, index)
        cluster.wait_until(lambda least=done + 1: job(cluster).status.succeeded == least)
    assert finished(cluster, "SuccessCriteriaMet") == "SuccessPolicy"
    assert finished(cluster, "Complete") == "SuccessPolicy"
    cluster.wait_until(lambda: not running(cluster))
    assert job(cluster).status.succeeded == len(ends)


@pytest.mark.conformance("Job with successPolicy should succeeded when all indexes succeeded")
def test_with_a_success_policy_all_indexes_may_succeed(cluster: Cluster) -> None:
    rule = api.SuccessPolicyRule(succeededCount=2)
    create(cluster, 2, successPolicy=api.SuccessPolicy(rules=[rule]))
    end(cluster, 0)
    end(cluster, 1)
    assert finished(cluster, "SuccessCriteriaMet") == "SuccessPolicy"
    assert finished(cluster, "Complete") == "SuccessPolicy"
    cluster.wait_until(lambda: job(cluster).status.completedIndexes == "0,1")


def test_a_failed_pod_is_replaced_only_once_it_has_gone_where_asked(cluster: Cluster) -> None:
    create(cluster, 1, backoffLimit=6, podReplacementPolicy="Failed")
    (first,) = running(cluster).values()
    end(cluster, 0, 1)
    cluster.wait_until(lambda: job(cluster).status.failed == 1 and 0 in running(cluster))
    assert running(cluster)[0].metadata.uid != first.metadata.uid


def test_a_job_that_another_controller_manages_is_left_alone(cluster: Cluster) -> None:
    pod = api.PodSpec(containers=[api.Container(name="c", image="work:1")], restartPolicy="Never")
    spec = api.JobSpec(template=api.PodTemplateSpec(spec=pod), managedBy="example.com/queue")
    cluster.client.create(api.Job(metadata=api.ObjectMeta(name="work", namespace=NAMESPACE), spec=spec))
    cluster.advance(60)
    cluster.settle()
    assert cluster.client.list(api.Pod, NAMESPACE) == []
    assert job(cluster).status == api.JobStatus()
