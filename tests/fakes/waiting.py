"""Bounded waiting on conditions in tests: no timed assertions, a deadline instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
DEADLINE_S = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition()` holds; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)  # the condition is any function: there is no event to await


def run(main: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S * 2):
            return await main

    return asyncio.run(bounded())
