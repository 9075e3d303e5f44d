"""The simulated runtime and the fleet of simulated nodes."""

from __future__ import annotations

import asyncio

import pytest

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo
from sampan.node.node_objects import node_status
from sampan.node.runtimes.runtime import Runtime, RuntimeFailure, SandboxSpec
from sampan.node.runtimes.simulated import SimulatedRuntime, behaviour
from sampan.node.simulated_fleet import SimulatedNodes, renewal_period_s
from tests.unit.node.fakes import FakeApi, make_pod, pod_path


def test_the_simulated_runtime_is_a_runtime() -> None:
    runtime: Runtime = SimulatedRuntime(SimulatedClock(), RandomIds())
    assert runtime.name == "simulated"


def test_behaviour_is_read_from_the_annotation() -> None:
    text = '{"run_s": 5, "containers": {"web": {"run_s": 1, "exit_code": 2}}}'
    assert (behaviour(text, "db").run_s, behaviour(text, "db").exit_code) == (5, 0)
    assert (behaviour(text, "web").run_s, behaviour(text, "web").exit_code) == (1, 2)
    with pytest.raises(ValueError, match=r"sampan\.dev/simulate is not a simulation"):
        behaviour('{"run_s": "long"}', "web")


def test_addresses_come_from_the_range_and_are_used_again() -> None:
    async def main() -> None:
        runtime = SimulatedRuntime(SimulatedClock(), RandomIds(), pod_cidr="10.5.0.0/29")
        made = [
            await runtime.run_sandbox(SandboxSpec(namespace="d", name="p", uid=f"u{i}")) for i in range(5)
        ]
        listing = await runtime.list()
        assert [s.ips for s in listing.sandboxes] == [(f"10.5.0.{i}",) for i in range(2, 7)]
        with pytest.raises(RuntimeFailure, match=r"no address is left in 10\.5\.0\.0/29"):
            await runtime.run_sandbox(SandboxSpec(namespace="d", name="p", uid="u9"))
        await runtime.remove_sandbox(made[0])
        await runtime.remove_sandbox(made[0])
        await runtime.run_sandbox(SandboxSpec(namespace="d", name="p", uid="u9"))
        assert (await runtime.list()).sandboxes[-1].ips == ("10.5.0.2",)

    asyncio.run(main())


def test_a_fleet_registers_and_runs_pods_on_all_its_nodes() -> None:
    async def main() -> None:
        clock, api = SimulatedClock(), FakeApi()
        fleet = SimulatedNodes(api.client, clock, RandomIds(), 20, labels={"zone": "a"})
        task = asyncio.create_task(fleet.run())
        try:
            await clock.advance(0.1)
            await asyncio.wait_for(fleet.registered(), 10)
            assert len(fleet.names) == 20
            node = api.objects["/api/v1/nodes/node-7"]
            assert node["metadata"]["labels"]["zone"] == "a"
            assert node["status"]["capacity"] == {
                "cpu": "8",
                "ephemeral-storage": "100Gi",
                "hugepages-1Gi": "0",
                "hugepages-2Mi": "0",
                "memory": "32Gi",
                "pods": "110",
            }
            for index in range(1, 21):
                api.put(pod_path(f"p{index}"), make_pod(f"p{index}", node=f"node-{index}"))
            api.put(pod_path("other"), make_pod("other", node="not-ours"))
            await clock.advance(0.1)
            statuses = [api.pod(f"p{index}").status for index in range(1, 21)]
            assert {s.phase for s in statuses} == {"Running"}
            assert len({s.podIP for s in statuses}) == 20
            assert len({s.hostIP for s in statuses}) == 20
            assert api.pod("other").status.phase == "Pending"
            watches = [r for r in api.requests if r == ("GET", "/api/v1/pods")]
            assert len(watches) == 1
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("count", "asked_s", "expected_s"),
    [(1, 10, 10), (2000, 10, 10), (3000, 10, 15), (5000, 10, 16), (50_000, 10, 16), (5000, 30, 30)],
)
def test_many_nodes_renew_their_leases_less_often(count: int, asked_s: float, expected_s: float) -> None:
    assert renewal_period_s(count, asked_s) == expected_s


def test_leases_are_renewed_every_period_but_for_paused_nodes() -> None:
    async def main() -> None:
        clock, api = SimulatedClock(), FakeApi()
        fleet = SimulatedNodes(api.client, clock, RandomIds(), 5)
        task = asyncio.create_task(fleet.run())
        try:
            await clock.advance(1)
            await fleet.registered()

            def renewed() -> list[str]:
                path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-"
                return [api.objects[f"{path}{i}"]["spec"]["renewTime"] for i in range(1, 6)]

            fleet.pause("node-2")
            for _ in range(3):
                before = renewed()
                await clock.advance(10)
                assert [a > b for a, b in zip(renewed(), before, strict=True)] == [
                    True,
                    False,
                    True,
                    True,
                    True,
                ]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("version", "pressures", "expected"),
    [
        ("simulated://1", frozenset[str](), {"Ready": "True", "MemoryPressure": "False"}),
        ("", frozenset[str](), {"Ready": "False"}),
        ("simulated://1", frozenset({"DiskPressure"}), {"Ready": "True", "DiskPressure": "True"}),
    ],
)
def test_node_conditions(version: str, pressures: frozenset[str], expected: dict[str, str]) -> None:
    clock = SimulatedClock()
    status = node_status(
        AgentConfig(node_name="n", node_ips=("192.0.2.1",), reserved={"cpu": "500m", "memory": "1Gi"}),
        MachineInfo(cpus=2, memory_bytes=4 << 30),
        runtime_version=version,
        runtime_error="no socket",
        images=(),
        pressures=pressures,
        before=(),
        now=clock.now(),
    )
    found = {c.type: c.status for c in status.conditions}
    assert found == {**dict.fromkeys(("MemoryPressure", "DiskPressure", "PIDPressure"), "False"), **expected}
    assert status.allocatable["cpu"].text == "1500m"
    assert status.allocatable["memory"].whole() == 3 << 30
