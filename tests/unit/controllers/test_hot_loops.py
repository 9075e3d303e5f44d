"""Under input that cannot be dealt with, work is tried again less and less often: nothing loops hot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sampan.client.effects import Plan
from sampan.controllers import cronjob, replicaset, replicationcontroller
from sampan.controllers.daemonset import plan as daemonset
from sampan.controllers.deployment import plan as deployment
from sampan.controllers.job import plan as job
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.runtime.manager import LEAST_AGAIN_S
from sampan.controllers.statefulset import plan as statefulset
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, template
from tests.fakes.managed import Managed, managed
from tests.fakes.waiting import run
from tests.unit.controllers.test_crashes import META, cron, daemon, indexed, replication, stateful

# With a back-off of 5 ms that doubles, a minute has room for 14 tries; a plan may try a few things each time.
WRITES_MOST = 60
CASES: list[tuple[Callable[[], Controller], Callable[[], Any], str]] = [
    (daemonset.controller, daemon, "/pods"),
    (lambda: statefulset.CONTROLLER, stateful, "/pods"),
    (lambda: statefulset.CONTROLLER, stateful, "/persistentvolumeclaims"),
    (lambda: statefulset.CONTROLLER, stateful, "/controllerrevisions"),
    (lambda: job.CONTROLLER, indexed, "/pods"),
    (lambda: cronjob.CONTROLLER, cron, "/jobs"),
    (lambda: replicationcontroller.CONTROLLER, replication, "/pods"),
]


def writes(running: Managed) -> int:
    return sum(
        method in ("POST", "PUT", "PATCH", "DELETE") and not path.endswith("/events")
        for method, path in running.server.requests
    )


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_is_tried_less_and_less_often(
    case: tuple[Callable[[], Controller], Callable[[], Any], str],
) -> None:
    async def main() -> None:
        make, owner, refused = case

        def refuse(method: str, path: str, _body: Any) -> None:
            if method == "POST" and path.endswith(refused):
                raise Refuse(403, "Forbidden", "a webhook says no")

        async with managed([make()]) as running:
            running.server.intercept = refuse
            running.server.put(api.Node(apiVersion="v1", kind="Node", metadata=api.ObjectMeta(name="a")))
            await running.client.create(owner())
            await running.clock.advance(120)  # the CronJob's first run is after the first of the two minutes
            assert 0 < writes(running) <= WRITES_MOST
            running.server.intercept = lambda _method, _path, _body: None
            await running.clock.advance(1200)
            assert any(path.endswith(refused) for method, path in running.server.requests if method == "POST")
            made = [obj for where, obj in running.server.objects.items() if f"{refused}/" in where]
            assert made

    run(main())


def test_a_plan_that_always_wants_to_look_again_at_once_lets_others_work() -> None:
    looks: list[Any] = []

    def plan(view: Any, _now: Any) -> Plan:
        looks.append(view)
        return Plan(requeue_after_s=0.0)

    eager = Controller(name="eager", kind=api.ReplicationController, gather=lambda _c, key: key, plan=plan)

    async def main() -> None:
        async with managed([eager]) as running:
            await running.client.create(replication())
            await running.clock.advance(1)
            assert 1 < len(looks) <= 1 / LEAST_AGAIN_S + 1

    run(main())


def rolled() -> Any:
    spec = api.DeploymentSpec(replicas=1, selector=api.LabelSelector(), template=template())
    meta = api.ObjectMeta(generation=1, **META)
    return api.Deployment(apiVersion="apps/v1", kind="Deployment", metadata=meta, spec=spec)


def everywhere() -> Any:
    made = daemon()
    made.apiVersion, made.kind, made.spec.selector = "apps/v1", "DaemonSet", api.LabelSelector()
    return made


@pytest.mark.parametrize(
    ("make", "owner", "what"),
    [
        (lambda: deployment.CONTROLLER, rolled, "deployment"),
        (daemonset.controller, everywhere, "daemon set"),
    ],
    ids=["deployment", "daemonset"],
)
def test_a_selector_of_everything_that_got_past_the_server_is_told_and_left_alone(
    make: Callable[[], Controller], owner: Callable[[], Any], what: str
) -> None:
    async def main() -> None:
        async with managed([make()]) as running:
            running.server.put(api.Node(apiVersion="v1", kind="Node", metadata=api.ObjectMeta(name="a")))
            meta = api.ObjectMeta(name="stray", namespace=NAMESPACE, labels={"app": "web"})
            running.server.put(api.Pod(apiVersion="v1", kind="Pod", metadata=meta))
            running.server.put(owner())
            await running.clock.advance(60)
            await running.quiet()
            told = [(one["reason"], one["message"]) for one in running.server.of_kind("Event")]
            assert told == [
                ("SelectingAll", f"This {what} is selecting all pods. A non-empty selector is required.")
            ]
            assert writes(running) <= 1  # the generation that was seen
            (stray,) = running.server.of_kind("Pod")
            assert not stray["metadata"].get("ownerReferences")

    run(main())


def test_owners_that_select_the_same_pods_leave_each_other_alone() -> None:
    async def main() -> None:
        controllers = [replicaset.CONTROLLER, replicationcontroller.CONTROLLER, statefulset.CONTROLLER]
        async with managed(controllers) as running:
            for owner in (stateful(), replication()):
                await running.client.create(owner)
            await running.clock.advance(60)
            await running.quiet()
            running.server.requests.clear()
            await running.clock.advance(60)
            assert writes(running) == 0
            owners = [obj["metadata"]["ownerReferences"][0]["kind"] for obj in running.server.of_kind("Pod")]
            assert sorted(owners) == ["ReplicationController"] * 3 + ["StatefulSet"] * 3

    run(main())
