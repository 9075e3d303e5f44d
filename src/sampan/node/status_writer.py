"""Writes pod statuses: the newest only, one write at a time for each pod, nothing when nothing changed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import msgspec

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError, is_lost, is_not_found
from sampan.machinery.patch.ordering import merge_order
from sampan.node.names import PodKey
from sampan.schema import api, codec

WRITERS: Final = 32
TOGETHER_MOST: Final = 256
FIRST_RETRY_S: Final = 0.5
MOST_RETRY_S: Final = 15.0

_INVALID: Final = 422
_ONE_BY_ONE: Final = ConnectionError("the server has to be shown each status")
_log = logging.getLogger(__name__)
# Fields that the node owns wholly: absent in the new status means absent in the object.
_OWNED: Final = ("reason", "message", "podIP", "startTime", "observedGeneration")
_OWNED_IN_CONDITIONS: Final = ("reason", "message")
# Lists that would be merged by their key, so that an old address would stay.
_REPLACED: Final = ("podIPs", "hostIPs")
# What is not said in a patch.
_ABSENT: Final[tuple[object, ...]] = (None, [], {})


def status_patch(uid: str, before: api.PodStatus, status: api.PodStatus) -> dict[str, Any]:
    """The strategic merge patch that makes the API say `status` where it says `before`.

    Conditions merge by type, so that other people's (readiness gates, DisruptionTarget) stay; the uid in
    the metadata makes it fail for a pod of the same name that is another one.
    """
    patch: dict[str, Any] = codec.to_builtins(status)
    for name in _OWNED:
        patch.setdefault(name, None)
    for condition in patch.get("conditions", ()):
        for name in _OWNED_IN_CONDITIONS:
            condition.setdefault(name, None)
    for name in _REPLACED:
        # The directive is only understood for a list that is there already.
        if getattr(before, name) and getattr(before, name) != getattr(status, name):
            patch[name] = [{"$patch": "replace"}, *patch.get(name, ())]
    return {"metadata": {"uid": uid}, "status": patch}


def with_status(uid: str, status: api.PodStatus, pod: api.Pod) -> api.Pod:
    """The pod with `status`: what `status_patch` makes of it, without a patch.

    Raises nothing; the uid makes the server refuse where the pod is another one.
    """
    before = pod.status
    changes = {
        name: value
        for name in status.__struct_fields__
        if (value := getattr(status, name)) not in _ABSENT or name in _OWNED or name in _REPLACED
    }
    changes["conditions"] = _merged_conditions(before.conditions, status.conditions)
    metadata = msgspec.structs.replace(pod.metadata, uid=uid)
    return msgspec.structs.replace(pod, metadata=metadata, status=msgspec.structs.replace(before, **changes))


def _merged_conditions(
    before: list[api.PodCondition], wanted: list[api.PodCondition]
) -> list[api.PodCondition]:
    """By type, in the order in which a strategic merge puts them."""
    known = {condition.type: condition for condition in before}
    ours = {condition.type for condition in wanted}
    merged = [_merged_condition(known.get(condition.type), condition) for condition in wanted]
    if ours.issuperset(known):
        return merged
    made = {condition.type: condition for condition in merged}
    everything: Any = [made.pop(c.type, c) for c in before] + list(made.values())
    placed: Any = merge_order(everything, cast(Any, wanted), cast(Any, before), lambda c: cast(Any, c).type)
    return cast(list[api.PodCondition], placed)


def _merged_condition(before: api.PodCondition | None, wanted: api.PodCondition) -> api.PodCondition:
    if before is None:
        return msgspec.structs.replace(wanted)
    changes = {
        name: value
        for name in wanted.__struct_fields__
        if (value := getattr(wanted, name)) is not None or name in _OWNED_IN_CONDITIONS
    }
    return msgspec.structs.replace(before, **changes)


class _Pending(msgspec.Struct):
    key: PodKey
    before: api.PodStatus
    status: api.PodStatus | None
    task: asyncio.Task[None] | None = None
    # Of those that go together: what is under way, and who waits until nothing is.
    sent: api.PodStatus | None = None
    settled: asyncio.Future[None] | None = None
    # While a status of passing interest waits for the next one: set once it need not wait any more.
    go: asyncio.Event | None = None
    passing: bool = False


class StatusWriter:
    """Coalesces: while a pod's write is under way only the newest status after it is kept.

    `turns` is how many turns of the event loop a status waits before it is written: where containers start
    and stop at once, as simulated ones do, the steps in between are then no writes of their own. Where the
    server is in this process, those whose turns are over go to it together. `hold_s` is how long a
    status waits that the next one is about to replace: while containers start, processors are better spent on
    that.
    """

    def __init__(
        self, client: Client, clock: Clock, *, writers: int = WRITERS, turns: int = 0, hold_s: float = 0.0
    ) -> None:
        self._client = client
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._writers = asyncio.Semaphore(writers)
        self._turns = turns
        # Statuses that go together: the turn of the sweep at which each is due, in that order.
        self._due: deque[tuple[int, _Pending]] = deque()
        self._sweeper: asyncio.Task[None] | None = None
        self._turn = 0
        self._hold_s = hold_s
        self.written = 0

    def put(
        self, key: PodKey, before: api.PodStatus, status: api.PodStatus, *, passing: bool = False
    ) -> None:
        """Write `status` soon; `before` is what the API says as far as the caller knows.

        A `passing` one is expected to be replaced within moments.
        """
        entry = self._pending.get(key.uid)
        new = entry is None
        if entry is None:
            entry = self._pending[key.uid] = _Pending(key, before, status)
        waits, entry.status, entry.passing = entry.status is not None and not new, status, passing
        if entry.go is not None and not passing:
            entry.go.set()
        if entry.task is not None or entry.sent is not None or waits:
            return
        if self._turns and self._client.changes_in_place:
            self._await_sweep(entry)
        else:
            entry.task = asyncio.get_running_loop().create_task(self._write(entry))

    def waits(self, uid: str) -> bool:
        """Whether something waits to be written for that pod, or is under way."""
        return uid in self._pending

    async def flush(self, uid: str) -> None:
        """Return once nothing waits to be written for that pod."""
        entry = self._pending.get(uid)
        if entry is None:
            return
        entry.passing = False
        if entry.go is not None:
            entry.go.set()
        if entry.task is None:
            entry.settled = entry.settled or asyncio.get_running_loop().create_future()
            await asyncio.wait([entry.settled])
        if entry.task is not None:
            await asyncio.wait([entry.task])

    def close(self) -> None:
        """Drop what waits."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for entry in self._pending.values():
            if entry.task is not None:
                entry.task.cancel()

    # --- those that go together -----------------------------------------------------------------------

    def _await_sweep(self, entry: _Pending) -> None:
        self._due.append((self._turn + self._turns, entry))
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        """Write what is due, turn after turn, until nothing is."""
        while self._due:
            await asyncio.sleep(0)
            self._turn += 1
            batch: list[_Pending] = []
            while self._due and self._due[0][0] <= self._turn and len(batch) < TOGETHER_MOST:
                batch.append(self._due.popleft()[1])
            if batch:
                await self._write_together(batch)
        self._sweeper = None

    async def _write_together(self, batch: list[_Pending]) -> None:
        wanted = []
        for entry in batch:
            assert entry.status is not None
            make = partial(with_status, entry.key.uid, entry.status)
            wanted.append((entry.key.name, entry.key.namespace, make))
            entry.sent, entry.status = entry.status, None
        refusals: Sequence[Exception | None] | None
        try:
            refusals = await self._client.change_all(api.Pod, wanted, subresource="status")
        except (ApiError, ConnectionError, TimeoutError) as error:
            refusals = [error] * len(batch)
        # None where the server has begun to want to see what is sent.
        for entry, refused in zip(batch, refusals or [_ONE_BY_ONE] * len(batch), strict=True):
            self._settle(entry, refused)

    def _settle(self, entry: _Pending, error: Exception | None) -> None:
        sent, entry.sent = entry.sent, None
        lost = is_lost(error)
        if error is None:
            self.written += 1
        if error is not None and not lost:
            entry.status = entry.status or sent
            entry.task = asyncio.get_running_loop().create_task(self._write(entry))
        elif entry.status is not None and not lost:
            self._await_sweep(entry)
            return
        else:
            self._pending.pop(entry.key.uid, None)
        if entry.settled is not None and not entry.settled.done():
            entry.settled.set_result(None)

    async def _write(self, entry: _Pending) -> None:
        failures = 0
        while entry.status is not None:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            if entry.passing and self._hold_s:
                await self._hold(entry)
            status, entry.status = entry.status, None
            try:
                await self._patch(entry, status)
                failures = 0
            except ApiError as error:
                if is_lost(error) or await self._is_gone(entry, error):
                    break  # the pod is gone, or its name belongs to another one
                failures = await self._retry_later(entry, status, failures, error)
            except (ConnectionError, TimeoutError) as error:
                failures = await self._retry_later(entry, status, failures, error)
        self._pending.pop(entry.key.uid, None)

    async def _hold(self, entry: _Pending) -> None:
        entry.go = asyncio.Event()
        try:
            await first_done(entry.go.wait(), self._clock.sleep(self._hold_s))
        finally:
            entry.go = None

    async def _patch(self, entry: _Pending, status: api.PodStatus) -> None:
        key = entry.key
        async with self._writers:
            make = partial(with_status, key.uid, status)
            if await self._client.change(api.Pod, key.name, key.namespace, make, subresource="status"):
                self.written += 1
                return
            patch = status_patch(key.uid, entry.before, status)
            pod = await self._client.patch(
                api.Pod, key.name, key.namespace, patch, patch_type=STRATEGIC, subresource="status"
            )
        entry.before = pod.status
        self.written += 1

    async def _is_gone(self, entry: _Pending, error: ApiError) -> bool:
        """Whether what is called invalid is the uid: the name is another pod's by now."""
        if error.code != _INVALID:
            return False
        try:
            pod = await self._client.get(api.Pod, entry.key.name, entry.key.namespace)
        except (ApiError, ConnectionError, TimeoutError) as problem:
            return isinstance(problem, ApiError) and is_not_found(problem)
        return pod.metadata.uid != entry.key.uid

    async def _retry_later(
        self, entry: _Pending, status: api.PodStatus, failures: int, error: Exception
    ) -> int:
        _log.warning("the status of pod %s could not be written and is tried again: %s", entry.key, error)
        await self._clock.sleep(min(FIRST_RETRY_S * 2 ** min(failures, 8), MOST_RETRY_S))
        with suppress(ApiError, ConnectionError, TimeoutError):
            # What was held for the API's word may have been too old.
            entry.before = (await self._client.get(api.Pod, entry.key.name, entry.key.namespace)).status
        if entry.status is None:
            entry.status = status
        return failures + 1
