"""A work queue with the promises of client-go's: a key is worked on once at a time, and never forgotten."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from sampan.base.clock import Clock

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST_S: Final = 0.005
BACKOFF_MOST_S: Final = 1000.0


# The upper bounds of what durations are counted in: ten times each the one before, as in client-go.
DURATION_BUCKETS_S: Final = tuple(10.0**power for power in range(-8, 4))


class Durations:
    """How many durations there were, by length."""

    __slots__ = ("buckets", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(DURATION_BUCKETS_S) + 1)  # the last is for what is longer than all bounds
        self.total_s = 0.0

    def add(self, duration_s: float) -> None:
        self.buckets[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        self.total_s += duration_s


class Counts:
    """What a queue has done so far, for metrics."""

    __slots__ = ("adds", "done", "queued", "retries", "worked")

    def __init__(self) -> None:
        self.adds = 0
        self.done = 0
        self.retries = 0
        self.queued = Durations()  # how long keys waited
        self.worked = Durations()  # how long they were worked on


class WorkQueue(Generic[K]):
    """Keys in the order in which they came, each at most once.

    A key that is added while it is being worked on is given out again after `done`. Failures back off
    exponentially for each key (`retry`), until `forget`. A queue holds a key once, so what bounds it is the
    number of objects. `run` must be running for delayed keys to come.
    """

    def __init__(
        self, clock: Clock, *, first_s: float = BACKOFF_FIRST_S, most_s: float = BACKOFF_MOST_S
    ) -> None:
        self.counts = Counts()
        self._clock = clock
        self._first_s = first_s
        self._most_s = most_s
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._working: dict[K, float] = {}
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._delayed: list[tuple[float, int, K]] = []
        self._due_s: dict[K, float] = {}
        self._order = itertools.count()
        self._getters: list[asyncio.Future[None]] = []
        self._rearm = asyncio.Event()

    def __len__(self) -> int:
        """How many keys wait to be worked on now (the depth)."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due_s)

    @property
    def working(self) -> int:
        return len(self._working)

    def running_s(self) -> list[float]:
        """For how long each key that is worked on now has been."""
        now_s = self._clock.monotonic_s()
        return [now_s - began_s for began_s in self._working.values()]

    @property
    def idle(self) -> bool:
        """Nothing to do now; keys may still wait for their time."""
        return not self._ready and not self._working

    def failures(self, key: K) -> int:
        """How often the key failed since it last succeeded."""
        return self._failures.get(key, 0)

    def add(self, key: K) -> None:
        """Have the key worked on soon."""
        if key in self._working:
            self._again.add(key)
            return
        if key in self._ready:
            return
        self.counts.adds += 1
        self._ready[key] = self._clock.monotonic_s()
        self._wake_one()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have the key worked on after `delay_s`; of several delays the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due_s = self._clock.monotonic_s() + delay_s
        known_s = self._due_s.get(key)
        if known_s is not None and known_s <= due_s:
            return
        self._due_s[key] = due_s
        heapq.heappush(self._delayed, (due_s, next(self._order), key))
        if self._delayed[0][2] == key:
            self._rearm.set()

    def retry(self, key: K) -> float:
        """Have the key worked on after its next back-off, which is returned in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.counts.retries += 1
        delay_s = min(self._first_s * 2.0 ** min(failures, 64), self._most_s)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure backs off from the start."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key. Call `done` with it, whatever becomes of it."""
        while not self._ready:
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._ready:
                    self._wake_one()
                raise
        key, since_s = self._ready.popitem(last=False)
        now_s = self._clock.monotonic_s()
        self.counts.queued.add(now_s - since_s)
        self._working[key] = now_s
        return key

    def done(self, key: K) -> None:
        """The key is no longer worked on."""
        began_s = self._working.pop(key)
        self.counts.done += 1
        self.counts.worked.add(self._clock.monotonic_s() - began_s)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def run(self) -> None:
        """Let delayed keys come when they are due, until cancelled."""
        while True:
            self._rearm.clear()
            now_s = self._clock.monotonic_s()
            while self._delayed and self._delayed[0][0] <= now_s:
                due_s, _, key = heapq.heappop(self._delayed)
                if self._due_s.get(key) == due_s:
                    del self._due_s[key]
                    self.add(key)
            if not self._delayed:
                await self._rearm.wait()
            else:
                await self._sleep(self._delayed[0][0] - now_s)

    async def _sleep(self, delay_s: float) -> None:
        """Sleep, but no longer than until an earlier key is added."""
        timer = asyncio.ensure_future(self._clock.sleep(delay_s))
        timer.add_done_callback(self._timer_done)
        try:
            await self._rearm.wait()
        finally:
            timer.cancel()

    def _timer_done(self, timer: asyncio.Future[None]) -> None:
        # One that was cancelled has nothing to say: its word would end the next sleep at once, and so on.
        if not timer.cancelled():
            self._rearm.set()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.pop(0)
            if not getter.done():
                getter.set_result(None)
                return
