"""A process that ends between any two effects of a plan leaves nothing that the next cannot put right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sampan.client.effects import Plan
from sampan.controllers import cronjob, replicationcontroller
from sampan.controllers.daemonset import plan as daemonset
from sampan.controllers.job import plan as job
from sampan.controllers.runtime.controller import Controller
from sampan.controllers.statefulset import plan as statefulset
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key, template
from tests.fakes.waiting import run

SELECTOR = api.LabelSelector(matchLabels={"app": "web"})
META = {"name": "web", "namespace": NAMESPACE}


def daemon() -> Any:
    return api.DaemonSet(
        metadata=api.ObjectMeta(**META), spec=api.DaemonSetSpec(selector=SELECTOR, template=template())
    )


def stateful() -> Any:
    claim = api.PersistentVolumeClaim(metadata=api.ObjectMeta(name="data"))
    spec = api.StatefulSetSpec(
        replicas=3,
        podManagementPolicy="Parallel",
        selector=SELECTOR,
        template=template(),
        volumeClaimTemplates=[claim],
    )
    return api.StatefulSet(metadata=api.ObjectMeta(**META), spec=spec)


def indexed() -> Any:
    spec = api.JobSpec(
        completions=3,
        parallelism=3,
        completionMode="Indexed",
        backoffLimit=6,
        selector=SELECTOR,
        template=template(),
    )
    return api.Job(metadata=api.ObjectMeta(**META), spec=spec)


def cron() -> Any:
    inner = api.JobTemplateSpec(spec=api.JobSpec(template=template()))
    return api.CronJob(
        metadata=api.ObjectMeta(**META), spec=api.CronJobSpec(schedule="* * * * *", jobTemplate=inner)
    )


def replication() -> Any:
    spec = api.ReplicationControllerSpec(replicas=3, selector={"app": "web"}, template=template())
    return api.ReplicationController(metadata=api.ObjectMeta(**META), spec=spec)


CASES: list[tuple[Callable[[], Controller], Callable[[], Any]]] = [
    (daemonset.controller, daemon),
    (lambda: statefulset.CONTROLLER, stateful),
    (lambda: job.CONTROLLER, indexed),
    (lambda: cronjob.CONTROLLER, cron),
    (lambda: replicationcontroller.CONTROLLER, replication),
]


async def outcome(make: Callable[[], Controller], owner: Any, cut: int | None) -> tuple[Counter[str], int]:
    """How many objects of each kind there are in the end, and how many effects the first plan had."""
    bench = Bench()
    for name in ("a", "b"):
        bench.server.put(api.Node(apiVersion="v1", kind="Node", metadata=api.ObjectMeta(name=name)))
    await bench.client.create(owner)
    await bench.clock.advance(90)
    view = make().gather(bench.caches(make()), key("web"))
    plan = make().plan(view, bench.now)
    await bench.executor.carry_out(Plan(plan.effects[:cut]))
    await bench.settle(make(), key("web"))
    assert (await bench.step(make(), key("web"))).effects == ()
    return Counter(obj["kind"] for obj in bench.server.objects.values()), len(plan.effects)


@pytest.mark.parametrize("case", CASES, ids=["daemonset", "statefulset", "job", "cronjob", "replication"])
def test_a_plan_may_break_off_anywhere(
    case: tuple[Callable[[], Controller], Callable[[], Any]],
) -> None:
    async def main() -> None:
        make, owner = case
        wanted, effects = await outcome(make, owner(), None)
        assert effects >= 2
        for cut in range(effects):
            assert (await outcome(make, owner(), cut))[0] == wanted, f"cut off after {cut} effects"

    run(main())
