"""More of what cannot be carried out: nothing loops, and what is wrong is said in a sentence."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster
from tests.api.webhooks import Hooks, hooks
from tests.cluster.test_bad_input import (
    WRITES_A_MINUTE_MOST,
    controller,
    daemonset,
    deployment,
    job,
    messages,
    meta,
    pods,
    replicaset,
    revision,
    statefulset,
    writes_a_minute,
)

# A minute's heartbeats of the one node.
QUIET_MOST = 10


@contextlib.contextmanager
def refusing(cluster: Cluster) -> Iterator[Hooks]:
    """A webhook `no.example.com` that refuses every pod."""
    stack = contextlib.AsyncExitStack()
    server: Hooks = cluster.call(stack.enter_async_context(hooks()))  # type: ignore[arg-type]
    try:
        server.review("/no", lambda _: {"allowed": False, "status": {"message": "not on Sundays"}})
        hook = api.ValidatingWebhook(
            name="no.example.com",
            clientConfig=api.WebhookClientConfig(url=server.url("/no"), caBundle=base64.b64decode(server.ca)),
            rules=[
                api.RuleWithOperations(
                    apiGroups=[""], apiVersions=["v1"], operations=["CREATE"], resources=["pods"]
                )
            ],
            admissionReviewVersions=["v1"],
            sideEffects="None",
        )
        cluster.client.create(
            api.ValidatingWebhookConfiguration(metadata=api.ObjectMeta(name="no"), webhooks=[hook])
        )
        yield server
    finally:
        cluster.call(stack.aclose())


@pytest.mark.parametrize("make", [replicaset, controller, deployment, daemonset, statefulset, job])
def test_a_webhook_that_refuses_pods(make: Callable[[], Any]) -> None:
    with Cluster(nodes=1) as cluster, refusing(cluster) as server:
        cluster.client.create(make())
        cluster.wait_until(lambda: bool(messages(cluster, "FailedCreate")))
        told = messages(cluster, "FailedCreate")
        assert all('admission webhook "no.example.com" denied the request: not on Sundays' in m for m in told)
        assert pods(cluster) == []
        before, asked = revision(cluster), len(server.seen["/no"])
        for _ in range(60):  # the webhook answers in real time, and no try begins before the last has ended
            cluster.advance(1)
            cluster.settle()
        assert revision(cluster) - before <= WRITES_A_MINUTE_MOST
        assert len(server.seen["/no"]) - asked <= WRITES_A_MINUTE_MOST
        cluster.client.delete(api.ValidatingWebhookConfiguration, "no")
        cluster.advance(1100)  # the longest back-off
        cluster.wait_until(lambda: bool(pods(cluster)))


def budget(name: str, labels: dict[str, str]) -> api.PodDisruptionBudget:
    selector = api.LabelSelector(matchLabels=labels)
    spec = api.PodDisruptionBudgetSpec(minAvailable=1, selector=selector)
    return api.PodDisruptionBudget(metadata=meta(name), spec=spec)


def service(name: str, labels: dict[str, str]) -> api.Service:
    spec = api.ServiceSpec(selector=labels, ports=[api.ServicePort(port=80)])
    return api.Service(metadata=meta(name), spec=spec)


def test_selectors_that_match_nothing_or_everything() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(deployment())
        cluster.client.create(service("nobody", {"app": "nobody"}))
        cluster.client.create(budget("nobody", {"app": "nobody"}))
        cluster.client.create(budget("everybody", {}))
        nowhere = daemonset()
        nowhere.metadata.name = "nowhere"
        nowhere.spec.template.spec.nodeSelector = {"disk": "none-has-it"}
        cluster.client.create(nowhere)
        cluster.advance(30)
        cluster.settle()
        assert writes_a_minute(cluster) <= QUIET_MOST
        held = {one.metadata.name: one.status for one in cluster.client.list(api.PodDisruptionBudget)}
        assert (held["everybody"].expectedPods, held["everybody"].currentHealthy) == (3, 3)
        assert (held["nobody"].expectedPods, held["nobody"].disruptionsAllowed) == (0, 0)
        assert messages(cluster, "NoPods") == ["No matching pods found"]
        assert cluster.client.get(api.DaemonSet, "nowhere", "default").status.desiredNumberScheduled == 0
        slices = cluster.client.list(api.EndpointSlice, "default")
        assert [len(one.endpoints or []) for one in slices if one.metadata.name.startswith("nobody-")] == [0]


def test_deployments_with_one_selector_and_one_template_keep_to_their_own() -> None:
    with Cluster(nodes=1) as cluster:
        for name in ("web", "rival"):
            one = deployment()
            one.metadata.name = name
            cluster.client.create(one)
        cluster.advance(30)
        cluster.settle()
        assert writes_a_minute(cluster) <= QUIET_MOST
        owners = sorted(pod.metadata.ownerReferences[0].name.rpartition("-")[0] for pod in pods(cluster))
        assert owners == ["rival"] * 3 + ["web"] * 3


@pytest.mark.parametrize("delta_s", [-7200.0, 7200.0], ids=["back", "ahead"])
def test_a_wall_clock_that_is_set_makes_nothing_loop(delta_s: float) -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(deployment())
        cluster.client.create(job())
        cluster.advance(30)
        cluster.settle()
        before = {pod.metadata.uid for pod in pods(cluster)}
        clock = cluster.clock
        assert isinstance(clock, SimulatedClock)
        clock.set_by(delta_s)
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        assert {pod.metadata.uid for pod in pods(cluster)} == before
        (node,) = cluster.client.list(api.Node)
        assert [c.status for c in node.status.conditions if c.type == "Ready"] == ["True"]


def quota(cluster: Cluster, resource: str, amount: str) -> None:
    spec = api.ResourceQuotaSpec(hard={resource: quantity(amount)})
    cluster.client.create(api.ResourceQuota(metadata=meta("few"), spec=spec))
    cluster.wait_until(lambda: bool(cluster.client.get(api.ResourceQuota, "few", "default").status.hard))


def test_a_cronjob_that_may_make_no_jobs() -> None:
    with Cluster(nodes=0) as cluster:
        quota(cluster, "count/jobs.batch", "0")
        template = api.JobTemplateSpec(spec=job().spec)
        spec = api.CronJobSpec(schedule="* * * * *", jobTemplate=template)
        cluster.client.create(api.CronJob(metadata=meta(), spec=spec))
        cluster.wait_until(lambda: bool(messages(cluster, "FailedCreate")))
        (told,) = set(messages(cluster, "FailedCreate"))
        assert told.startswith("Error creating job: ")
        assert "exceeded quota: few, requested: count/jobs.batch=1, used: count/jobs.batch=0" in told
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        cluster.client.delete(api.ResourceQuota, "few", "default")
        cluster.wait_until(lambda: bool(cluster.client.list(api.Job, "default")))


def test_a_statefulset_whose_claims_run_out() -> None:
    with Cluster(nodes=1) as cluster:
        quota(cluster, "persistentvolumeclaims", "1")
        owner = statefulset()
        requests = api.VolumeResourceRequirements(requests={"storage": quantity("1Mi")})
        claim = api.PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=requests)
        named = api.ObjectMeta(name="data")
        owner.spec.volumeClaimTemplates = [api.PersistentVolumeClaim(metadata=named, spec=claim)]
        cluster.client.create(owner)
        cluster.wait_until(lambda: bool(messages(cluster, "FailedCreate")))
        assert any("exceeded quota: few" in one for one in messages(cluster, "FailedCreate"))
        assert [pod.metadata.name for pod in pods(cluster)] == ["web-0"]
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        cluster.client.delete(api.ResourceQuota, "few", "default")
        cluster.advance(1100)  # the longest back-off
        cluster.wait_until(lambda: len(pods(cluster)) == 3)
