"""What every process of a cluster does alike."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Final

from sampan.base import garbage
from sampan.base.clock import SystemClock
from sampan.cluster import tls

LISTEN_POLL_S: Final = 0.02
# Events of a pod's start are written once it has started: they would take the processors from that, and the
# API server's commits.
EVENTS_DELAY_S: Final = 0.5


async def until_told_to_stop() -> None:
    """Return on SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()


async def run_until_told_to_stop(work: Coroutine[None, None, None]) -> None:
    """Run `work`, and cancel it on SIGTERM or SIGINT. What it raises ends the process."""
    # What was loaded to get here stays: the collector need not look at it again.
    gc.freeze()
    garbage.look_seldom()
    gc.enable()
    task = asyncio.create_task(work)
    told = asyncio.create_task(until_told_to_stop())
    renewed = asyncio.create_task(tls.follow(SystemClock()))
    task.add_done_callback(lambda _: renewed.cancel())
    await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return
    told.cancel()
    task.result()


async def until_listening(host: str, port: int) -> None:
    """Return once somebody accepts connections: a client that starts earlier only fails and backs off."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(LISTEN_POLL_S)
        else:
            writer.close()
            return


def set_up_logging() -> None:
    """Sentences with a time, on stderr, which the supervisor puts into the part's log."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
