from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.base.clock import SimulatedClock
from sampan.client.queue import WorkQueue
from tests.fakes.waiting import run


@asynccontextmanager
async def queue(
    first_s: float = 0.005, most_s: float = 1000.0
) -> AsyncIterator[tuple[WorkQueue[str], SimulatedClock]]:
    clock = SimulatedClock()
    made: WorkQueue[str] = WorkQueue(clock, first_s=first_s, most_s=most_s)
    task = asyncio.create_task(made.run())
    try:
        yield made, clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_keys_come_in_order_and_once() -> None:
    async def main() -> None:
        async with queue() as (work, _clock):
            for key in ("a", "b", "a", "c", "b"):
                work.add(key)
            assert [await work.get() for _ in range(3)] == ["a", "b", "c"]
            assert work.counts.adds == 3
            assert len(work) == 0

    run(main())


def test_a_key_added_while_worked_on_comes_again_after_done() -> None:
    async def main() -> None:
        async with queue() as (work, _clock):
            work.add("a")
            assert await work.get() == "a"
            work.add("a")
            work.add("a")
            assert len(work) == 0
            work.done("a")
            assert await work.get() == "a"
            work.done("a")
            assert work.idle

    run(main())


def test_failures_back_off_exponentially_up_to_a_limit_until_forgotten() -> None:
    async def main() -> None:
        async with queue(1, 8) as (work, _clock):
            assert [work.retry("a") for _ in range(6)] == [1, 2, 4, 8, 8, 8]
            assert work.retry("b") == 1
            assert work.failures("a") == 6
            work.forget("a")
            assert work.retry("a") == 1

    run(main())


def test_delayed_keys_come_when_they_are_due_the_earliest_delay_counts() -> None:
    async def main() -> None:
        async with queue() as (work, clock):
            work.add_after("late", 100)
            await clock.advance(1)
            work.add_after("soon", 10)
            work.add_after("late", 50)
            work.add_after("late", 500)
            assert work.delayed == 2
            await clock.advance(10)
            assert (len(work), await work.get()) == (1, "soon")
            await clock.advance(39.5)
            assert len(work) == 0
            await clock.advance(0.5)
            assert await work.get() == "late"
            await clock.advance(1000)
            assert len(work) == 0

    run(main())


def test_a_getter_that_is_cancelled_loses_no_key() -> None:
    async def main() -> None:
        async with queue() as (work, _clock):
            first = asyncio.create_task(work.get())
            second = asyncio.create_task(work.get())
            await asyncio.sleep(0)
            work.add("a")
            first.cancel()
            assert await second == "a"

    run(main())


STEPS = st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abcd")), max_size=60)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_no_key_is_worked_on_twice_at_once_and_none_is_lost(steps: list[tuple[str, str]]) -> None:
    async def main() -> None:
        work: WorkQueue[str] = WorkQueue(SimulatedClock())
        working: set[str] = set()
        owed: set[str] = set()  # added and not given out since
        for step, key in steps:
            if step == "add":
                work.add(key)
                owed.add(key)
            elif step == "get" and len(work):
                given_out = await work.get()
                assert given_out not in working
                assert given_out in owed
                owed.discard(given_out)
                working.add(given_out)
            elif step == "done" and key in working:
                work.done(key)
                working.discard(key)
        for key in list(working):
            work.done(key)
        rest = {await work.get() for _ in range(len(work))}
        assert rest == owed

    asyncio.run(main())
