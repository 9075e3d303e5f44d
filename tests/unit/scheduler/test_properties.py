"""Whatever happens in whatever order, no node is over its allocatable and no host port is given twice."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.client.cache import Cache
from sampan.client.errors import ApiError
from sampan.scheduler.requests import demand
from sampan.scheduler.shell import Scheduler
from sampan.scheduler.table import NodeTable
from sampan.schema import api
from tests.unit.scheduler.objects import container, node, pod

CPUS = {"n1": "3", "n2": "2", "n3": "4"}
PORTS = (0, 0, 80, 81)


class Watched:
    """An informer whose events wait until they are delivered."""

    def __init__(self) -> None:
        self.cache: Cache[Any] = Cache()
        self.truth: dict[str, Any] = {}
        self._late: deque[tuple[str, Any]] = deque()
        self._handlers: list[Callable[[Any, Any], None]] = []

    def on_change(self, handler: Callable[[Any, Any], None]) -> None:
        self._handlers.append(handler)

    async def synced(self) -> None:
        return

    def set(self, name: str, obj: Any) -> None:
        self.truth.pop(name, None)
        if obj is not None:
            self.truth[name] = obj
        self._late.append((name, obj))

    def deliver(self) -> None:
        if not self._late:
            return
        name, obj = self._late.popleft()
        namespace = "" if name.startswith("n") else "default"
        old = self.cache.remove((namespace, name)) if obj is None else self.cache.put(obj)
        if old is None and obj is None:
            return
        changes = [(old, obj)]
        if old is not None and obj is not None and old.metadata.uid != obj.metadata.uid:
            changes = [(old, None), (None, obj)]
        for change in changes:
            for handler in self._handlers:
                handler(*change)

    def deliver_all(self) -> None:
        while self._late:
            self.deliver()


class World:
    """The API server's side: what is true, and bindings that wait for an answer."""

    def __init__(self, seed: int) -> None:
        self.pods, self.nodes = Watched(), Watched()
        self.bindings: list[tuple[api.Binding, asyncio.Future[None]]] = []
        self.clock = SimulatedClock()
        self._uids = 0
        chance = random.Random(seed)
        self.scheduler = Scheduler(
            cast(Any, self), cast(Any, self), self.clock, RandomIds(chance), chance=chance
        )

    def of(self, kind: type[Any]) -> Watched:
        watched = {api.Pod: self.pods, api.Node: self.nodes}
        return watched.get(kind) or Watched()

    async def post(self, path: str, binding: api.Binding, answer: type[Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bindings.append((binding, done))
        await done

    async def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        found = self.pods.truth.get(name)
        if found is None:
            raise ApiError.of(404, "NotFound", "gone")
        return found

    async def create(self, obj: Any) -> Any:
        return obj  # events

    async def patch(self, *_: Any, **__: Any) -> None:
        """Conditions; `touch_pod` stands for their coming back."""

    def add_pod(self, number: int, cpu: int, port: int) -> None:
        name = f"p{number}"
        if name not in self.pods.truth:
            self._uids += 1
            one = {
                **container(cpu=str(cpu)),
                "ports": [{"containerPort": 1, "hostPort": port}] if port else [],
            }
            self.pods.set(name, pod(name, uid=str(self._uids), containers=[one]))

    def touch_pod(self, number: int) -> None:
        """A status change, such as the scheduler's own condition."""
        held = self.pods.truth.get(f"p{number}")
        if held is not None:
            self.pods.set(f"p{number}", msgspec.structs.replace(held))

    def finish_pod(self, number: int) -> None:
        held = self.pods.truth.get(f"p{number}")
        if held is not None and held.spec.nodeName:
            status = msgspec.structs.replace(held.status, phase="Succeeded")
            self.pods.set(f"p{number}", msgspec.structs.replace(held, status=status))

    def put_node(self, name: str, **spec: Any) -> None:
        offered = {"cpu": CPUS[name], "memory": "9Gi", "pods": "3"}
        self.nodes.set(name, node(name, allocatable=offered, **spec))

    def answer(self, how: str) -> None:
        if not self.bindings:
            return
        binding, done = self.bindings.pop(0)
        name, target = binding.metadata.name or "", binding.target
        held = self.pods.truth.get(name)
        fits = held is not None and held.metadata.uid == binding.metadata.uid and not held.spec.nodeName
        if how in ("bound", "bound but unanswered") and fits and target is not None:
            spec = msgspec.structs.replace(held.spec, nodeName=target.name)
            self.pods.set(name, msgspec.structs.replace(held, spec=spec))
        if how == "bound" and fits:
            done.set_result(None)
        elif how in ("bound but unanswered", "lost"):
            done.set_exception(TimeoutError("no answer"))
        elif how == "broken":
            done.set_exception(ValueError("an answer that nobody understands"))
        else:
            done.set_exception(ApiError.of(409 if not fits else 403, "", "refused"))

    def check(self) -> None:
        for name, cpu in CPUS.items():
            here = [
                p
                for p in self.pods.truth.values()
                if p.spec.nodeName == name and p.status.phase != "Succeeded"
            ]
            asked = [demand(p) for p in here]
            assert sum(a.amounts.get("cpu", 0) for a in asked) <= 1000 * int(cpu)
            assert len(here) <= 3
            ports = [port for a in asked for port in a.ports]
            assert len(ports) == len(set(ports))

    def check_table(self) -> None:
        fresh = NodeTable()
        for each in self.nodes.truth.values():
            fresh.put(each)
        for held in self.pods.truth.values():
            row = fresh.rows.get(held.spec.nodeName or "")
            if row is not None and held.status.phase != "Succeeded":
                fresh.take(row, demand(held))
        assert self.scheduler.world.table.contents() == fresh.contents()


async def turns() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def play(seed: int, operations: list[tuple[Any, ...]]) -> None:
    world = World(seed)
    for name in ("n1", "n2"):
        world.put_node(name)
    world.nodes.deliver_all()
    running = asyncio.create_task(world.scheduler.run())
    try:
        await turns()
        for what, *arguments in operations:
            if what == "restart":
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                world.bindings.clear()
                running = asyncio.create_task(world.scheduler.run())
            elif what == "deliver":
                getattr(world, arguments[0]).deliver()
            elif what == "node goes":
                world.nodes.set(arguments[0], None)
            elif what == "pod goes":
                world.pods.set(f"p{arguments[0]}", None)
            elif what == "advance":
                await world.clock.advance(arguments[0])
            else:
                getattr(world, what)(*arguments)
            await turns()
            world.check()
        for _ in range(40):  # let everything come to rest
            world.pods.deliver_all()
            world.nodes.deliver_all()
            while world.bindings:
                world.answer("bound")
                await turns()
                world.check()
            await world.clock.advance(15)
        world.check_table()
        assert not running.done()
        for held in world.pods.truth.values():
            if not held.spec.nodeName:  # who still waits, waits for a reason
                assert all(why for _, _, why in world.scheduler.explain(held))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def start(world: World, *names: str) -> asyncio.Task[None]:
    for name in names:
        world.put_node(name)
    world.nodes.deliver_all()
    running = asyncio.create_task(world.scheduler.run())
    await turns()
    return running


async def end(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_binding_whose_answer_was_lost_keeps_its_room() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        world.answer("bound but unanswered")
        await turns()
        world.add_pod(2, 2, 0)
        world.pods._late.popleft()  # the watch is behind: of the first pod's binding it has not told yet
        world.pods.deliver()
        await turns()
        await world.clock.advance(30)
        assert world.bindings == []
        await end(running)

    asyncio.run(main())


def test_a_scheduler_that_begins_again_takes_up_unfinished_bindings() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        assert len(world.bindings) == 1
        await end(running)
        world.bindings.clear()  # it was never made
        running = await start(world)
        assert len(world.bindings) == 1
        world.answer("bound")
        world.pods.deliver_all()
        await turns()
        world.check_table()
        await end(running)

    asyncio.run(main())


def test_a_refused_binding_frees_its_room_for_others() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        for number in (1, 2):
            world.add_pod(number, 2, 0)
        world.pods.deliver_all()
        await turns()
        assert [b.metadata.name for b, _ in world.bindings] == ["p1"]
        world.answer("refused")
        await turns()
        assert [b.metadata.name for b, _ in world.bindings] == ["p2"]
        await end(running)

    asyncio.run(main())


def test_a_stale_event_after_a_binding_does_not_schedule_the_pod_again() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n1", "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        world.touch_pod(1)
        world.answer("bound")
        await turns()
        world.pods.deliver()  # the touch, from before the binding
        await turns()
        assert world.bindings == []
        await end(running)

    asyncio.run(main())


NUMBERS = st.integers(0, 6)
NODES = st.sampled_from(sorted(CPUS))
OPERATION = st.one_of(
    st.tuples(st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from(PORTS)),
    st.tuples(st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from(PORTS)),
    st.tuples(st.just("deliver"), st.sampled_from(["pods", "nodes"])),
    st.tuples(st.just("deliver"), st.just("pods")),
    st.tuples(
        st.just("answer"), st.sampled_from(["bound", "bound but unanswered", "lost", "broken", "refused"])
    ),
    st.tuples(st.just("answer"), st.just("bound")),
    st.tuples(st.just("touch_pod"), NUMBERS),
    st.tuples(st.just("finish_pod"), NUMBERS),
    st.tuples(st.just("pod goes"), NUMBERS),
    st.tuples(st.just("put_node"), NODES),
    st.tuples(st.just("node goes"), NODES),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 1, 15, 400])),
    st.tuples(st.just("restart")),
)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 9), st.lists(OPERATION, max_size=45))
def test_no_node_is_ever_over_its_allocatable(seed: int, operations: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(seed, operations))
