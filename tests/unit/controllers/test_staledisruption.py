from __future__ import annotations

from typing import Any

import pytest

from sampan.controllers.staledisruption import CONTROLLER
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, Bench, key
from tests.fakes.waiting import run


def pod(bench: Bench, reason: str = "EvictionByEvictionAPI", **given: Any) -> api.Pod:
    condition = api.PodCondition(
        type="DisruptionTarget",
        status=given.get("status", "True"),
        reason=reason,
        lastTransitionTime=bench.now,
    )
    made = api.Pod(apiVersion="v1", kind="Pod", metadata=api.ObjectMeta(name="p", namespace=NAMESPACE))
    made.metadata.deletionTimestamp = bench.now if given.get("leaving") else None
    made.status = api.PodStatus(phase=given.get("phase", "Running"), conditions=[condition])
    return made


def test_an_eviction_that_never_came_is_taken_back() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.put(pod(bench))
        plan = await bench.step(CONTROLLER, key("p"))
        assert (plan.effects, plan.requeue_after_s) == ((), 120)
        await bench.clock.advance(120)
        assert await bench.settle(CONTROLLER, key("p")) == 1
        (condition,) = (await bench.get(api.Pod, "p")).status.conditions
        assert (condition.status, condition.lastTransitionTime) == ("False", bench.now)

    run(main())


def test_one_that_does_not_say_since_when_is_taken_back_at_once() -> None:
    async def main() -> None:
        bench = Bench()
        one = pod(bench)
        one.status.conditions[0].lastTransitionTime = None
        bench.server.put(one)
        assert await bench.settle(CONTROLLER, key("p")) == 1
        (condition,) = (await bench.get(api.Pod, "p")).status.conditions
        assert condition.status == "False"

    run(main())


@pytest.mark.parametrize(
    "given",
    [{"reason": "TerminationByKubelet"}, {"phase": "Failed"}, {"leaving": True}, {"status": "False"}],
)
def test_what_is_under_way_or_over_stays(given: dict[str, Any]) -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.put(pod(bench, **given))
        await bench.clock.advance(300)
        assert await bench.settle(CONTROLLER, key("p")) == 0

    run(main())
