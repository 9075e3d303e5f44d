"""The short way of plain pods comes to what the machine comes to step by step."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.client.effects import Ref
from sampan.node import shortcut
from sampan.node.config import AgentConfig
from sampan.node.model import NodeFacts, PodState
from sampan.node.pods import PodHost
from sampan.node.runtimes.simulated import ANNOTATION, SimulatedRuntime
from sampan.schema import api
from tests.unit.node.fakes import FakeApi, container, make_pod, pod_path

FACTS = NodeFacts(name="node-1", ips=("192.0.2.1",))
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1}
FIELD = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}

PLAIN: list[dict[str, Any]] = [
    {},
    {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0},
    {"hostNetwork": True},
    {"containers": [container(), container("other", env=[{"name": "A", "value": "b"}], command=["sleep"])]},
    {"containers": [container(ports=[{"containerPort": 80}], resources={"requests": {"cpu": "1"}})]},
    {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {"runAsUser": 5}},
]
OTHERS: list[dict[str, Any]] = [
    {"initContainers": [container("setup")]},
    {"activeDeadlineSeconds": 30},
    {"containers": [container(readinessProbe=PROBE)]},
    {"containers": [container(livenessProbe=PROBE)]},
    {"containers": [container(startupProbe=PROBE)]},
    {"containers": [container(lifecycle={"preStop": {"exec": {"command": ["x"]}}})]},
    {"containers": [container(env=[FIELD])]},
    {"containers": [container(envFrom=[{"configMapRef": {"name": "m"}}])]},
    {"containers": [container(imagePullPolicy="Always")]},
    {"containers": [container(securityContext={"runAsNonRoot": True})]},
    {"securityContext": {"runAsNonRoot": True}},
    {"imagePullSecrets": [{"name": "s"}]},
    {"runtimeClassName": "other"},
    {"readinessGates": [{"conditionType": "example.com/up"}]},
]


class World:
    """A host of simulated pods beside a small API, with everything that it writes and tells."""

    def __init__(self, *, short: bool) -> None:
        self.clock, self.api = SimulatedClock(), FakeApi()
        self.runtime = SimulatedRuntime(self.clock, RandomIds(random.Random(7)))
        self.told: list[tuple[str, str, str, str]] = []
        config = AgentConfig(node_name="node-1", node_ips=FACTS.ips)
        self.host = PodHost(
            config,
            self.runtime,
            self.api.client,
            self.clock,
            nodes={"node-1": FACTS}.get,
            record=self._record,
            status_turns=8,
        )
        if not short:
            self.host._runs_pods = None
        self.pod: api.Pod | None = None

    def _record(
        self, about: Ref, type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        self.told.append((type, reason, message, field_path))

    async def have(self, pod: api.Pod) -> None:
        for each in pod.spec.containers:
            await self.runtime.pull_image(each.image or "", None)
        self.api.put(pod_path("web"), pod)
        await self.see()

    async def see(self) -> None:
        """Let the host see the pod as the API has it, and write what it wants to."""
        path = pod_path("web")
        new = self.api.pod("web") if path in self.api.objects else None
        self.host.pod_changed(self.pod, new)
        self.pod = new
        await self.clock.advance(0.01)

    async def delete(self) -> None:
        self.api.mark_deleted("web")
        await self.see()

    @property
    def state(self) -> PodState | None:
        worker = self.host.workers.get("web-uid")
        # What the API's own revision is depends on how often was written.
        return None if worker is None else replace(worker.state, pod=api.Pod())

    async def listing(self) -> tuple[Any, ...]:
        listed = await self.runtime.list()
        return listed.sandboxes, listed.containers

    @property
    def wrote(self) -> list[str]:
        return [method for method, path in self.api.requests if path.startswith(pod_path("web"))]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("shape", PLAIN)
def test_the_short_way_comes_to_what_the_steps_come_to(shape: dict[str, Any], held: bool) -> None:
    async def main() -> None:
        pod = make_pod("web", **shape)
        pod.metadata.finalizers = ["example.com/held"] if held else []
        assert shortcut.starts_plainly(pod)
        short, long = World(short=True), World(short=False)
        for world in (short, long):
            await world.have(pod)
        assert short.state is not None and short.state.sandbox is not None
        assert short.state == long.state
        assert await short.listing() == await long.listing()
        for world in (short, long):
            await world.see()
            assert world.api.pod("web").status.phase == "Running"
        assert short.state == long.state
        for world in (short, long):
            await world.delete()
        if held:
            assert short.state == long.state
        else:  # but for the last status, which nobody sees
            assert short.state is not None and long.state is not None and short.state.unseen
            assert replace(short.state, unseen=False, reported=long.state.reported) == long.state
        assert short.told == long.told
        assert short.told[-1][1] == "Killing"
        assert await short.listing() == await long.listing() == ((), ())
        assert short.wrote == long.wrote == (["PATCH", "PATCH", "DELETE"] if held else ["PATCH", "DELETE"])
        for world in (short, long):
            await world.see()
            assert not world.host.workers

    asyncio.run(main())


@pytest.mark.parametrize("shape", OTHERS)
def test_what_is_out_of_the_ordinary_goes_step_by_step(shape: dict[str, Any]) -> None:
    assert not shortcut.starts_plainly(make_pod("web", **shape))


def test_a_pod_that_says_how_it_behaves_goes_step_by_step() -> None:
    async def main() -> None:
        world = World(short=True)
        pod = make_pod("web", restartPolicy="Never")
        pod.metadata.annotations = {ANNOTATION: '{"run_s": 5, "exit_code": 3}'}
        exits = asyncio.create_task(world.host.follow_exits())
        await world.have(pod)
        await world.clock.advance(6)
        (container,) = world.api.pod("web").status.containerStatuses
        assert container.state is not None and container.state.terminated is not None
        assert container.state.terminated.exitCode == 3
        exits.cancel()

    asyncio.run(main())


def test_a_plain_pod_that_exits_is_seen_to() -> None:
    async def main() -> None:
        world = World(short=True)
        exits = asyncio.create_task(world.host.follow_exits())
        await world.have(make_pod("web"))
        ((_, (container,))) = await world.listing()
        world.runtime.exit_container(container.id, 1)
        await world.clock.advance(0.01)
        assert world.api.pod("web").status.containerStatuses[0].restartCount == 1
        world.runtime.kill_sandbox((await world.listing())[0][0].id)
        await world.clock.advance(1)
        assert "SandboxChanged" in [reason for _, reason, _, _ in world.told]
        exits.cancel()

    asyncio.run(main())


def test_a_pod_that_something_holds_after_all_gets_its_last_status() -> None:
    """A finalizer that comes between the look and the deletion."""

    async def main() -> None:
        world = World(short=True)
        await world.have(make_pod("web"))
        held = world.api.pod("web")
        await world.delete()
        assert pod_path("web") not in world.api.objects
        held.metadata.finalizers = ["example.com/held"]
        held.metadata.deletionTimestamp, held.metadata.deletionGracePeriodSeconds = world.clock.now(), 0
        world.api.put(pod_path("web"), held)
        await world.see()
        assert world.api.pod("web").status.phase == "Failed"

    asyncio.run(main())
