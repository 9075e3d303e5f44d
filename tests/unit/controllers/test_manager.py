from __future__ import annotations

from datetime import datetime
from typing import Any

from sampan.client.effects import Create, Emit, Plan
from sampan.client.resources import ref_of
from sampan.controllers import replicaset
from sampan.controllers.catalog import Settings, controllers
from sampan.controllers.deployment import plan as deployment
from sampan.controllers.runtime.controller import Caches, Controller, Key, owned
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, template
from tests.fakes.managed import managed
from tests.fakes.waiting import run, until


def replica_set(name: str = "web", replicas: int = 3) -> api.ReplicaSet:
    return api.ReplicaSet(
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE),
        spec=api.ReplicaSetSpec(
            replicas=replicas,
            selector=api.LabelSelector(matchLabels={"app": name}),
            template=template(app=name),
        ),
    )


def test_controllers_work_together_over_one_watch_for_each_kind() -> None:
    async def main() -> None:
        async with managed((deployment.CONTROLLER, replicaset.CONTROLLER)) as cluster:
            await cluster.client.create(
                api.Deployment(
                    metadata=api.ObjectMeta(name="web", namespace=NAMESPACE),
                    spec=api.DeploymentSpec(
                        replicas=5,
                        selector=api.LabelSelector(matchLabels={"app": "web"}),
                        template=template(),
                    ),
                )
            )
            await until(lambda: len(cluster.server.of_kind("Pod")) == 5)
            await cluster.quiet()
            assert len(cluster.server.of_kind("Pod")) == 5
            watches = [path for method, path in cluster.server.requests if method == "WATCH"]
            assert sorted(watches) == [
                "/api/v1/pods",
                "/apis/apps/v1/deployments",
                "/apis/apps/v1/replicasets",
            ]
            waiting = cluster.manager.waiting_for("deployment", Key(NAMESPACE, "web"))
            assert waiting == "its ReplicaSets: 5 of 5 replicas are updated, 0 available"
            assert cluster.manager.metrics()["replicaset"].depth == 0

    run(main())


def test_nothing_is_done_twice_before_the_cache_has_seen_it() -> None:
    async def main() -> None:
        async with managed((replicaset.CONTROLLER,)) as cluster:
            for number in range(10):
                await cluster.client.create(replica_set(f"set{number}", 7))
            await until(lambda: len(cluster.server.of_kind("Pod")) >= 70)
            await cluster.quiet()
            created = [
                path for method, path in cluster.server.requests if (method, path[-4:]) == ("POST", "pods")
            ]
            assert len(created) == 70

    run(main())


def test_what_happened_is_recorded_as_events() -> None:
    async def main() -> None:
        async with managed((replicaset.CONTROLLER,)) as cluster:
            await cluster.client.create(replica_set(replicas=1))
            await until(lambda: cluster.server.of_kind("Event"))
            (event,) = cluster.server.of_kind("Event")
            (pod,) = cluster.server.of_kind("Pod")
            assert event["reason"] == "SuccessfulCreate"
            assert event["message"] == f"Created pod: {pod['metadata']['name']}"
            assert event["involvedObject"]["kind"] == "ReplicaSet"
            assert event["source"]["component"] == "replicaset-controller"

    run(main())


def test_a_failing_controller_backs_off_and_the_others_go_on() -> None:
    def broken(_caches: Caches, key: Key) -> Any:
        raise RuntimeError("a bug")

    faulty = Controller(name="faulty", kind=api.ReplicaSet, gather=broken, plan=lambda view, now: Plan())

    async def main() -> None:
        async with managed((faulty, replicaset.CONTROLLER)) as cluster:
            await cluster.client.create(replica_set())
            await until(lambda: len(cluster.server.of_kind("Pod")) == 3)
            await cluster.clock.advance(1)
            metrics = cluster.manager.metrics()["faulty"]
            # 5, 10, 20 … 640 ms: the ninth would come after 1.275 s.
            assert metrics.failures == 8
            assert "a bug" in cluster.manager.waiting_for("faulty", Key(NAMESPACE, "web"))

    run(main())


def test_a_refused_effect_is_tried_again_and_then_forgotten() -> None:
    async def main() -> None:
        async with managed((replicaset.CONTROLLER,)) as cluster:
            refusing = True

            def quota(method: str, path: str, body: Any) -> None:
                if refusing and method == "POST" and path.endswith("/pods"):
                    raise Refuse(403, "Forbidden", "exceeded quota")

            cluster.server.intercept = quota
            await cluster.client.create(replica_set())
            await cluster.clock.advance(0.2)
            (found,) = cluster.server.of_kind("ReplicaSet")
            assert found["status"]["conditions"][0]["reason"] == "FailedCreate"
            assert cluster.manager.metrics()["replicaset"].retries > 2
            refusing = False
            await cluster.clock.advance(60)
            assert len(cluster.server.of_kind("Pod")) == 3
            (found,) = cluster.server.of_kind("ReplicaSet")
            assert "conditions" not in found["status"]

    run(main())


def test_plans_that_ask_to_be_looked_at_again_are() -> None:
    seen: list[datetime] = []

    def plan(view: Any, now: datetime) -> Plan:
        seen.append(now)
        return Plan(requeue_after_s=10)

    timer = Controller(name="timer", kind=api.Node, gather=lambda caches, key: key, plan=plan)

    async def main() -> None:
        async with managed((timer,)) as cluster:
            await cluster.client.create(api.Node(metadata=api.ObjectMeta(name="n1")))
            await until(lambda: seen)
            await cluster.clock.advance(35)
        assert len(seen) == 4

    run(main())


def test_the_server_going_away_is_survived() -> None:
    async def main() -> None:
        async with managed((replicaset.CONTROLLER,)) as cluster:
            cluster.server.disconnect()
            await cluster.clock.advance(300)
            cluster.server.down = False
            await cluster.client.create(replica_set())
            await cluster.clock.advance(60)
            assert len(cluster.server.of_kind("Pod")) == 3

    run(main())


def test_owned_objects_lead_to_their_owner_of_the_right_group() -> None:
    touched: list[Key] = []

    def gather(_caches: Caches, key: Key) -> None:
        touched.append(key)

    looker = Controller(
        name="looker",
        kind=api.ReplicaSet,
        watches=(owned(api.Pod),),
        gather=gather,
        plan=lambda view, now: Plan(),
    )
    foreign = api.OwnerReference(
        apiVersion="example.com/v1", kind="ReplicaSet", name="theirs", uid="u", controller=True
    )
    native = api.OwnerReference(
        apiVersion="apps/v1", kind="ReplicaSet", name="ours", uid="v", controller=True
    )

    async def main() -> None:
        async with managed((looker,)) as cluster:
            for name, reference in (("a", foreign), ("b", native)):
                meta = api.ObjectMeta(name=name, namespace=NAMESPACE, ownerReferences=[reference])
                await cluster.client.create(api.Pod(metadata=meta))
            await until(lambda: touched)
            await cluster.quiet()
        assert set(touched) == {Key(NAMESPACE, "ours")}

    run(main())


def test_the_catalog_names_each_controller_once_and_runs_idle_at_no_cost() -> None:
    async def main() -> None:
        everything = controllers(Settings(ca_bundle="PEM"))
        assert len({controller.name for controller in everything}) == len(everything)
        async with managed(everything) as cluster:
            await cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name=NAMESPACE)))
            await until(lambda: cluster.server.of_kind("ServiceAccount"))
            await cluster.quiet()
            before = len(cluster.server.requests)
            await cluster.clock.advance(3600)
            assert len(cluster.server.requests) == before

    run(main())


def test_emitting_alone_changes_nothing_else() -> None:
    def plan(view: api.Node, now: datetime) -> Plan:
        return Plan((Emit(ref_of(view), "Normal", "Seen", "seen"),))

    emitter = Controller(
        name="emitter", kind=api.Node, gather=lambda caches, key: caches.of(api.Node).get(*key), plan=plan
    )

    async def main() -> None:
        async with managed((emitter,)) as cluster:
            await cluster.client.create(api.Node(metadata=api.ObjectMeta(name="n1")))
            await until(lambda: cluster.server.of_kind("Event"))
            (event,) = cluster.server.of_kind("Event")
            assert event["metadata"]["namespace"] == "default"
            assert event["involvedObject"].get("namespace") is None

    run(main())


def test_a_create_in_a_terminating_namespace_is_no_failure() -> None:
    maker = Controller(
        name="maker",
        kind=api.Node,
        gather=lambda caches, key: key,
        plan=lambda view, now: Plan((Create(api.Pod(metadata=api.ObjectMeta(name="p", namespace="gone"))),)),
    )

    async def main() -> None:
        async with managed((maker,)) as cluster:

            def refuse(method: str, path: str, body: Any) -> None:
                if path.endswith("/pods") and method == "POST":
                    details = {"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}
                    raise Refuse(403, "Forbidden", "it is being terminated", details)

            cluster.server.intercept = refuse
            await cluster.client.create(api.Node(metadata=api.ObjectMeta(name="n1")))
            await cluster.clock.advance(5)
            metrics = cluster.manager.metrics()["maker"]
            assert (metrics.failures, metrics.done) == (0, 1)

    run(main())
