"""Pods that wait for a node: ready to try, backing off, or unschedulable until something changes. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Final

import msgspec

Key = tuple[str, str]  # namespace, name

FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 10.0
# A pod that no event has freed is tried again all the same after this long (as upstream).
FLUSH_AFTER_S: Final = 300.0


class Waiting(msgspec.Struct):
    """One pod in the queue."""

    key: Key
    uid: str
    priority: int
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    since_s: float = 0.0


class Queue:
    """Order: higher priority first, then first come. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._active: list[tuple[int, int, Key]] = []
        self._backing_off: list[tuple[float, int, Key]] = []
        self._unschedulable: dict[Key, Waiting] = {}
        self._known: dict[Key, Waiting] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def add(self, key: Key, uid: str, priority: int) -> None:
        """A new pod, or one that changed: it is tried next."""
        known = self._known.get(key)
        attempts = known.attempts if known is not None and known.uid == uid else 0
        self._unschedulable.pop(key, None)
        self._known[key] = Waiting(key, uid, priority, attempts)
        self._activate(self._known[key])

    def remove(self, key: Key) -> None:
        """The pod is gone or has a node; what is left of it in the heaps is passed over."""
        self._known.pop(key, None)
        self._unschedulable.pop(key, None)

    def pop(self, now_s: float) -> Waiting | None:
        """The next pod to try; None where there is none at this moment."""
        self._wake(now_s)
        while self._active:
            _, _, key = heapq.heappop(self._active)
            waiting = self._known.get(key)
            if waiting is not None and key not in self._unschedulable:
                waiting.attempts += 1
                return waiting
        return None

    def park(self, waiting: Waiting, refused_by: frozenset[str], now_s: float) -> None:
        """No node will do: wait until an event makes one of the refusing plugins change its mind."""
        if self._known.get(waiting.key) is waiting:
            waiting.refused_by, waiting.since_s = refused_by, now_s
            self._unschedulable[waiting.key] = waiting

    def retry_later(self, waiting: Waiting, now_s: float) -> None:
        """The try failed for a passing reason: again after the back-off."""
        if self._known.get(waiting.key) is waiting:
            waiting.since_s = now_s
            self._back_off(waiting)

    def changed(self, plugins: frozenset[str]) -> None:
        """Something happened that may turn these plugins round: let their pods try again."""
        freed = [w for w in self._unschedulable.values() if not w.refused_by or w.refused_by & plugins]
        for waiting in freed:
            del self._unschedulable[waiting.key]
            self._back_off(waiting)

    def next_due_s(self) -> float | None:
        """When the next pod comes out of back-off; None where nothing is timed."""
        times = [self._backing_off[0][0]] if self._backing_off else []
        times += [w.since_s + FLUSH_AFTER_S for w in self._unschedulable.values()]
        return min(times) if times else None

    def _wake(self, now_s: float) -> None:
        while self._backing_off and self._backing_off[0][0] <= now_s:
            _, _, key = heapq.heappop(self._backing_off)
            waiting = self._known.get(key)
            if waiting is not None and key not in self._unschedulable:
                self._activate(waiting)
        for waiting in list(self._stale(now_s)):
            del self._unschedulable[waiting.key]
            self._activate(waiting)

    def _stale(self, now_s: float) -> Iterator[Waiting]:
        return (w for w in self._unschedulable.values() if now_s - w.since_s >= FLUSH_AFTER_S)

    def _activate(self, waiting: Waiting) -> None:
        heapq.heappush(self._active, (-waiting.priority, next(self._order), waiting.key))

    def _back_off(self, waiting: Waiting) -> None:
        delay_s = min(FIRST_BACKOFF_S * 2 ** max(waiting.attempts - 1, 0), MAX_BACKOFF_S)
        heapq.heappush(self._backing_off, (waiting.since_s + delay_s, next(self._order), waiting.key))
