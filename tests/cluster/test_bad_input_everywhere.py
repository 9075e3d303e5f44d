"""Bad input of each kind for workloads of each kind: said in a sentence, and tried less and less often."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from sampan.apiserver.core.webhooks.client import WebhookClient
from sampan.base.clock import SimulatedClock
from sampan.client.errors import ApiError
from sampan.schema import api
from sampan.testing import Cluster
from tests.api.webhooks import Hooks, hooks
from tests.cluster.test_bad_input import (
    SELECTOR,
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
    template,
    writes_a_minute,
)
from tests.cluster.test_bad_input_more import QUIET_MOST

Make = Callable[[], Any]


def cronjob() -> Any:
    runs = api.JobSpec(template=template(restartPolicy="Never"))
    spec = api.CronJobSpec(
        schedule="* * * * *", concurrencyPolicy="Forbid", jobTemplate=api.JobTemplateSpec(spec=runs)
    )
    return api.CronJob(metadata=meta(), spec=spec)


def manual() -> Any:
    """A Job that chooses its pods by itself."""
    made = job()
    made.spec.manualSelector, made.spec.selector = True, SELECTOR
    return made


# What each makes, and so what a webhook refuses.
OWNERS: dict[str, tuple[Make, str]] = {
    "ReplicaSet": (replicaset, "pods"),
    "ReplicationController": (controller, "pods"),
    "Deployment": (deployment, "pods"),
    "Deployment's sets": (deployment, "replicasets"),
    "DaemonSet": (daemonset, "pods"),
    "StatefulSet": (statefulset, "pods"),
    "Job": (job, "pods"),
    "CronJob": (cronjob, "jobs"),
}


@contextlib.contextmanager
def webhook(cluster: Cluster, resource: str, answer: Callable[[Hooks], None]) -> Iterator[Hooks]:
    """A webhook `no.example.com` at /no that is asked about every new object of the resource."""
    stack = contextlib.AsyncExitStack()
    server: Hooks = cluster.call(stack.enter_async_context(hooks()))  # type: ignore[arg-type]
    try:
        answer(server)
        rule = api.RuleWithOperations(
            apiGroups=["*"], apiVersions=["*"], operations=["CREATE"], resources=[resource]
        )
        hook = api.ValidatingWebhook(
            name="no.example.com",
            clientConfig=api.WebhookClientConfig(url=server.url("/no"), caBundle=base64.b64decode(server.ca)),
            rules=[rule],
            admissionReviewVersions=["v1"],
            sideEffects="None",
        )
        configuration = api.ValidatingWebhookConfiguration(
            metadata=api.ObjectMeta(name="no"), webhooks=[hook]
        )
        cluster.client.create(configuration)
        yield server
    finally:
        cluster.call(stack.aclose())


def assert_seldom(cluster: Cluster, server: Hooks) -> None:
    """A minute of writes; no try begins before the last has ended, and webhooks answer in real time."""
    before, asked = revision(cluster), server.asked
    for _ in range(60):
        cluster.advance(1)
        cluster.settle()
    assert revision(cluster) - before <= WRITES_A_MINUTE_MOST
    assert 0 < server.asked - asked <= WRITES_A_MINUTE_MOST


def assert_told(cluster: Cluster, owner: Any, sentence: str) -> None:
    """Events of the owner, or of what it owns, say it; so does its status, where it has conditions for it."""
    without_set = isinstance(owner, api.Deployment) and not cluster.client.list(api.ReplicaSet, "default")
    told = messages(cluster, "ReplicaSetCreateError" if without_set else "FailedCreate")
    assert told
    assert all(sentence in one for one in told)
    if isinstance(owner, (api.Deployment, api.ReplicaSet, api.ReplicationController)):
        status = cluster.client.get(type(owner), "web", "default").status
        held = {c.type: c for c in status.conditions}
        if without_set:
            failure = held["Progressing"]
            assert (failure.status, failure.reason) == ("False", "ReplicaSetCreateError")
        else:
            failure = held["ReplicaFailure"]
            assert (failure.status, failure.reason) == ("True", "FailedCreate")
        assert sentence in (failure.message or "")


def refuse(server: Hooks) -> None:
    server.asked = 0

    def no(_request: Any) -> dict[str, Any]:
        server.asked += 1
        return {"allowed": False, "status": {"message": "not on Sundays"}}

    server.review("/no", no)


def hang(server: Hooks) -> None:
    server.asked = 0

    async def wait(_: web.Request) -> web.Response:
        server.asked += 1
        await server.over.wait()
        return web.Response()

    server.raw("/no", wait)


HOOKS = {
    "refuses": (refuse, 'admission webhook "no.example.com" denied the request: not on Sundays'),
    "hangs": (hang, 'failed calling webhook "no.example.com": failed to call webhook: '),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks are waited for in real time: here for a moment, whatever their timeoutSeconds."""
    post = WebhookClient.post

    async def soon(self: WebhookClient, endpoint: Any, body: bytes, timeout_s: float) -> bytes:
        return await post(self, endpoint, body, 0.05 if timeout_s == 10.0 else timeout_s)

    monkeypatch.setattr(WebhookClient, "post", soon)


@pytest.mark.parametrize("how", HOOKS)
@pytest.mark.parametrize("owner", OWNERS)
def test_a_webhook_that_is_in_the_way(owner: str, how: str, request: pytest.FixtureRequest) -> None:
    if how == "hangs":
        request.getfixturevalue("impatient")
    make, resource = OWNERS[owner]
    answer, sentence = HOOKS[how]
    with Cluster(nodes=1) as cluster, webhook(cluster, resource, answer) as server:
        made = make()
        cluster.client.create(made)
        cluster.wait_until(lambda: bool(server.asked))
        cluster.advance(2)
        # In real time, until a webhook that hangs has been given up.
        cluster.wait_until(
            lambda: bool(messages(cluster, "FailedCreate") or messages(cluster, "ReplicaSetCreateError"))
        )
        cluster.settle()
        assert_told(cluster, made, sentence)
        assert pods(cluster) == []
        assert_seldom(cluster, server)
        cluster.client.delete(api.ValidatingWebhookConfiguration, "no")
        cluster.advance(1100)  # the longest back-off
        cluster.wait_until(lambda: bool(pods(cluster)))


PAIRS: dict[str, tuple[Make, int]] = {
    "ReplicaSet": (replicaset, 3),
    "ReplicationController": (controller, 3),
    "Deployment": (deployment, 3),
    "DaemonSet": (daemonset, 1),
    "StatefulSet": (statefulset, 3),
    "Job": (manual, 3),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_two_of_a_kind_with_one_selector_keep_to_their_own(kind: str) -> None:
    make, count = PAIRS[kind]
    with Cluster(nodes=1) as cluster:
        for name in ("web", "rival"):
            one = make()
            one.metadata.name = name
            cluster.client.create(one)
        cluster.advance(30)
        cluster.settle()
        before = {pod.metadata.uid for pod in pods(cluster)}
        assert writes_a_minute(cluster) <= QUIET_MOST
        assert {pod.metadata.uid for pod in pods(cluster)} == before
        owners = [pod.metadata.ownerReferences[0].name.partition("-")[0] for pod in pods(cluster)]
        assert sorted(owners) == ["rival"] * count + ["web"] * count


@pytest.mark.parametrize("delta_s", [-7200.0, 7200.0], ids=["back", "ahead"])
@pytest.mark.parametrize("make", [replicaset, controller, deployment, daemonset, statefulset, job, cronjob])
def test_a_wall_clock_that_is_set(make: Make, delta_s: float) -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(make())
        cluster.advance(70)
        cluster.wait_until(lambda: bool(pods(cluster)))
        cluster.settle()
        before = {pod.metadata.uid for pod in pods(cluster)}
        clock = cluster.clock
        assert isinstance(clock, SimulatedClock)
        clock.set_by(delta_s)
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        # Neither is anything made anew, nor are missed runs made up for: the one that runs forbids others.
        assert {pod.metadata.uid for pod in pods(cluster)} == before


@pytest.mark.parametrize("make", [replicaset, deployment, daemonset, statefulset])
@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({}, "empty selector is invalid for"),
        ({"app": "other"}, "`selector` does not match template `labels`"),
    ],
    ids=["everything", "nothing"],
)
def test_selectors_of_everything_or_nothing_are_refused(make: Make, labels: dict[str, str], why: str) -> None:
    with Cluster(nodes=0) as cluster:
        one = make()
        one.spec.selector = api.LabelSelector(matchLabels=labels)
        with pytest.raises(ApiError, match=why):
            cluster.client.create(one)


def hpa(name: str) -> api.HorizontalPodAutoscalerV2:
    target = api.CrossVersionObjectReferenceV2(apiVersion="apps/v1", kind="Deployment", name="web")
    spec = api.HorizontalPodAutoscalerSpecV2(minReplicas=1, maxReplicas=9, scaleTargetRef=target)
    return api.HorizontalPodAutoscalerV2(metadata=meta(name), spec=spec)


def test_autoscalers_of_one_target_say_so_and_leave_it_alone() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(deployment())
        for name in ("one", "two"):
            cluster.client.create(hpa(name))
        cluster.advance(60)
        cluster.settle()
        for name in ("one", "two"):
            status = cluster.client.get(api.HorizontalPodAutoscalerV2, name, "default").status
            told = {c.type: (c.reason, c.message) for c in status.conditions}
            assert told["ScalingActive"] == (
                "AmbiguousSelector",
                "pods by selector app=web are controlled by more than one HPA "
                "(e.g. [default/one default/two])",
            )
        assert writes_a_minute(cluster) <= WRITES_A_MINUTE_MOST
        assert len(pods(cluster)) == 3
