from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Emit, UpdateStatus
from sampan.controllers import disruption
from sampan.controllers.disruption import CONTROLLER, Expected, View, expect
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def budget(**spec: Any) -> api.PodDisruptionBudget:
    selector = api.LabelSelector(matchLabels={"app": "web"})
    return api.PodDisruptionBudget(
        apiVersion="policy/v1",
        kind="PodDisruptionBudget",
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, generation=1),
        spec=api.PodDisruptionBudgetSpec(selector=selector, **spec),
    )


def pods(ready: int, unready: int = 0, owner: Any = None) -> tuple[api.Pod, ...]:
    made = []
    for position in range(ready + unready):
        meta = api.ObjectMeta(name=f"p{position}", namespace=NAMESPACE, uid=f"p{position}")
        meta.labels = {"app": "web"}
        meta.ownerReferences = [owner_reference(owner)] if owner is not None else []
        pod = api.Pod(apiVersion="v1", kind="Pod", metadata=meta)
        made.append(make_ready(pod, NOW) if position < ready else pod)
    return tuple(made)


@pytest.mark.parametrize(
    ("spec", "count", "scales", "wanted"),
    [
        ({"minAvailable": 2}, 3, {}, Expected(3, 2)),
        ({"minAvailable": 5}, 3, {}, Expected(3, 5)),
        ({"minAvailable": "50%"}, 3, {"a": 3}, Expected(3, 2)),
        ({"maxUnavailable": 1}, 3, {"a": 3}, Expected(3, 2)),
        ({"maxUnavailable": 1}, 2, {"a": 5}, Expected(5, 4)),
        ({"maxUnavailable": "50%"}, 3, {"a": 3}, Expected(3, 1)),
        ({"maxUnavailable": 9}, 3, {"a": 3}, Expected(3, 0)),
        ({"maxUnavailable": 1}, 3, {"a": 3, "b": 2}, Expected(5, 4)),
        ({"maxUnavailable": 1}, 3, {}, Expected(0, 0)),
    ],
)
def test_what_a_budget_expects(
    spec: dict[str, Any], count: int, scales: dict[str, int], wanted: Expected
) -> None:
    assert expect(View(budget(**spec), pods(count), scales)) == wanted


def planned(view: View, now: datetime = NOW) -> api.PodDisruptionBudgetStatus:
    (effect,) = [one for one in disruption.plan(view, now).effects if isinstance(one, UpdateStatus)]
    status: api.PodDisruptionBudgetStatus = effect.obj.status
    return status


@pytest.mark.parametrize(
    ("ready", "unready", "least", "allowed", "reason"),
    [
        (3, 0, 2, 1, "SufficientPods"),
        (2, 1, 2, 0, "InsufficientPods"),
        (1, 2, 2, 0, "InsufficientPods"),
        (0, 0, 0, 0, "InsufficientPods"),
    ],
)
def test_how_many_may_go(ready: int, unready: int, least: int, allowed: int, reason: str) -> None:
    status = planned(View(budget(minAvailable=least), pods(ready, unready)))
    assert (status.currentHealthy, status.desiredHealthy, status.expectedPods) == (
        ready,
        least,
        ready + unready,
    )
    assert (status.disruptionsAllowed, status.observedGeneration) == (allowed, 1)
    (condition,) = status.conditions
    assert (condition.type, condition.reason) == ("DisruptionAllowed", reason)


def test_granted_evictions_are_not_healthy_until_they_time_out() -> None:
    given = budget(minAvailable=1)
    given.status.disruptedPods = {"p0": NOW, "gone": NOW}
    view = View(given, pods(3))
    status = planned(view)
    assert (status.currentHealthy, status.disruptionsAllowed, list(status.disruptedPods)) == (2, 1, ["p0"])
    plan = disruption.plan(view, NOW + timedelta(seconds=30))
    assert plan.requeue_after_s == pytest.approx(90.001)
    late = disruption.plan(view, NOW + timedelta(seconds=121))
    assert planned(view, NOW + timedelta(seconds=121)).currentHealthy == 3
    assert "NotDeleted" in [effect.reason for effect in late.effects if isinstance(effect, Emit)]


def test_pods_that_are_being_deleted_count_neither_way() -> None:
    given = budget(minAvailable=1)
    given.status.disruptedPods = {"p0": NOW}
    found = pods(2)
    found[0].metadata.deletionTimestamp = NOW
    status = planned(View(given, found))
    assert (status.currentHealthy, status.disruptedPods, status.disruptionsAllowed) == (1, {}, 0)


def test_unmanaged_pods_are_told() -> None:
    plan = disruption.plan(View(budget(maxUnavailable=1), pods(2), unmanaged=2), NOW)
    assert "UnmanagedPods" in [effect.reason for effect in plan.effects if isinstance(effect, Emit)]


# -- against a server ---------------------------------------------------------------------------------------


def selector() -> api.LabelSelector:
    return api.LabelSelector(matchLabels={"app": "web"})


async def put_pods(bench: Bench, *found: api.Pod) -> None:
    for pod in found:
        bench.server.put(pod)


def test_the_deployment_above_a_replicaset_says_how_many_pods_there_should_be() -> None:
    async def main() -> None:
        bench = Bench()
        deployment = await bench.client.create(
            api.Deployment(
                metadata=api.ObjectMeta(name="web", namespace=NAMESPACE),
                spec=api.DeploymentSpec(replicas=4, selector=selector(), template=template()),
            )
        )
        old, new = [
            await bench.client.create(
                api.ReplicaSet(
                    metadata=api.ObjectMeta(
                        name=name, namespace=NAMESPACE, ownerReferences=[owner_reference(deployment)]
                    ),
                    spec=api.ReplicaSetSpec(replicas=2, selector=selector(), template=template()),
                )
            )
            for name in ("web-1", "web-2")
        ]
        first, second = pods(2, owner=old), pods(2, owner=new)
        for pod in second:
            pod.metadata.name = pod.metadata.uid = f"x{pod.metadata.name}"
        await put_pods(bench, *first, *second)
        await bench.client.create(budget(maxUnavailable=1))
        await bench.settle(CONTROLLER, key("web"))
        status = (await bench.get(api.PodDisruptionBudget, "web")).status
        assert (status.expectedPods, status.desiredHealthy, status.disruptionsAllowed) == (4, 3, 1)
        assert (await bench.step(CONTROLLER, key("web"))).effects == ()

    run(main())


def test_other_kinds_are_asked_for_their_scale() -> None:
    async def main() -> None:
        bench = Bench()
        job = api.Job(
            apiVersion="batch/v1", kind="Job", metadata=api.ObjectMeta(name="j", namespace=NAMESPACE, uid="j")
        )
        await put_pods(bench, *pods(2, owner=job))
        await bench.client.create(budget(maxUnavailable=1))
        await bench.settle(CONTROLLER, key("web"))
        status = (await bench.get(api.PodDisruptionBudget, "web")).status
        assert [(c.reason, c.status) for c in status.conditions] == [("SyncFailed", "False")]
        assert "jobs.batch does not implement the scale subresource" in (status.conditions[0].message or "")
        path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/j/scale"
        bench.server._store(path, {"metadata": {}, "spec": {"replicas": 3}}, "ADDED")
        found = await disruption.survey(
            bench.client, View(budget(maxUnavailable=1), (), foreign=(owner_reference(job),))
        )
        assert (found.scales, found.foreign) == ({"j": 3}, ())

    run(main())
