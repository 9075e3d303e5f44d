from __future__ import annotations

from typing import Any

import pytest

from sampan.client.effects import Create, Emit
from sampan.controllers import replicaset
from sampan.controllers.deployment import revisions, view
from sampan.controllers.deployment.plan import CONTROLLER
from sampan.schema import api, codec
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run


def deployment(
    replicas: int = 3, strategy: api.DeploymentStrategy | None = None, **spec: Any
) -> api.Deployment:
    return api.Deployment(
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, annotations={"note": "kept"}),
        spec=api.DeploymentSpec(
            replicas=replicas,
            selector=api.LabelSelector(matchLabels={"app": "web"}),
            template=template(),
            strategy=strategy or rolling("25%", "25%"),
            **{"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, **spec},
        ),
    )


def rolling(surge: int | str, unavailable: int | str) -> api.DeploymentStrategy:
    return api.DeploymentStrategy(
        type="RollingUpdate",
        rollingUpdate=api.RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable),
    )


class Cluster(Bench):
    """A deployment, its ReplicaSets and their pods; `turn` lets each act once."""

    async def turn(self, *, ready: bool = True) -> bool:
        before = self.server.revision
        await self.step(CONTROLLER, key("web"))
        for one in await self.all(api.ReplicaSet):
            await self.settle(replicaset.CONTROLLER, key(one.metadata.name or ""))
        if ready:
            for pod in await self.all(api.Pod):
                if pod.status.phase != "Running":
                    self.server.put(make_ready(pod, self.now))
            for one in await self.all(api.ReplicaSet):
                await self.settle(replicaset.CONTROLLER, key(one.metadata.name or ""))
        for pod in await self.all(api.Pod):
            if pod.metadata.deletionTimestamp is not None:  # its node has stopped it
                self.server.drop(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.metadata.name}")
        return self.server.revision != before

    async def finish(self, *, ready: bool = True) -> None:
        for _ in range(60):
            if not await self.turn(ready=ready):
                return
        raise AssertionError("the rollout does not come to an end")

    async def sizes(self) -> dict[str, int]:
        """Image to replicas asked for."""
        found = await self.all(api.ReplicaSet)
        return {one.spec.template.spec.containers[0].image or "": one.spec.replicas or 0 for one in found}

    async def set_image(self, image: str) -> None:
        found = await self.get(api.Deployment, "web")
        found.spec.template.spec.containers[0].image = image
        await self.client.update(found)

    async def patch(self, **spec: Any) -> None:
        await self.client.patch(api.Deployment, "web", NAMESPACE, {"spec": spec})

    async def condition(self, type: str) -> api.DeploymentCondition:
        found = await self.get(api.Deployment, "web")
        return next(c for c in found.status.conditions if c.type == type)


def test_a_first_rollout() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment())
        await cluster.finish()
        (made,) = await cluster.all(api.ReplicaSet)
        hashed = made.metadata.labels[view.HASH_LABEL]
        assert made.metadata.name == f"web-{hashed}"
        assert made.spec.selector is not None
        assert made.spec.selector.matchLabels == {"app": "web", view.HASH_LABEL: hashed}
        assert made.metadata.annotations == {
            "note": "kept",
            view.REVISION: "1",
            view.DESIRED_REPLICAS: "3",
            view.MAX_REPLICAS: "4",
        }
        found = await cluster.get(api.Deployment, "web")
        assert found.metadata.annotations[view.REVISION] == "1"
        status = found.status
        counts = (status.replicas, status.updatedReplicas, status.readyReplicas, status.availableReplicas)
        assert counts == (3, 3, 3, 3)
        assert status.unavailableReplicas is None
        available, progressing = await cluster.condition("Available"), await cluster.condition("Progressing")
        assert (available.status, available.reason) == ("True", "MinimumReplicasAvailable")
        assert (progressing.status, progressing.reason) == ("True", "NewReplicaSetAvailable")
        assert progressing.message == f'ReplicaSet "web-{hashed}" has successfully progressed.'

    run(main())


def test_applying_a_plan_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment())
        assert await cluster.settle(CONTROLLER, key("web")) <= 2
        await cluster.finish()
        assert (await cluster.step(CONTROLLER, key("web"))).effects == ()
        await cluster.set_image("web:2")
        assert await cluster.settle(CONTROLLER, key("web")) <= 3

    run(main())


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable"),
    [
        (3, "25%", "25%"),
        (10, 0, 1),
        (10, 3, 0),
        (4, "100%", 0),
        (5, 0, "0%"),
        (1, "25%", "25%"),
        (7, "50%", "50%"),
    ],
)
def test_a_rolling_update_stays_within_its_bounds(
    replicas: int, surge: int | str, unavailable: int | str
) -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(replicas, rolling(surge, unavailable)))
        await cluster.finish()
        await cluster.set_image("web:2")
        found = await cluster.get(api.Deployment, "web")
        most_surge, most_unavailable = view.fenceposts(found)
        for _ in range(100):
            changed = await cluster.turn()
            pods = [pod for pod in await cluster.all(api.Pod) if pod.metadata.deletionTimestamp is None]
            assert len(pods) <= replicas + most_surge
            ready = [pod for pod in pods if pod.status.phase == "Running"]
            assert len(ready) >= replicas - most_unavailable
            if not changed:
                break
        assert await cluster.sizes() == {"web:1": 0, "web:2": replicas}
        assert (await cluster.get(api.Deployment, "web")).metadata.annotations[view.REVISION] == "2"

    run(main())


def test_a_rollout_that_never_gets_ready_stops_and_times_out() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(4))
        await cluster.finish()
        await cluster.set_image("broken")
        await cluster.finish(ready=False)
        assert await cluster.sizes() == {"web:1": 3, "broken": 2}
        plan = await cluster.step(CONTROLLER, key("web"))
        assert plan.requeue_after_s is not None
        await cluster.clock.advance(plan.requeue_after_s)
        await cluster.settle(CONTROLLER, key("web"))
        progressing = await cluster.condition("Progressing")
        assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
        assert progressing.message is not None
        assert progressing.message.endswith("has timed out progressing.")
        assert (await cluster.step(CONTROLLER, key("web"))).requeue_after_s is None

    run(main())


def test_rolling_back_finds_the_old_revision_and_renumbers_it() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(2))
        await cluster.finish()
        await cluster.set_image("web:2")
        await cluster.finish()
        await cluster.set_image("web:1")
        await cluster.finish()
        found = {
            one.spec.template.spec.containers[0].image: one.metadata.annotations
            for one in await cluster.all(api.ReplicaSet)
        }
        assert found["web:1"][view.REVISION] == "3"
        assert found["web:1"][view.REVISION_HISTORY] == "1"
        assert found["web:2"][view.REVISION] == "2"
        assert await cluster.sizes() == {"web:1": 2, "web:2": 0}
        assert (await cluster.get(api.Deployment, "web")).metadata.annotations[view.REVISION] == "3"

    run(main())


def test_recreate_waits_until_the_old_pods_are_gone() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(3, api.DeploymentStrategy(type="Recreate")))
        await cluster.finish()
        await cluster.set_image("web:2")
        for _ in range(20):
            changed = await cluster.turn()
            images = {pod.spec.containers[0].image for pod in await cluster.all(api.Pod)}
            assert len(images) <= 1
            if not changed:
                break
        assert await cluster.sizes() == {"web:1": 0, "web:2": 3}

    run(main())


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(2))
        await cluster.finish()
        await cluster.patch(paused=True)
        await cluster.set_image("web:2")
        await cluster.patch(replicas=4)
        await cluster.finish()
        assert await cluster.sizes() == {"web:1": 4}
        assert (await cluster.condition("Progressing")).reason in (
            "DeploymentPaused",
            "NewReplicaSetAvailable",
        )
        await cluster.patch(paused=False)
        await cluster.finish()
        assert await cluster.sizes() == {"web:1": 0, "web:2": 4}

    run(main())


def test_scaling_while_rolling_is_proportional() -> None:
    async def main() -> None:
        # "deployment should support proportional scaling": 10 replicas, surge 3, unavailable 2; to 30.
        cluster = Cluster()
        await cluster.client.create(deployment(10, rolling(3, 2)))
        await cluster.finish()
        await cluster.set_image("broken")
        await cluster.finish(ready=False)
        assert await cluster.sizes() == {"web:1": 8, "broken": 5}
        await cluster.patch(replicas=30)
        await cluster.step(CONTROLLER, key("web"))
        assert await cluster.sizes() == {"web:1": 20, "broken": 13}

    run(main())


def test_old_revisions_are_cleaned_up() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(1, revisionHistoryLimit=2))
        for number in range(1, 6):
            await cluster.set_image(f"web:{number}")
            await cluster.finish()
        assert set(await cluster.sizes()) == {"web:3", "web:4", "web:5"}

    run(main())


def test_a_replicaset_that_matches_is_adopted() -> None:
    async def main() -> None:
        cluster = Cluster()
        made = await cluster.client.create(deployment(1))
        free = api.ReplicaSet(
            metadata=api.ObjectMeta(name="old", namespace=NAMESPACE, labels={"app": "web"}),
            spec=api.ReplicaSetSpec(
                replicas=1, selector=api.LabelSelector(matchLabels={"app": "web"}), template=template()
            ),
        )
        await cluster.client.create(free)
        await cluster.settle(CONTROLLER, key("web"))
        (found,) = await cluster.all(api.ReplicaSet)
        assert found.metadata.ownerReferences[0].uid == made.metadata.uid

    run(main())


def test_a_name_that_is_taken_counts_as_a_collision() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(1))
        name = f"web-{revisions.template_hash(template(), None)}"
        taken = api.ReplicaSet(
            metadata=api.ObjectMeta(name=name, namespace=NAMESPACE),
            spec=api.ReplicaSetSpec(
                selector=api.LabelSelector(matchLabels={"x": "y"}), template=template("other", x="y")
            ),
        )
        await cluster.client.create(taken)
        for _ in range(3):
            await cluster.step(CONTROLLER, key("web"))
        await cluster.settle(CONTROLLER, key("web"))
        assert (await cluster.get(api.Deployment, "web")).status.collisionCount == 1
        assert len(await cluster.all(api.ReplicaSet)) == 2

    run(main())


def test_a_replicaset_that_cannot_be_made_is_reported() -> None:
    async def main() -> None:
        cluster = Cluster()
        await cluster.client.create(deployment(1))

        def refuse(method: str, path: str, body: Any) -> None:
            if method == "POST" and path.endswith("replicasets"):
                raise Refuse(403, "Forbidden", "no more replica sets")

        cluster.server.intercept = refuse
        await cluster.step(CONTROLLER, key("web"))
        plan = await cluster.step(CONTROLLER, key("web"))
        told = plan.effects[0]
        assert isinstance(told, Emit)
        assert (told.type, told.reason) == ("Warning", "ReplicaSetCreateError")
        assert told.message.startswith('Failed to create new replica set "web-')
        progressing = await cluster.condition("Progressing")
        assert progressing.message == told.message
        assert (progressing.status, progressing.reason) == ("False", "ReplicaSetCreateError")
        assert progressing.message is not None
        assert "no more replica sets" in progressing.message

    run(main())


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "pods"),
    [
        (10, "25%", "25%", (3, 2)),
        (10, 0, 0, (0, 1)),
        (3, 5, 10, (5, 3)),
        (0, "25%", "25%", (0, 0)),
        (1, "25%", "25%", (1, 0)),
    ],
)
def test_fenceposts(replicas: int, surge: int | str, unavailable: int | str, pods: tuple[int, int]) -> None:
    assert view.fenceposts(deployment(replicas, rolling(surge, unavailable))) == pods


def test_the_hash_depends_on_the_template_and_on_collisions_alone() -> None:
    one = template()
    assert revisions.template_hash(one, None) == revisions.template_hash(codec.copy(one), None)
    assert len({revisions.template_hash(one, count) for count in (None, 1, 2)}) == 3
    assert revisions.template_hash(template("web:2"), None) != revisions.template_hash(one, None)


def test_a_deployment_that_selects_all_is_refused() -> None:
    async def main() -> None:
        cluster = Cluster()
        everything = deployment()
        everything.spec.selector = api.LabelSelector()
        await cluster.client.create(everything)
        plan = await cluster.step(CONTROLLER, key("web"))
        assert not any(isinstance(effect, Create) for effect in plan.effects)

    run(main())
