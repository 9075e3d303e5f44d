"""What controllers cannot carry out is said in status and events, and tried less and less often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api
from sampan.testing import Cluster

# A minute has room for 14 tries with a back-off of 5 ms that doubles; a try may write a status and events.
WRITES_A_MINUTE_MOST = 80


def meta(name: str = "web") -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace="default")


def template(account: str = "", **spec: Any) -> api.PodTemplateSpec:
    return api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels={"app": "web"}),
        spec=api.PodSpec(
            serviceAccountName=account or None, containers=[api.Container(name="c", image="web:1")], **spec
        ),
    )


SELECTOR = api.LabelSelector(matchLabels={"app": "web"})


def replicaset(account: str = "", replicas: int = 3) -> Any:
    spec = api.ReplicaSetSpec(replicas=replicas, selector=SELECTOR, template=template(account))
    return api.ReplicaSet(metadata=meta(), spec=spec)


def controller(account: str = "") -> Any:
    spec = api.ReplicationControllerSpec(replicas=3, selector={"app": "web"}, template=template(account))
    return api.ReplicationController(metadata=meta(), spec=spec)


def deployment(account: str = "") -> Any:
    spec = api.DeploymentSpec(replicas=3, selector=SELECTOR, template=template(account))
    return api.Deployment(metadata=meta(), spec=spec)


def daemonset(account: str = "") -> Any:
    return api.DaemonSet(
        metadata=meta(), spec=api.DaemonSetSpec(selector=SELECTOR, template=template(account))
    )


def statefulset(account: str = "") -> Any:
    spec = api.StatefulSetSpec(replicas=3, selector=SELECTOR, template=template(account))
    return api.StatefulSet(metadata=meta(), spec=spec)


def job(account: str = "") -> Any:
    return api.Job(
        metadata=meta(),
        spec=api.JobSpec(completions=3, parallelism=3, template=template(account, restartPolicy="Never")),
    )


def revision(cluster: Cluster) -> int:
    return int(cluster.call(cluster.async_client.list(api.Secret)).resource_version)


def writes_a_minute(cluster: Cluster) -> int:
    """Commits to the store within a minute of the cluster's time; the node makes a few of them."""
    before = revision(cluster)
    cluster.advance(60)
    cluster.settle()
    return revision(cluster) - before


def messages(cluster: Cluster, reason: str) -> list[str]:
    return [one.message or "" for one in cluster.client.list(api.Event, "default") if one.reason == reason]


def pods(cluster: Cluster) -> list[api.Pod]:
    return cluster.client.list(api.Pod, "default")


@pytest.mark.parametrize("make", [replicaset, controller, deployment, daemonset, statefulset, job])
def test_a_template_that_the_server_refuses(make: Callable[[str], Any]) -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(make("nobody"))
        cluster.advance(5)
        cluster.settle()
        assert pods(cluster) == []
        told = messages(cluster, "FailedCreate")
        assert told
        assert all('serviceaccount "nobody" not found' in one for one in told)
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        cluster.client.create(api.ServiceAccount(metadata=meta("nobody")))
        cluster.advance(1100)  # the longest back-off
        cluster.wait_until(lambda: bool(pods(cluster)))


def test_a_deployment_says_what_its_replicaset_cannot_do() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(deployment("nobody"))
        cluster.advance(5)
        cluster.settle()
        status = cluster.client.get(api.Deployment, "web", "default").status
        (failure,) = [c for c in status.conditions if c.type == "ReplicaFailure"]
        assert (failure.status, failure.reason) == ("True", "FailedCreate")
        assert "not found" in (failure.message or "")


def test_a_selector_that_does_not_match_its_template_is_refused() -> None:
    with Cluster(nodes=0) as cluster:
        wrong = replicaset()
        wrong.spec.selector = api.LabelSelector(matchLabels={"app": "other"})
        with pytest.raises(ApiError, match="selector"):
            cluster.client.create(wrong)
        wrong.spec.selector = api.LabelSelector()
        with pytest.raises(ApiError, match="selector"):
            cluster.client.create(wrong)


def test_owners_that_select_the_same_pods_keep_to_their_own() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(replicaset())
        cluster.client.create(controller())
        cluster.client.create(statefulset())
        cluster.advance(30)
        cluster.settle()
        assert writes_a_minute(cluster) <= 10  # the node's lease and status
        kinds = sorted(pod.metadata.ownerReferences[0].kind for pod in pods(cluster))
        assert kinds == sorted(["ReplicaSet", "ReplicationController", "StatefulSet"] * 3)


@pytest.mark.parametrize("make", [controller, deployment, daemonset, statefulset, job])
def test_every_owner_says_that_a_quota_has_run_out_half_way(make: Callable[[], Any]) -> None:
    with Cluster(nodes=3) as cluster:
        quota = api.ResourceQuota(metadata=meta("few"), spec=api.ResourceQuotaSpec(hard={"pods": "2"}))
        cluster.client.create(quota)
        cluster.wait_until(lambda: bool(cluster.client.get(api.ResourceQuota, "few", "default").status.hard))
        cluster.client.create(make())
        cluster.wait_until(lambda: bool(messages(cluster, "FailedCreate")) and len(pods(cluster)) == 2)
        assert all("exceeded quota: few" in one for one in messages(cluster, "FailedCreate"))
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        assert len(pods(cluster)) == 2
        cluster.client.patch(api.ResourceQuota, "few", "default", {"spec": {"hard": {"pods": "9"}}})
        cluster.advance(1100)
        cluster.wait_until(lambda: len(pods(cluster)) == 3)


def test_a_quota_that_runs_out_half_way() -> None:
    with Cluster(nodes=1) as cluster:
        quota = api.ResourceQuota(metadata=meta("few"), spec=api.ResourceQuotaSpec(hard={"pods": "2"}))
        cluster.client.create(quota)
        cluster.advance(1)
        cluster.client.create(replicaset(replicas=5))
        cluster.advance(5)
        cluster.settle()
        assert len(pods(cluster)) == 2
        status = cluster.client.get(api.ReplicaSet, "web", "default").status
        (failure,) = [c for c in status.conditions if c.type == "ReplicaFailure"]
        assert "exceeded quota: few" in (failure.message or "")
        assert any("exceeded quota: few" in one for one in messages(cluster, "FailedCreate"))
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        cluster.client.patch(api.ResourceQuota, "few", "default", {"spec": {"hard": {"pods": "9"}}})
        cluster.advance(1100)
        cluster.wait_until(lambda: len(pods(cluster)) == 5)
        status = cluster.client.get(api.ReplicaSet, "web", "default").status
        assert [c for c in status.conditions if c.type == "ReplicaFailure"] == []


def test_a_clock_that_jumps_ahead_makes_nothing_loop() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(deployment())
        every = api.CronJobSpec(
            schedule="* * * * *",
            jobTemplate=api.JobTemplateSpec(spec=api.JobSpec(template=template(restartPolicy="Never"))),
            concurrencyPolicy="Forbid",
        )
        cluster.client.create(api.CronJob(metadata=meta("each-minute"), spec=every))
        cluster.advance(5)
        # Everything falls due in one go, as after a machine's sleep.
        cluster.advance(timedelta(hours=3).total_seconds())
        cluster.settle()
        assert len(cluster.client.list(api.Job, "default")) == 1
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
