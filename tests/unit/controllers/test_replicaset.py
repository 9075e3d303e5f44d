from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Remove
from sampan.controllers import replicaset
from sampan.controllers.replicaset import CONTROLLER, to_delete
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def owner(replicas: int = 3, **spec: Any) -> api.ReplicaSet:
    return api.ReplicaSet(
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE),
        spec=api.ReplicaSetSpec(
            replicas=replicas,
            selector=api.LabelSelector(matchLabels={"app": "web"}),
            template=template(),
            **spec,
        ),
    )


async def scale(bench: Bench, replicas: int) -> None:
    await bench.client.patch(api.ReplicaSet, "web", NAMESPACE, {"spec": {"replicas": replicas}})


def test_pods_are_created_owned_and_counted() -> None:
    async def main() -> None:
        bench = Bench()
        made = await bench.client.create(owner(3))
        await bench.settle(CONTROLLER, key("web"))
        pods = await bench.all(api.Pod)
        assert len(pods) == 3
        for pod in pods:
            (reference,) = pod.metadata.ownerReferences
            assert (reference.uid, reference.controller, reference.blockOwnerDeletion) == (
                made.metadata.uid,
                True,
                True,
            )
            assert pod.metadata.name is not None
            assert pod.metadata.name.startswith("web-")
            assert pod.metadata.labels == {"app": "web"}
        status = (await bench.get(api.ReplicaSet, "web")).status
        assert (status.replicas, status.fullyLabeledReplicas, status.readyReplicas) == (3, 3, None)
        assert status.observedGeneration == 1

    run(main())


def test_applying_a_plan_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(2))
        await bench.settle(CONTROLLER, key("web"))
        before = bench.server.revision
        assert (await bench.step(CONTROLLER, key("web"))).effects == ()
        assert bench.server.revision == before

    run(main())


def test_orphans_are_adopted_and_strangers_released() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(2))
        free = api.Pod(metadata=api.ObjectMeta(name="free", namespace=NAMESPACE, labels={"app": "web"}))
        await bench.client.create(free)
        other = api.Pod(metadata=api.ObjectMeta(name="other", namespace=NAMESPACE, labels={"app": "db"}))
        await bench.client.create(other)
        await bench.settle(CONTROLLER, key("web"))
        assert len(await bench.all(api.Pod)) == 3
        assert (await bench.get(api.Pod, "free")).metadata.ownerReferences[0].name == "web"
        await bench.client.patch(api.Pod, "free", NAMESPACE, {"metadata": {"labels": {"app": "db"}}})
        await bench.settle(CONTROLLER, key("web"))
        assert (await bench.get(api.Pod, "free")).metadata.ownerReferences == []
        assert len(await bench.all(api.Pod)) == 4

    run(main())


def test_a_replicaset_that_is_being_deleted_makes_no_pods() -> None:
    async def main() -> None:
        bench = Bench()
        leaving = owner(2)
        leaving.metadata.finalizers = ["example.com/hold"]
        await bench.client.create(leaving)
        await bench.client.delete(api.ReplicaSet, "web", NAMESPACE)
        await bench.settle(CONTROLLER, key("web"))
        assert await bench.all(api.Pod) == []

    run(main())


def test_a_quota_is_asked_once_and_the_failure_is_shown_until_it_ends() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(100))
        refused: list[str] = []

        def quota(method: str, path: str, body: Any) -> None:
            if method == "POST" and path.endswith("/pods"):
                refused.append(path)
                raise Refuse(403, "Forbidden", "exceeded quota")

        bench.server.intercept = quota
        await bench.step(CONTROLLER, key("web"))
        assert len(refused) == 1
        await bench.step(CONTROLLER, key("web"))
        (condition,) = (await bench.get(api.ReplicaSet, "web")).status.conditions
        assert (condition.type, condition.reason, condition.message) == (
            "ReplicaFailure",
            "FailedCreate",
            "exceeded quota",
        )
        bench.server.intercept = lambda method, path, body: None
        await bench.settle(CONTROLLER, key("web"))
        found = await bench.get(api.ReplicaSet, "web")
        assert found.status.conditions == []
        assert found.status.replicas == 100

    run(main())


def test_one_plan_creates_no_more_than_the_burst() -> None:
    whole = owner(2000)
    whole.metadata.uid, whole.kind, whole.apiVersion = "u", "ReplicaSet", "apps/v1"
    plan = replicaset.plan(replicaset.View(whole, ()), NOW)
    assert sum(isinstance(effect, Create) for effect in plan.effects) == replicaset.BURST


def test_availability_takes_min_ready_seconds() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(1, minReadySeconds=30))
        await bench.settle(CONTROLLER, key("web"))
        (pod,) = await bench.all(api.Pod)
        bench.server.put(make_ready(pod, bench.now))
        plan = await bench.step(CONTROLLER, key("web"))
        assert plan.requeue_after_s == 30
        status = (await bench.get(api.ReplicaSet, "web")).status
        assert (status.readyReplicas, status.availableReplicas) == (1, None)
        await bench.clock.advance(30)
        await bench.settle(CONTROLLER, key("web"))
        assert (await bench.get(api.ReplicaSet, "web")).status.availableReplicas == 1

    run(main())


def test_finished_pods_are_replaced() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(2))
        await bench.settle(CONTROLLER, key("web"))
        pod = (await bench.all(api.Pod))[0]
        pod.status.phase = "Failed"
        bench.server.put(pod)
        await bench.settle(CONTROLLER, key("web"))
        assert len(await bench.all(api.Pod)) == 3

    run(main())


def test_scaling_down_removes_the_surplus() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(5))
        await bench.settle(CONTROLLER, key("web"))
        await scale(bench, 2)
        plan = await bench.step(CONTROLLER, key("web"))
        assert sum(isinstance(effect, Remove) for effect in plan.effects) == 3
        await bench.settle(CONTROLLER, key("web"))
        assert len(await bench.all(api.Pod)) == 2

    run(main())


def ranked(name: str, **given: Any) -> api.Pod:
    """A ready, running pod on node n1, an hour old, but for what is given."""
    ready_s = given.get("ready_s", 3600)
    conditions = []
    if ready_s is not None:
        since = NOW - timedelta(seconds=ready_s)
        conditions = [api.PodCondition(type="Ready", status="True", lastTransitionTime=since)]
    cost = given.get("cost")
    return api.Pod(
        metadata=api.ObjectMeta(
            name=name,
            uid=name,
            creationTimestamp=NOW - timedelta(seconds=given.get("age_s", 3600)),
            annotations={replicaset.DELETION_COST: cost} if cost is not None else {},
        ),
        spec=api.PodSpec(nodeName=given.get("node", "n1")),
        status=api.PodStatus(
            phase=given.get("phase", "Running"),
            conditions=conditions,
            containerStatuses=[api.ContainerStatus(name="c", restartCount=given.get("restarts", 0))],
        ),
    )


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"node": None, "phase": "Pending"}, {"phase": "Pending"}),
        ({"phase": "Pending"}, {"phase": "Unknown"}),
        ({"phase": "Unknown"}, {}),
        ({"ready_s": None}, {}),
        ({"cost": "-5"}, {}),
        ({}, {"cost": "10"}),
        ({"cost": "no number"}, {"cost": "1"}),
        ({"ready_s": 10}, {"ready_s": 3000}),
        ({"restarts": 3}, {"restarts": 1}),
        ({"age_s": 10, "ready_s": 5}, {"age_s": 3000, "ready_s": 5}),
    ],
)
def test_what_is_worth_least_goes_first(less: dict[str, Any], more: dict[str, Any]) -> None:
    for names in (("a", "b"), ("b", "a")):  # whatever the order by uid
        worse, better = ranked(names[0], **less), ranked(names[1], **more)
        for pods in ([worse, better], [better, worse]):
            assert to_delete(pods, pods, 1, NOW) == [worse]


def test_of_two_pods_on_one_node_one_goes_before_one_that_is_alone() -> None:
    pods = [ranked("alone", node="n2"), ranked("pair1"), ranked("pair2")]
    (doomed,) = to_delete(pods, pods, 1, NOW)
    assert doomed.metadata.name in ("pair1", "pair2")


def test_pods_of_like_age_go_in_order_of_uid() -> None:
    older, younger = ranked("z", ready_s=3600), ranked("a", ready_s=3500)
    assert to_delete([older, younger], [older, younger], 1, NOW) == [younger]
    older.metadata.uid, younger.metadata.uid = "a", "z"
    assert to_delete([older, younger], [older, younger], 1, NOW) == [older]
