"""A whole agent with the simulated runtime, a simulated clock and a fake API server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.agent import Agent
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.runtimes.runtime import State
from sampan.node.runtimes.simulated import SimulatedRuntime
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path

MACHINE = MachineInfo(cpus=4, memory_bytes=8 << 30, disk_bytes=100 << 30)
CONFIG = AgentConfig(node_name="node-1", node_ips=("192.0.2.1",))


class World:
    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.api = FakeApi()
        self.runtime = SimulatedRuntime(self.clock, RandomIds())
        self.events: list[tuple[str, str]] = []
        self.agent = self.new_agent()
        self._task: asyncio.Task[None] | None = None

    def new_agent(self) -> Agent:
        return Agent(self.api.client, self.runtime, CONFIG, self.clock, record=self._record, machine=MACHINE)

    def _record(self, about: Any, type: str, reason: str, message: str, **_: Any) -> None:
        self.events.append((reason, message))

    async def start(self) -> None:
        self._task = asyncio.create_task(self.agent.run())
        await self.settle()

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def settle(self, seconds: float = 0.001) -> None:
        await self.clock.advance(seconds)

    def phase(self, name: str = "web") -> str:
        return self.api.pod(name).status.phase or ""

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.start()
        try:
            await test(world)
        finally:
            await world.stop()
            await world.runtime.close()

    asyncio.run(main())


def test_a_pod_runs() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        await world.settle()
        status = world.api.pod("web").status
        assert status.phase == "Running"
        assert status.podIP and status.hostIP == "192.0.2.1"
        assert {c.type: c.status for c in status.conditions} == {
            "PodReadyToStartContainers": "True",
            "Initialized": "True",
            "Ready": "True",
            "ContainersReady": "True",
            "PodScheduled": "True",
        }
        assert status.containerStatuses[0].ready and status.containerStatuses[0].started
        assert world.reasons() == ["Pulling", "Pulled", "Created", "Started"]

    run(scenario)


def test_a_deleted_pod_leaves_nothing_behind() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        await world.settle()
        world.api.mark_deleted("web")
        await world.settle()
        assert pod_path() not in world.api.objects
        listing = await world.runtime.list()
        assert not listing.sandboxes and not listing.containers
        assert not world.agent.host.workers

    run(scenario)


def test_a_job_pod_completes_and_keeps_its_containers_until_it_is_deleted() -> None:
    async def scenario(world: World) -> None:
        simulate = {"sampan.dev/simulate": '{"run_s": 5, "exit_code": 0}'}
        world.api.put(pod_path(), make_pod(meta={"annotations": simulate}, restartPolicy="Never"))
        await world.settle()
        assert world.phase() == "Running"
        await world.settle(5)
        assert world.phase() == "Succeeded"
        ended = world.api.pod("web").status.containerStatuses[0].state
        assert ended is not None and ended.terminated is not None
        assert (ended.terminated.exitCode, ended.terminated.reason) == (0, "Completed")
        assert len((await world.runtime.list()).containers) == 1
        world.api.mark_deleted("web")
        await world.settle()
        assert pod_path() not in world.api.objects
        assert not (await world.runtime.list()).containers

    run(scenario)


def test_a_crashing_container_backs_off_as_kubelet_does() -> None:
    async def scenario(world: World) -> None:
        simulate = {"sampan.dev/simulate": '{"run_s": 1, "exit_code": 3}'}
        world.api.put(pod_path(), make_pod(meta={"annotations": simulate}))
        started = []
        for second in range(120):
            await world.settle(1)
            started.append((second, world.api.pod("web").status.containerStatuses[0].restartCount))
        counts = [count for _, count in started]
        # Runs of 1 s; restarts at once, then after 10, 20 and 40 s.
        firsts = [counts.index(n) for n in range(1, 5)]
        assert [b - a for a, b in itertools.pairwise(firsts)] == [11, 21, 41]
        waiting = world.api.pod("web").status.containerStatuses[0].state
        assert waiting is not None and waiting.waiting is not None
        assert waiting.waiting.reason == "CrashLoopBackOff"
        assert waiting.waiting.message == (
            "back-off 1m20s restarting failed container=app pod=web_default(web-uid)"
        )

    run(scenario)


def test_of_each_container_one_dead_instance_is_kept() -> None:
    async def scenario(world: World) -> None:
        simulate = {"sampan.dev/simulate": '{"run_s": 15, "exit_code": 1}'}
        world.api.put(pod_path(), make_pod(meta={"annotations": simulate}))
        attempts, most = set(), 0
        for _ in range(200):
            await world.settle(1)
            found = sorted((await world.runtime.list()).containers, key=lambda c: c.attempt)
            dead = [c for c in found if c.state is State.EXITED]
            assert len(dead) <= 1 and len(found) <= 2
            assert not dead or dead[0].attempt >= found[-1].attempt - 1
            attempts.add(found[-1].attempt)
            most = max(most, len(found))
        assert len(attempts) > 3 and most == 2

    run(scenario)


def test_a_restarted_agent_finds_its_containers_running() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        world.api.put(pod_path("gone"), make_pod("gone"))
        await world.settle()
        before = {c.id: c.started_at for c in (await world.runtime.list()).containers}
        await world.stop()
        del world.api.objects[pod_path("gone")]
        world.agent = world.new_agent()
        await world.start()
        await world.settle(30)
        after = {c.id: c.started_at for c in (await world.runtime.list()).containers}
        assert len(before) == 2 and len(after) == 1
        assert all(before[i] == at for i, at in after.items())
        assert world.phase() == "Running"
        assert world.api.pod("web").status.containerStatuses[0].restartCount == 0
        assert len((await world.runtime.list()).sandboxes) == 1

    run(scenario)


def test_a_dead_sandbox_is_replaced_and_everything_restarts() -> None:
    async def scenario(world: World) -> None:
        simulate = {"sampan.dev/simulate": '{"containers": {"setup": {"run_s": 1}}}'}
        pod = make_pod(meta={"annotations": simulate}, initContainers=[container("setup")])
        world.api.put(pod_path(), pod)
        await world.settle(2)
        first = world.api.pod("web").status
        assert first.phase == "Running"
        world.runtime.kill_sandbox((await world.runtime.list()).sandboxes[0].id)
        await world.settle(3)
        second = world.api.pod("web").status
        assert second.phase == "Running"
        assert second.podIP != first.podIP
        assert second.containerStatuses[0].restartCount == 1
        assert second.initContainerStatuses[0].restartCount == 1
        assert "SandboxChanged" in world.reasons()
        assert len((await world.runtime.list()).sandboxes) == 1

    run(scenario)


def test_the_node_registers_and_renews_its_lease() -> None:
    async def scenario(world: World) -> None:
        node = world.api.objects["/api/v1/nodes/node-1"]
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
        assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
        assert node["status"]["allocatable"]["cpu"] == "4"
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1"
        first = world.api.objects[path]["spec"]["renewTime"]
        await world.settle(11)
        assert world.api.objects[path]["spec"]["renewTime"] > first

    run(scenario)


def test_a_pod_that_does_not_fit_is_refused() -> None:
    async def scenario(world: World) -> None:
        big = container(resources={"requests": {"cpu": "64"}})
        world.api.put(pod_path(), make_pod(containers=[big]))
        await world.settle()
        status = world.api.pod("web").status
        assert (status.phase, status.reason) == ("Failed", "OutOfcpu")
        assert status.message == (
            "Pod was rejected: Node didn't have enough resource: cpu, "
            "requested: 64000, used: 0, capacity: 4000"
        )
        world.api.mark_deleted("web")
        await world.settle()
        assert pod_path() not in world.api.objects

    run(scenario)


def test_an_idle_agent_asks_for_nothing() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        await world.settle()
        await world.settle(11)  # the node tells of the image that was pulled
        world.api.requests.clear()
        await world.settle(60)
        others = [r for r in world.api.requests if "/leases/" not in r[1]]
        assert others == []

    run(scenario)


def test_find_container_tells_where_a_container_is() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        await world.settle()
        found = world.agent.find_container("default", "web", "")
        assert found is not None and found.running
        assert found.container == "app"
        assert found.log_path == "/var/log/pods/default_web_web-uid/app/0.log"
        assert found.container_id == (await world.runtime.list()).containers[0].id
        assert world.agent.find_container("default", "web", "other") is None
        assert world.agent.find_sandbox("default", "web") == found.sandbox_id

    run(scenario)


def test_a_container_that_exits_at_once_is_noticed_at_once() -> None:
    async def scenario(world: World) -> None:
        simulate = {"sampan.dev/simulate": '{"run_s": 0, "exit_code": 0}'}
        world.api.put(pod_path(), make_pod(meta={"annotations": simulate}, restartPolicy="Never"))
        await world.settle()
        assert world.phase() == "Succeeded"

    run(scenario)


def test_statuses_are_written_once_for_each_change() -> None:
    async def scenario(world: World) -> None:
        world.api.put(pod_path(), make_pod())
        await world.settle()
        writes = [r for r in world.api.requests if r[1].endswith("/pods/web/status")]
        assert 1 <= len(writes) <= 3

    run(scenario)


def test_an_unreachable_api_server_does_not_lose_the_status() -> None:
    async def scenario(world: World) -> None:
        request = world.api.request

        async def broken(*args: Any, **options: Any) -> Any:
            if args[0] == "PATCH":
                raise ConnectionError("no route")
            return await request(*args, **options)

        world.api.request = broken  # type: ignore[method-assign]
        world.api.put(pod_path(), make_pod())
        await world.settle(2)
        assert world.phase() == "Pending"
        world.api.request = request  # type: ignore[method-assign]
        await world.settle(20)
        assert world.phase() == "Running"

    run(scenario)
