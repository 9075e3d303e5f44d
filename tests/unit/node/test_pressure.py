"""What a node does when it runs short: thresholds, who goes first, conditions, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.agent import Agent
from sampan.node.config import EVICTION_HARD, AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.pressure import plan
from sampan.node.pressure.manager import PressureManager
from sampan.node.pressure.measures import amounts, disk_use
from sampan.node.pressure.plan import Amount, Threshold, Use
from sampan.node.runtimes.simulated import SimulatedRuntime
from tests.unit.node.bench import START
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path

MI = 1 << 20
SHORT_OF_MEMORY = {"memory.available": Amount(50 * MI, 8 << 30)}
WELL = {"memory.available": Amount(4 << 30, 8 << 30)}


def asking(name: str = "web", priority: int = 0, **requests: str) -> Any:
    main = container(resources={"requests": requests})
    status = {"qosClass": "Burstable" if requests else "BestEffort"}
    return make_pod(name, containers=[main], priority=priority, status=status)


# --- thresholds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "capacity", "amount"),
    [("100Mi", 8 << 30, 100 * MI), ("10%", 1000, 100), ("0%", 1000, 0), ("7.5%", 1000, 75)],
)
def test_a_threshold_is_an_amount_or_a_part(given: str, capacity: int, amount: int) -> None:
    (found,) = plan.thresholds({"memory.available": given})
    assert found.of(capacity) == amount


def test_thresholds_are_written_as_for_kubelet() -> None:
    given = plan.written(["memory.available<1Gi", "nodefs.available=5%"])
    assert given == {"memory.available": "1Gi", "nodefs.available": "5%"}
    with pytest.raises(ValueError, match=r"memory\.available has to be an amount"):
        plan.thresholds(plan.written(["memory.available"]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"swap.available": "1Mi"}, "swap.available is no eviction signal"),
        ({"memory.available": "lots"}, "not 'lots'"),
        ({"memory.available": "x%"}, "not 'x%'"),
        ({"memory.available": "-1Mi"}, "at least 0"),
        ({"nodefs.available": "101%"}, "at most 100%"),
    ],
)
def test_a_bad_threshold_is_named(given: Mapping[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan.thresholds(given)


def test_memory_comes_before_disk_and_what_is_not_measured_is_not_short() -> None:
    limits = plan.thresholds({"nodefs.available": "10%", "memory.available": "1Mi", "pid.available": "5"})
    amounts = {"memory.available": Amount(0, 10), "nodefs.available": Amount(9, 100)}
    assert [limit.signal for limit in plan.crossed(limits, amounts)] == [
        "memory.available",
        "nodefs.available",
    ]
    assert (
        plan.crossed(limits, amounts | {"memory.available": Amount(MI, 10)})[0].signal == "nodefs.available"
    )


def test_a_condition_holds_until_it_has_been_well_for_long_enough() -> None:
    (limit,) = plan.thresholds({"imagefs.available": "1Gi"})
    seen = plan.pressing([limit], {}, START, 300)
    assert list(seen) == ["DiskPressure"]
    assert plan.pressing([], seen, START + timedelta(seconds=299), 300) == seen
    assert plan.pressing([], seen, START + timedelta(seconds=300), 300) == {}


# --- who goes ---------------------------------------------------------------------------------------------


def memory(pod: Any, used: int) -> Use:
    return Use(pod=pod, memory={"app": used * MI})


def test_who_exceeds_its_request_goes_before_who_does_not_whatever_the_priority() -> None:
    within = memory(asking("within", 0, memory="100Mi"), 90)
    over = memory(asking("over", 1000, memory="100Mi"), 110)
    much = memory(asking("much", 1000), 200)
    lower = memory(asking("lower", 10, memory="1Mi"), 2)
    vital = memory(asking("vital", plan.CRITICAL_PRIORITY), 4000)
    found = plan.ranked("memory", [within, over, much, lower, vital])
    assert [use.pod.metadata.name for use in found] == ["lower", "much", "over", "within"]


def test_process_numbers_go_by_priority_alone_and_files_by_their_number() -> None:
    few, many = Use(pod=asking("few", 1), files=1), Use(pod=asking("many", 2), files=100)
    assert [use.pod.metadata.name for use in plan.ranked("pids", [many, few])] == ["few", "many"]
    same = [Use(pod=asking("few"), files=1), Use(pod=asking("many"), files=100)]
    assert [use.pod.metadata.name for use in plan.ranked("inodes", same)] == ["many", "few"]


def test_the_message_names_what_was_short_and_who_used_too_much() -> None:
    use = memory(asking(memory="64Mi"), 128)
    limit, amount = Threshold("memory.available", least=100 * MI), Amount(52 * 1024, 8 << 30)
    assert plan.message(limit, amount, use) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Ki. "
        "Container app was using 128Mi, request is 64Mi, has larger consumption of memory. "
    )
    disk = Use(pod=asking(), disk={"app": 3000})
    told = plan.message(Threshold("nodefs.available", least_percent=10), Amount(1, 1 << 30), disk)
    assert told.endswith("was using 3000, request is 0, has larger consumption of ephemeral-storage. ")


@pytest.mark.parametrize(
    ("spec", "use", "says"),
    [
        (
            {"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]},
            {"volumes": {"tmp": MI + 1}},
            'Usage of EmptyDir volume "tmp" exceeds the limit "1Mi". ',
        ),
        ({"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}]}, {"volumes": {"tmp": MI}}, ""),
        ({"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "0"}}]}, {"volumes": {"tmp": MI}}, ""),
        (
            {"limits": {"ephemeral-storage": "1Mi"}},
            {"disk": {"app": MI // 2}, "volumes": {"tmp": MI}},
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (
            {"limits": {"ephemeral-storage": "1Mi"}, "others": [container("other")]},
            {"disk": {"app": MI + 1}},
            'Container app exceeded its local ephemeral storage limit "1Mi". ',
        ),
        ({}, {"disk": {"app": 1 << 40}}, ""),
    ],
)
def test_a_pod_with_more_on_the_disk_than_it_may(
    spec: dict[str, Any], use: dict[str, Any], says: str
) -> None:
    main = container(resources={"limits": spec.get("limits", {})})
    pod = make_pod(containers=[main, *spec.get("others", [])], volumes=spec.get("volumes", []))
    assert plan.has_disk_limits(pod) is bool(spec)
    assert plan.over_limit(Use(pod=pod, **use)) == says


@pytest.mark.parametrize(
    ("pod", "conditions", "taken"),
    [
        (asking(), [], True),
        (asking(), ["MemoryPressure"], False),
        (asking(memory="1Mi"), ["MemoryPressure"], True),
        (asking(memory="1Mi"), ["DiskPressure"], False),
        (asking(memory="1Mi"), ["DiskPressure", "MemoryPressure"], False),
        (asking(priority=plan.CRITICAL_PRIORITY), ["DiskPressure"], True),
        (
            make_pod(tolerations=[{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]),
            ["MemoryPressure"],
            True,
        ),
    ],
)
def test_which_pods_a_node_in_need_takes(pod: Any, conditions: list[str], taken: bool) -> None:
    refusal = plan.refusal(pod, conditions)
    assert (refusal is None) is taken
    if refusal is not None:
        assert refusal.reason == "Evicted"
        assert refusal.message == f"Pod was rejected: The node had condition: [{' '.join(conditions)}]. "


# --- the machine ------------------------------------------------------------------------------------------


def test_the_machine_is_measured(tmp_path: Path) -> None:
    found = amounts(str(tmp_path), str(tmp_path))
    assert {"memory.available", "nodefs.available", "pid.available"} <= found.keys()
    assert "imagefs.available" not in found  # it is the node's own file system
    assert all(0 < amount.available <= amount.capacity for amount in found.values())


def test_what_a_directory_takes_up_is_counted_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "a" / "link").symlink_to("/usr")
    size_bytes, files = disk_use([tmp_path / "a", tmp_path / "none"])
    assert files == 3
    assert 100_000 <= size_bytes < 200_000


class World:
    """An agent with simulated pods, whose machine has what the test says."""

    def __init__(self, root: Path) -> None:
        self.clock = SimulatedClock()
        self.api = FakeApi()
        self.runtime = SimulatedRuntime(self.clock, RandomIds())
        self.left: dict[str, Amount] = WELL
        self.events: list[tuple[str, str]] = []
        self.after_reclaim: dict[str, Amount] = {}
        config = AgentConfig(
            node_name="node-1",
            node_ips=("192.0.2.1",),
            root_dir=str(root),
            log_dir=str(root / "logs"),
            eviction_hard=EVICTION_HARD,
        )
        machine = MachineInfo(cpus=4, memory_bytes=8 << 30, disk_bytes=100 << 30)
        self.agent = Agent(
            self.api.client, self.runtime, config, self.clock, record=self._record, machine=machine
        )
        self.manager = PressureManager(
            self.agent.host.workers,
            self.runtime,
            config,
            self.clock,
            reclaim=self._reclaim,
            warn=lambda reason, message: self.events.append((reason, message)),
            measure=lambda root, images: self.left,
        )

    def _record(self, about: Any, type: str, reason: str, message: str, **_: Any) -> None:
        self.events.append((reason, message))

    async def _reclaim(self) -> None:
        self.left = self.after_reclaim or self.left

    async def running(self, *pods: Any) -> None:
        for pod in pods:
            self.api.put(pod_path(pod.metadata.name), pod)
        names = [pod.metadata.name for pod in pods]
        async with asyncio.timeout(30):
            while any(self.api.pod(name).status.phase != "Running" for name in names):
                await asyncio.sleep(0.01)  # volumes are made by threads
                await self.clock.advance(0.001)

    async def look(self) -> list[str]:
        """A look, with time going on while it waits."""
        looking = asyncio.create_task(self.manager.look())
        async with asyncio.timeout(30):
            while not looking.done():
                await asyncio.sleep(0.01)
                await self.clock.advance(1)
        return [uid.removesuffix("-uid") for uid in await looking]


def run(root: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(root)
        task = asyncio.create_task(world.agent.run())
        try:
            await test(world)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await world.runtime.close()

    asyncio.run(main())


def test_one_pod_at_a_time_goes_and_tells_why(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.running(asking("modest", memory="1Gi"), asking("greedy"), asking("dear", 5))
        assert await world.look() == [] and world.manager.conditions() == frozenset()
        world.left = SHORT_OF_MEMORY
        assert await world.look() == ["greedy"]
        assert world.manager.conditions() == {"MemoryPressure"}
        status = world.api.pod("greedy").status
        assert (status.phase, status.reason) == ("Failed", "Evicted")
        assert (status.message or "").startswith(
            "The node was low on resource: memory. Threshold quantity: 100Mi"
        )
        (target,) = [c for c in status.conditions if c.type == "DisruptionTarget"]
        assert (target.status, target.reason) == ("True", "TerminationByKubelet")
        assert ("EvictionThresholdMet", "Attempting to reclaim memory") in world.events
        assert ("Evicted", status.message) in world.events
        assert await world.look() == ["dear"]
        assert await world.look() == ["modest"]
        assert await world.look() == []

    run(tmp_path, scenario)


def test_disk_is_freed_before_a_pod_has_to_go(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.running(asking())
        world.left, world.after_reclaim = {"nodefs.available": Amount(MI, 1 << 40)}, WELL
        assert await world.look() == []
        assert world.manager.conditions() == {"DiskPressure"}
        assert world.manager.refusal(asking("new", memory="1Mi")) is not None
        world.left, world.after_reclaim = {"nodefs.available": Amount(MI, 1 << 40)}, {}
        assert await world.look() == ["web"]

    run(tmp_path, scenario)


def test_a_pod_that_fills_its_volume_beyond_the_limit_goes_though_the_node_is_well(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        volume = {"name": "tmp", "emptyDir": {"sizeLimit": "64Ki"}}
        await world.running(make_pod("full", volumes=[volume]), make_pod("idle", volumes=[volume]))
        assert await world.look() == []
        uid = world.api.pod("full").metadata.uid
        place = tmp_path / "pods" / str(uid) / "volumes/kubernetes.io~empty-dir/tmp"
        (place / "file").write_bytes(b"x" * 100_000)
        assert await world.look() == ["full"]
        status = world.api.pod("full").status
        assert (status.reason, status.message) == (
            "Evicted",
            'Usage of EmptyDir volume "tmp" exceeds the limit "64Ki". ',
        )
        assert all(c.type != "DisruptionTarget" for c in status.conditions)
        assert world.api.pod("idle").status.phase == "Running"

    run(tmp_path, scenario)
