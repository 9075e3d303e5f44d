"""The node scaler look by look: slow nodes, failures, processes that end between two effects."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sampan.apiserver.core.users import ADMIN
from sampan.apiserver.direct import DirectTransport
from sampan.autoscaler.nodes.config import GROUP_LABEL, Group, parse
from sampan.autoscaler.nodes.down import TO_BE_DELETED
from sampan.autoscaler.nodes.providers import ProviderError, delete_node
from sampan.autoscaler.nodes.scaler import NodeScaler
from sampan.client.client import Client
from sampan.client.informer import SharedInformers
from sampan.client.transport import Reply
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster

LOOK_S = 10
LOOKS_MOST = 60
LABELS = {"app": "web"}
CAPACITY = {"cpu": "2", "memory": "4Gi"}


class Died(ConnectionError):
    """The process that scales has ended."""


class Life:
    """Counts the effects of one process; after so many it is dead, and has no further ones."""

    def __init__(self, left: int | None = None) -> None:
        self.effects = 0
        self._left = left

    def effect(self) -> None:
        if self._left is not None and self.effects >= self._left:
            raise Died
        self.effects += 1


class Mortal:
    """A transport whose writes are effects of a life; events are not counted."""

    def __init__(self, cluster: Cluster, life: Life) -> None:
        self._inner = DirectTransport(cluster.server, ADMIN)
        self._life = life

    async def request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Reply:
        if method != "GET" and "/events" not in path:
            self._life.effect()
        return await self._inner.request(method, path, *args, **kwargs)

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        return self._inner.stream(path, query)

    async def close(self) -> None:
        return None


class Yard:
    """Machines that outlive the process that scales. `slow` ones are there and run no node yet."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.machines: dict[str, bool] = {}  # by name: whether it runs a node
        self.life = Life()
        self.slow = False
        self.refuses = ""
        self.calls: list[str] = []
        self.most = 0

    async def nodes(self, group: Group) -> list[str]:
        return sorted(self.machines)

    async def increase(self, group: Group, count: int) -> None:
        self.calls.append(f"increase {count}")
        if self.refuses:
            raise ProviderError(self.refuses)
        for _ in range(count):
            self.life.effect()
            name = f"machine-{len(self.calls)}-{len(self.machines)}"
            self.machines[name] = False
            self.most = max(self.most, len(self.machines))
            if not self.slow:
                await self.boot(name)

    async def delete(self, group: Group, names: Sequence[str]) -> None:
        self.calls.append(f"delete {' '.join(names)}")
        if self.refuses:
            raise ProviderError(self.refuses)
        for name in names:
            self.life.effect()
            if self.machines.pop(name, False):
                self.cluster.nodes.remove(name)
            await delete_node(Client(Mortal(self.cluster, self.life)), name)

    async def boot(self, name: str) -> None:
        self.machines[name] = True
        await self.cluster.nodes.add(name, capacity=CAPACITY, labels={"pool": "extra", GROUP_LABEL: "extra"})


class Scaled:
    """A cluster with a scaler that looks when it is told to, and can be exchanged."""

    def __init__(self, cluster: Cluster, **more: Any) -> None:
        self.cluster = cluster
        self.client = cluster.client
        self.yard = Yard(cluster)
        template = {"capacity": CAPACITY, "labels": {"pool": "extra"}}
        group = {"name": "extra", "max": 4, "provider": "command", "command": ["-"], "template": template}
        times = {"scaleDownUnneededTimeS": 20, "scaleDownDelayAfterAddS": 20, **more}
        self.config = parse({"groups": [group], **times})
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, left: int | None = None) -> None:
        self.cluster.call(self._start(Life(left)))

    async def _start(self, life: Life) -> None:
        await self._stop()
        self.yard.life = self.life = life
        client = Client(Mortal(self.cluster, life))
        informers = SharedInformers(client, self.cluster.clock)
        self.scaler = NodeScaler(client, informers, self.cluster.clock, self.config, {"command": self.yard})
        self._tasks = [asyncio.create_task(work) for work in (informers.run(), self.scaler.events.run())]
        await informers.synced()

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        self.cluster.call(self._stop())

    def look(self) -> None:
        """Let ten seconds pass and look once."""
        self.cluster.advance(LOOK_S)
        self.cluster.settle()
        self.cluster.call(self.scaler.look())
        self.cluster.settle()

    def look_until(self, condition: Any) -> None:
        for _ in range(LOOKS_MOST):
            if condition():
                return
            self.look()
        raise AssertionError(f"{condition} did not come to hold; the provider was told {self.yard.calls}")

    def deploy(self, replicas: int) -> None:
        resources = api.ResourceRequirements(requests={"cpu": quantity("1500m")})
        container = api.Container(name="c", image="c:1", resources=resources)
        template = api.PodTemplateSpec(
            metadata=api.ObjectMeta(labels=LABELS),
            spec=api.PodSpec(
                containers=[container], nodeSelector={"pool": "extra"}, terminationGracePeriodSeconds=0
            ),
        )
        spec = api.DeploymentSpec(
            replicas=replicas, selector=api.LabelSelector(matchLabels=LABELS), template=template
        )
        meta = api.ObjectMeta(name="web", namespace="default")
        self.client.create(api.Deployment(metadata=meta, spec=spec))
        self.cluster.wait_until(lambda: self.waiting() == replicas)

    def waiting(self) -> int:
        """How many pods the scheduler has found no node for."""
        pods = self.client.list(api.Pod, "default")
        said = [c for p in pods for c in p.status.conditions if c.type == "PodScheduled"]
        return sum(c.reason == "Unschedulable" for c in said)

    def scale(self, replicas: int) -> None:
        self.client.patch(api.Deployment, "web", "default", {"spec": {"replicas": replicas}})

    def running(self) -> int:
        return sum(p.status.phase == "Running" for p in self.client.list(api.Pod, "default"))

    def register(self, name: str) -> None:
        """The machine's node registers, and is not Ready yet."""
        said = api.NodeCondition(type="Ready", status="False", reason="KubeletNotReady")
        meta = api.ObjectMeta(name=name, labels={"pool": "extra", GROUP_LABEL: "extra"})
        node = self.client.create(api.Node(metadata=meta, spec=api.NodeSpec()))
        node.status.conditions = [said]
        self.client.update_status(node)

    def status(self) -> str:
        return self.client.get(api.ConfigMap, "cluster-autoscaler-status", "kube-system").data["status"]

    def extra(self) -> list[api.Node]:
        return self.client.list(api.Node, labels="pool=extra")

    def events(self, reason: str) -> list[str]:
        return [e.message or "" for e in self.client.list(api.Event, "default") if e.reason == reason]


@contextmanager
def scaled(**more: Any) -> Iterator[Scaled]:
    with Cluster() as cluster:
        made = Scaled(cluster, **more)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def test_a_node_that_is_slow_to_become_ready_brings_no_second_one() -> None:
    with scaled() as world:
        world.yard.slow = True
        world.deploy(1)
        world.look()
        (name,) = world.yard.machines
        for _ in range(5):
            world.look()
        world.register(name)
        for _ in range(5):
            world.look()
        world.start()  # a new process knows as much from when the node registered
        for _ in range(5):
            world.look()
        assert "notStarted: 1" in world.status()
        world.client.delete(api.Node, name)
        world.cluster.call(world.yard.boot(name))
        world.look_until(lambda: world.running() == 1)
        for _ in range(3):
            world.look()
        assert world.yard.calls == ["increase 1"]


def test_looking_again_changes_nothing() -> None:
    with scaled(scaleDownUnneededTimeS=10_000) as world:
        world.yard.slow = True
        world.deploy(3)
        world.look()
        world.look()  # the status says that they are on their way
        effects = world.life.effects
        for _ in range(5):
            world.look()
        assert (world.yard.calls, world.life.effects) == (["increase 3"], effects)
        for name in list(world.yard.machines):
            world.cluster.call(world.yard.boot(name))
        world.look_until(lambda: world.running() == 3)
        world.scale(1)
        for _ in range(4):
            world.look()
        effects = world.life.effects
        for _ in range(5):
            world.look()
        marked = [n for n in world.extra() if n.spec.taints]
        assert (len(marked), world.life.effects) == (2, effects)


def test_a_node_that_never_comes_is_given_up_and_its_group_backs_off() -> None:
    with scaled(maxNodeProvisionTimeS=60, initialNodeGroupBackoffS=100) as world:
        world.yard.slow = True
        world.deploy(1)
        for _ in range(7):
            world.look()
        (name,) = world.yard.machines
        assert world.yard.calls == ["increase 1"]
        world.look_until(lambda: world.yard.machines == {})
        assert world.yard.calls == ["increase 1", f"delete {name}"]
        assert "scaleUp: {status: Backoff}" in world.status()
        for _ in range(8):
            world.look()
        assert len(world.yard.calls) == 2
        world.yard.slow = False
        world.look_until(lambda: world.running() == 1)
        assert world.yard.calls[2:] == ["increase 1"]
        assert "scaleUp: {status: NoActivity}" in world.status()


def test_a_node_that_registered_and_never_became_ready_makes_room_for_another() -> None:
    with scaled(maxNodeProvisionTimeS=60, initialNodeGroupBackoffS=30, scaleDownUnreadyTimeS=40) as world:
        world.yard.slow = True
        world.deploy(1)
        world.look()
        (name,) = world.yard.machines
        world.register(name)
        world.yard.slow = False
        world.look_until(lambda: world.running() == 1)
        world.look_until(lambda: name not in world.yard.machines)
        assert world.yard.calls == ["increase 1", "increase 1", f"delete {name}"]


def test_a_provider_that_refuses_is_asked_ever_less_often() -> None:
    with scaled(initialNodeGroupBackoffS=30) as world:
        world.yard.refuses = "no quota"
        world.deploy(1)
        asked = []
        for at in range(40):
            before = len(world.yard.calls)
            world.look()
            asked += [at * LOOK_S] * (len(world.yard.calls) - before)
        assert asked == [0, 30, 90, 210]
        assert world.events("FailedToScaleUpGroup") == ["Scale-up failed: no quota"]
        assert len(world.events("NotTriggerScaleUp")) == 1
        world.yard.refuses = ""
        world.look_until(lambda: world.running() == 1)
        assert world.yard.most == 1


def test_a_node_that_is_not_deleted_stays_for_its_time_and_is_asked_for_again() -> None:
    with scaled() as world:
        world.deploy(1)
        world.look_until(lambda: world.running() == 1)
        world.scale(0)
        world.yard.refuses = "not now"
        world.look_until(lambda: any("delete" in call for call in world.yard.calls))
        told = world.client.list(api.Event, "default")
        assert [e.message for e in told if e.reason == "ScaleDownFailed"] == [
            "failed to delete the node: not now"
        ]
        assert TO_BE_DELETED not in [t.key for n in world.extra() for t in n.spec.taints]
        world.yard.refuses = ""
        world.look_until(lambda: world.extra() == [])
        assert world.yard.machines == {}


def live_through(cut: int | None) -> tuple[int, int]:
    """Grow to two nodes and shrink to none, ending the process after `cut` effects; gives how many there
    were, and how many machines at most."""
    with scaled() as world:
        if cut is not None:
            world.start(cut)

        def look() -> None:
            try:
                world.look()
            except Died:
                world.start()

        def look_until(condition: Any) -> None:
            for _ in range(LOOKS_MOST):
                if condition():
                    return
                look()
            raise AssertionError(f"after {cut} effects: {world.yard.calls}")

        world.deploy(2)
        look_until(lambda: world.running() == 2)
        look()  # does it bring more than are needed?
        world.scale(0)
        look_until(lambda: not world.extra() and not world.yard.machines)
        return world.life.effects, world.yard.most


EFFECTS_MOST = 16


def test_every_effect_is_followed_by_an_end_once() -> None:
    effects, most = live_through(None)
    assert 12 <= effects <= EFFECTS_MOST
    assert most == 2


@pytest.mark.parametrize("cut", range(EFFECTS_MOST))
def test_a_process_that_ends_between_two_effects_is_followed_by_one_that_finishes(cut: int) -> None:
    assert live_through(cut)[1] == 2


SCRIPT = """
import json, pathlib, sys
asked = json.load(sys.stdin)
kept = pathlib.Path(sys.argv[1])
state = json.loads(kept.read_text())
state["asked"].append(asked)
if asked["verb"] == "increase":
    state["nodes"] += [f"vm-{len(state['asked'])}-{n}" for n in range(asked["count"])]
if asked["verb"] == "delete":
    state["nodes"] = [name for name in state["nodes"] if name not in asked["nodes"]]
kept.write_text(json.dumps(state))
print(json.dumps({"nodes": state["nodes"]} if asked["verb"] == "nodes" else {}))
"""


def test_an_external_command_adds_and_deletes_nodes(tmp_path: Path) -> None:
    kept = tmp_path / "machines.json"
    kept.write_text(json.dumps({"nodes": [], "asked": []}))
    group = {
        "name": "extra",
        "max": 3,
        "provider": "command",
        "command": [sys.executable, "-c", SCRIPT, str(kept)],
        "template": {"capacity": CAPACITY, "labels": {"pool": "extra"}},
    }
    times = {"scaleDownUnneededTimeS": 60, "scaleDownDelayAfterAddS": 60}
    with Cluster(autoscaler={"groups": [group], **times}) as cluster:
        world = Scaled(cluster)

        def machines() -> list[str]:
            found: list[str] = json.loads(kept.read_text() or '{"nodes": []}')["nodes"]
            return found

        world.deploy(2)
        cluster.wait_until(lambda: len(machines()) == 2)
        for name in machines():
            cluster.call(cluster.nodes.add(name, capacity=CAPACITY, labels={"pool": "extra"}))
        cluster.wait_until(lambda: world.running() == 2)
        world.scale(0)
        cluster.wait_until(lambda: machines() == [] and world.extra() == [])
        asked = [q for q in json.loads(kept.read_text())["asked"] if q["verb"] != "nodes"]
    assert [(q["group"], q["verb"]) for q in asked] == [
        ("extra", "increase"),
        ("extra", "delete"),
        ("extra", "delete"),
    ]
    assert asked[0]["count"] == 2
    assert {name for q in asked[1:] for name in q["nodes"]} == {"vm-2-0", "vm-2-1"}
