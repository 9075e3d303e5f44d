"""Containers of a pod with host ports start when the ports lead to it."""

from __future__ import annotations

import asyncio

import pytest

from sampan.node import host_ports
from sampan.node.agent import Agent
from sampan.schema import api
from tests.unit.node.fakes import container, make_pod, pod_path
from tests.unit.node.test_agent import CONFIG, MACHINE, World

PORT = {"containerPort": 8080, "hostPort": 80}


class Slow:
    """A proxy that leads nowhere until it is told to."""

    def __init__(self) -> None:
        self.asked: list[api.Pod] = []
        self.open = asyncio.Event()

    async def lead_to(self, pod: api.Pod) -> None:
        self.asked.append(pod)
        await self.open.wait()


class SlowWorld(World):
    def __init__(self) -> None:
        self.ports = Slow()
        super().__init__()

    def new_agent(self) -> Agent:
        return Agent(
            self.api.client,
            self.runtime,
            CONFIG,
            self.clock,
            record=self._record,
            machine=MACHINE,
            host_ports=self.ports,
        )


def mapped() -> api.Pod:
    return make_pod(containers=[container(ports=[PORT])])


def test_they_lead_to_the_pod_first() -> None:
    async def scenario() -> None:
        world = SlowWorld()
        await world.start()
        try:
            world.api.put(pod_path(), mapped())
            await world.settle(1)
            (asked,) = world.ports.asked
            assert asked.status.podIP and asked.status.hostIP == "192.0.2.1"
            assert world.phase() == "Pending" and not (await world.runtime.list()).containers
            world.ports.open.set()
            await world.settle(1)
            assert world.phase() == "Running"
            assert world.api.pod("web").status.podIP == asked.status.podIP
        finally:
            await world.stop()
            await world.runtime.close()

    asyncio.run(scenario())


def test_where_they_never_do_the_pod_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_ports, "OPEN_LIMIT_S", 0.0)

    async def scenario() -> None:
        world = SlowWorld()
        await world.start()
        try:
            world.api.put(pod_path(), mapped())
            await world.settle(1)
            state = world.api.pod("web").status.containerStatuses[0].state
            assert state is not None and state.waiting is not None
            assert state.waiting.reason == "CreateContainerError"
            assert "ports do not lead to the pod yet" in (state.waiting.message or "")
        finally:
            await world.stop()
            await world.runtime.close()

    asyncio.run(scenario())


def test_pods_without_any_ask_nobody() -> None:
    async def scenario() -> None:
        world = SlowWorld()
        await world.start()
        try:
            host = make_pod(containers=[container(ports=[PORT])], hostNetwork=True)
            world.api.put(pod_path(), host)
            await world.settle(1)
            assert world.phase() == "Running" and not world.ports.asked
        finally:
            await world.stop()
            await world.runtime.close()

    asyncio.run(scenario())
