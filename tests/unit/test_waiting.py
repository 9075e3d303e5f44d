"""Waiting for the first of several, also where whoever waits is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from sampan.base.waiting import first_done

LIMIT_S = 20


async def nothing() -> None:
    pass


async def fails() -> None:
    raise ValueError("this one fails")


def test_the_others_are_cancelled_and_have_ended() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waits")

    asyncio.run(first_done(waits(), nothing()))
    assert ended == ["waits"]
    with pytest.raises(ValueError, match="this one fails"):
        asyncio.run(first_done(waits(), fails()))
    assert ended == ["waits"] * 2


def test_who_is_cancelled_while_the_others_end_hears_of_it() -> None:
    """Else it would go on, and whoever cancelled it would wait for its end for ever."""

    async def work() -> None:
        ending, may_end = asyncio.Event(), asyncio.Event()

        async def slow_to_end() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ending.set()
                await may_end.wait()
                raise

        waiting = asyncio.create_task(first_done(slow_to_end(), nothing()))
        async with asyncio.timeout(LIMIT_S):
            await ending.wait()
            waiting.cancel()
            may_end.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(work())
