"""Work begun at once: what never waits costs no task and no turn of the event loop."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any


def begin(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
    """Run `work` here and now, up to where it first waits.

    Gives what is left of it, for a task to carry on; None where it is over. Up to there it runs as part of
    whatever called: it must not ask which task it is in, as `asyncio.timeout` does. What it raises before it
    waits is raised here.
    """
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return _finish(work, waits_for)


async def _finish(work: Coroutine[Any, Any, None], waits_for: Any) -> None:
    await _rest_of(work, waits_for)


@types.coroutine
def _rest_of(work: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            answer = yield waits_for
        except BaseException as error:  # a cancellation, mostly: it is for the work to say what then
            go_on = partial(work.throw, error)
        else:
            go_on = partial(work.send, answer)
        try:
            waits_for = go_on()
        except StopIteration:
            return
