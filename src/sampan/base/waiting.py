"""Waiting for whichever of several things comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_done(*works: Coroutine[Any, Any, object]) -> None:
    """Run all until one of them returns or fails; then cancel the others, and raise what that one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Raises only where whoever waits here is cancelled meanwhile, which must not be passed over.
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def set_or_done(event: asyncio.Event, *others: asyncio.Future[Any]) -> None:
    """Return once the event is set or one of `others` is done. Those go on, and what they raise is theirs."""
    woken = asyncio.create_task(event.wait())
    try:
        await asyncio.wait((woken, *others), return_when=asyncio.FIRST_COMPLETED)
    finally:
        woken.cancel()
