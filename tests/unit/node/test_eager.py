"""Work that is begun at once, and what simulated pods make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.config import AgentConfig
from sampan.node.eager import begin
from sampan.node.model import NodeFacts
from sampan.node.pods import PodHost
from sampan.node.runtimes.simulated import SimulatedRuntime
from tests.unit.node.fakes import FakeApi, make_pod, pod_path

FACTS = NodeFacts(name="node-1", ips=("192.0.2.1",))


def test_what_never_waits_is_over_at_once() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("here")

    assert begin(work()) is None
    assert done == ["here"]


def test_what_it_raises_before_it_waits_is_raised_here() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        begin(work())


def test_what_waits_goes_on_in_a_task() -> None:
    async def main() -> None:
        heard: list[str] = []
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            heard.append(await answer)
            await asyncio.sleep(0)
            with pytest.raises(ConnectionError):
                await failing
            heard.append("end")

        async def fails() -> None:
            raise ConnectionError

        failing = asyncio.ensure_future(fails())
        rest = begin(work())
        assert rest is not None
        answer.set_result("answer")
        await rest
        assert heard == ["answer", "end"]

    asyncio.run(main())


@pytest.mark.parametrize("catches", [True, False])
def test_a_cancellation_reaches_it(catches: bool) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0)
                seen.append("cleaned up")
                if not catches:
                    raise

        rest: Coroutine[Any, Any, None] | None = begin(work())
        assert rest is not None
        task = asyncio.create_task(rest)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert seen == ["cancelled", "cleaned up"]
        assert task.cancelled() is not catches

    asyncio.run(main())


def test_a_simulated_pod_runs_and_goes_with_one_write_for_each() -> None:
    """No task, no turn of the event loop and no report for each of the steps in between."""

    async def main() -> None:
        clock, api = SimulatedClock(), FakeApi()
        runtime = SimulatedRuntime(clock, RandomIds())
        host = PodHost(
            AgentConfig(node_name="node-1", node_ips=FACTS.ips),
            runtime,
            api.client,
            clock,
            nodes={"node-1": FACTS}.get,
        )
        exits = asyncio.create_task(host.follow_exits())
        await asyncio.sleep(0)
        api.put(pod_path("web"), make_pod("web"))
        host.pod_changed(None, api.pod("web"))
        assert [c.state for c in (await runtime.list()).containers] == ["running"]
        await host.statuses.flush("web-uid")
        running = api.pod("web")
        assert running.status.phase == "Running"
        api.mark_deleted("web")
        host.pod_changed(running, api.pod("web"))
        assert not (await runtime.list()).containers
        await clock.advance(1)
        wrote = [method for method, path in api.requests if path.startswith(pod_path("web"))]
        assert wrote == ["PATCH", "DELETE"]  # of a last status nobody would know
        host.pod_changed(running, None)
        assert not host.workers
        exits.cancel()

    asyncio.run(main())


def test_what_has_to_ask_or_to_wait_is_not_begun_at_once() -> None:
    async def main() -> None:
        clock, api = SimulatedClock(), FakeApi()
        runtime = SimulatedRuntime(clock, RandomIds(), start_delay_s=5)
        config = AgentConfig(node_name="node-1", node_ips=FACTS.ips)
        host = PodHost(config, runtime, api.client, clock, nodes={"node-1": FACTS}.get)
        api.put(pod_path("web"), make_pod("web"))
        host.pod_changed(None, api.pod("web"))
        await clock.advance(4)
        assert [c.state for c in (await runtime.list()).containers] == ["created"]
        assert api.pod("web").status.phase == "Pending"
        await clock.advance(2)
        assert api.pod("web").status.phase == "Running"
        host.close()

    asyncio.run(main())
