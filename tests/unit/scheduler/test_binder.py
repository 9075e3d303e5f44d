"""Bindings of one turn of the event loop travel together, and each gets its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from sampan.client.transport import Bind
from sampan.scheduler.binding import Binder
from tests.unit.scheduler.harness import World, end, start, turns

REFUSED = ValueError("refused")


class Transport:
    def __init__(self) -> None:
        self.carried: list[list[str]] = []
        self.problem: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def bind_all(self, wanted: Sequence[Bind]) -> list[Exception | None]:
        self.carried.append([bind.name for bind in wanted])
        await self.go.wait()
        if self.problem is not None:
            raise self.problem
        return [REFUSED if bind.name == "bad" else None for bind in wanted]


class Bench:
    def __init__(self) -> None:
        self.transport = Transport()
        self.tasks: list[asyncio.Task[None]] = []
        client = SimpleNamespace(transport=self.transport)
        self.binder = Binder(cast(Any, client), lambda work: self.tasks.append(asyncio.create_task(work)))

    def post(self, *names: str) -> list[asyncio.Task[Exception | None]]:
        return [asyncio.create_task(self.binder.post(("default", name), "uid", "n")) for name in names]


def test_each_has_its_own_answer() -> None:
    async def whole() -> None:
        bench = Bench()
        assert await asyncio.gather(*bench.post("a", "bad", "b")) == [None, REFUSED, None]
        assert bench.transport.carried == [["a", "bad", "b"]]
        assert await asyncio.gather(*bench.post("c")) == [None]
        assert bench.transport.carried[1:] == [["c"]]

    asyncio.run(whole())


def test_who_comes_later_does_not_wait_for_those_under_way() -> None:
    async def whole() -> None:
        bench = Bench()
        bench.transport.go.clear()
        first = bench.post("a", "b")
        await turns()
        bench.transport.go.set()
        bench.transport.go = asyncio.Event()
        second = bench.post("c")
        await turns()
        assert bench.transport.carried == [["a", "b"], ["c"]]
        assert [task.done() for task in (*first, *second)] == [True, True, False]
        bench.transport.go.set()
        assert await asyncio.gather(*second) == [None]

    asyncio.run(whole())


def test_what_goes_wrong_with_all_is_told_to_each_and_who_left_is_not_missed() -> None:
    async def whole() -> None:
        bench = Bench()
        bench.transport.problem = ConnectionError("gone")
        bench.transport.go.clear()
        leaving, *staying = bench.post("a", "b", "c")
        await turns()
        leaving.cancel()
        await turns()
        bench.transport.go.set()
        assert await asyncio.gather(*staying) == [bench.transport.problem] * 2
        assert leaving.cancelled()
        assert all(task.done() and task.exception() is None for task in bench.tasks)

    asyncio.run(whole())


def test_the_scheduler_binds_what_it_decided_in_one_turn_together() -> None:
    async def whole() -> None:
        world = World(1, together=True)
        running = await start(world, "n1", "n2")
        for number in range(4):
            world.add_pod(number, 0, 0)
        world.deliver_everything()
        await turns()
        assert world.transport is not None
        assert world.transport.carried == [4]
        for _ in range(4):
            world.answer("bound")
        await turns()
        world.deliver_everything()
        assert all(p.spec.nodeName for p in world.pods.truth.values())
        await end(running)

    asyncio.run(whole())
