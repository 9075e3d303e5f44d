from __future__ import annotations

from typing import Any

from sampan.controllers.replicationcontroller import CONTROLLER
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run


def owner(replicas: int = 3, selector: dict[str, str] | None = None) -> api.ReplicationController:
    return api.ReplicationController(
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE),
        spec=api.ReplicationControllerSpec(
            replicas=replicas,
            selector={"app": "web"} if selector is None else selector,
            template=template(),
        ),
    )


def test_pods_are_made_counted_and_removed() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(3))
        await bench.settle(CONTROLLER, key("web"))
        for pod in await bench.all(api.Pod):
            (reference,) = pod.metadata.ownerReferences
            assert (reference.apiVersion, reference.kind) == ("v1", "ReplicationController")
            bench.server.put(make_ready(pod, bench.now))
        await bench.settle(CONTROLLER, key("web"))
        status = (await bench.get(api.ReplicationController, "web")).status
        assert (status.replicas, status.readyReplicas, status.availableReplicas) == (3, 3, 3)
        assert (await bench.step(CONTROLLER, key("web"))).effects == ()
        change = {"spec": {"replicas": 1}}
        await bench.client.patch(api.ReplicationController, "web", NAMESPACE, change)
        await bench.settle(CONTROLLER, key("web"))
        pods = await bench.all(api.Pod)
        assert sum(pod.metadata.deletionTimestamp is None for pod in pods) == 1

    run(main())


def test_orphans_are_adopted_and_strangers_released() -> None:
    async def main() -> None:
        bench = Bench()
        free = api.Pod(metadata=api.ObjectMeta(name="free", namespace=NAMESPACE, labels={"app": "web"}))
        await bench.client.create(free)
        await bench.client.create(owner(1))
        await bench.settle(CONTROLLER, key("web"))
        (pod,) = await bench.all(api.Pod)
        assert pod.metadata.ownerReferences[0].name == "web"
        await bench.client.patch(api.Pod, "free", NAMESPACE, {"metadata": {"labels": {"app": "db"}}})
        await bench.settle(CONTROLLER, key("web"))
        assert (await bench.get(api.Pod, "free")).metadata.ownerReferences == []
        assert len(await bench.all(api.Pod)) == 2

    run(main())


def test_a_quota_shows_as_a_condition_until_there_is_room() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(owner(2))

        def quota(method: str, path: str, body: Any) -> None:
            if method == "POST" and path.endswith("/pods"):
                raise Refuse(403, "Forbidden", "exceeded quota")

        bench.server.intercept = quota
        for _ in range(2):
            await bench.step(CONTROLLER, key("web"))
        (condition,) = (await bench.get(api.ReplicationController, "web")).status.conditions
        assert (condition.type, condition.reason) == ("ReplicaFailure", "FailedCreate")
        bench.server.intercept = lambda _method, _path, _body: None
        await bench.settle(CONTROLLER, key("web"))
        assert (await bench.get(api.ReplicationController, "web")).status.conditions == []

    run(main())
