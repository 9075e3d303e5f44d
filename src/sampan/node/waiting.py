"""Bounded waiting on a clock that may be simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sampan.base.clock import Clock

T = TypeVar("T")


async def within(clock: Clock, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises TimeoutError, and cancels it, once `limit_s` seconds have passed."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise TimeoutError(f"not done within {limit_s:g} s")
    finally:
        for one in (task, alarm):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await one
