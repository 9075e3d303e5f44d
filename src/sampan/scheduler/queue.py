"""Pods that wait for a node: ready to try, backing off, or unschedulable until something changes. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from sampan.scheduler.podinfo import PodInfo

Key = tuple[str, str]  # namespace, name

FIRST_BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 10.0
# Back-offs that end within one such window count as ended together (as upstream).
WINDOW_S: Final = 1.0
MOST_DOUBLINGS: Final = 32
# A pod that no event has freed is tried again all the same after this long (as upstream).
FLUSH_AFTER_S: Final = 300.0
# Where nothing else is ready, pods that an event has freed need not sit out their back-off (as upstream);
# but no more than this many in a second, so that thousands that cannot fit do not keep the scheduler busy.
EARLY_TRIES_A_SECOND: Final = 100


class Place(Enum):
    """Where a pod is in the queue."""

    ACTIVE = "active"
    BACKING_OFF = "backing off"
    UNSCHEDULABLE = "unschedulable"
    IN_FLIGHT = "in flight"  # popped: being decided for, or being bound


class Waiting(msgspec.Struct, eq=False):
    """One pod in the queue. `turn` tells its one valid entry in the heaps from stale ones."""

    key: Key
    uid: str
    priority: int
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    since_s: float = 0.0
    place: Place = Place.ACTIVE
    turn: int = 0
    failed: bool = False  # the last try failed for another reason than that no node would do
    rank: float = 0.0  # among pods of one priority: the lower the earlier
    # What the scheduler knows of the pod, for as long as the pod is that very object.
    info: PodInfo | None = None
    popped_after: int = 0  # how many events there had been when its try began

    def tried_again_at_s(self, first_s: float, most_s: float) -> float:
        """When the back-off ends: `first_s` after the first try, doubling up to `most_s`."""
        doublings = min(max(self.attempts - 1, 0), MOST_DOUBLINGS)
        return self.since_s + min(first_s * 2.0**doublings, most_s)

    @property
    def flushed_at_s(self) -> float:
        return self.since_s + FLUSH_AFTER_S


class _BackOff:
    """Pods that back off: who is due first; of those that are due within one second, as in the queue."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, float, int, float, Waiting]] = []

    def push(self, due_s: float, waiting: Waiting) -> None:
        entry = (int(due_s // WINDOW_S), -waiting.priority, waiting.rank, waiting.turn, due_s, waiting)
        heapq.heappush(self._heap, entry)

    def next_due_s(self) -> float | None:
        """When the first is due; None where nobody is here."""
        while self._heap and self._heap[0][5].turn != self._heap[0][3]:
            heapq.heappop(self._heap)
        return self._heap[0][4] if self._heap else None

    def pop(self) -> Waiting:
        return heapq.heappop(self._heap)[5]

    def clear(self) -> None:
        self._heap.clear()


class Queue:
    """Order: higher priority first, then lower rank, then first come. Times are monotonic seconds."""

    def __init__(
        self, *, first_backoff_s: float = FIRST_BACKOFF_S, max_backoff_s: float = MAX_BACKOFF_S
    ) -> None:
        self._backoffs_s = first_backoff_s, max_backoff_s
        self._order = itertools.count(1)
        self._active: list[tuple[int, float, int, Waiting]] = []
        self._backing_off = _BackOff()
        self._failing = _BackOff()  # those that failed for another reason: they sit out their back-off
        self._known: dict[Key, Waiting] = {}
        self._unschedulable: dict[Key, Waiting] = {}  # in the order of their flushing
        # How many of those wait for each set of plugins.
        self._refusals: Counter[frozenset[str]] = Counter()
        self._early_second = -1
        self._early_left = 0
        self._events = 0

    @property
    def _heaps(self) -> tuple[_BackOff, _BackOff]:
        return self._backing_off, self._failing

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def find(self, key: Key) -> Waiting | None:
        return self._known.get(key)

    def add(self, key: Key, uid: str, priority: int, rank: float = 0.0) -> None:
        """A new pod, or one that changed: it is tried next. One in flight is not tried twice at once."""
        known = self._known.get(key)
        if known is not None and known.uid == uid:
            self.rerank(key, uid, rank)
            known.priority = priority
            if known.place is not Place.IN_FLIGHT:
                self._activate(known)
            return
        self._forget(known)
        self._known[key] = Waiting(key, uid, priority, rank=rank)
        self._activate(self._known[key])

    def rerank(self, key: Key, uid: str, rank: float) -> None:
        """The pod's rank among those of its priority changed; nothing else did: it waits as before."""
        known = self._known.get(key)
        if known is None or known.uid != uid or known.rank == rank:
            return
        known.rank = rank
        if known.place is Place.ACTIVE:
            self._push_active(known)
        elif known.place is Place.BACKING_OFF:
            self._back_off(known)

    def remove(self, key: Key, uid: str) -> None:
        """The pod is gone or has a node. Another pod of the same name stays."""
        known = self._known.get(key)
        if known is not None and known.uid == uid:
            self._forget(known)

    def pop(self, now_s: float) -> Waiting | None:
        """The next pod to try, in flight from now on; None where there is none at this moment."""
        self._wake(now_s)
        waiting = self._next_active() or self._next_early(now_s)
        if waiting is not None:
            self._move(waiting, Place.IN_FLIGHT)
            waiting.attempts += 1
            waiting.popped_after = self._events
        return waiting

    def take(self, key: Key) -> Waiting | None:
        """This one pod, wherever it waits, in flight from now on; None where it does not wait."""
        waiting = self._known.get(key)
        if waiting is None or waiting.place is Place.IN_FLIGHT:
            return None
        self._move(waiting, Place.IN_FLIGHT)
        waiting.attempts += 1
        waiting.popped_after = self._events
        return waiting

    def park(self, waiting: Waiting, refused_by: frozenset[str], now_s: float) -> None:
        """No node will do: wait until an event makes one of the refusing plugins change its mind.

        Where something happened during the try, it may have come too late for it: then only back-off.
        """
        if self._known.get(waiting.key) is waiting:
            waiting.refused_by, waiting.since_s, waiting.failed = refused_by, now_s, False
            if waiting.popped_after != self._events:
                self._back_off(waiting)
                return
            self._move(waiting, Place.UNSCHEDULABLE)
            self._unschedulable[waiting.key] = waiting
            self._refusals[refused_by] += 1

    def retry_later(self, waiting: Waiting, now_s: float) -> None:
        """The try failed for a passing reason: again after the back-off."""
        if self._known.get(waiting.key) is waiting:
            waiting.since_s, waiting.failed = now_s, True
            self._back_off(waiting)

    def changed(self, frees: Callable[[Waiting], bool]) -> None:
        """Something happened: let the pods try again for which it may make a difference."""
        self._events += 1
        if self._unschedulable:
            for waiting in [w for w in self._unschedulable.values() if not w.refused_by or frees(w)]:
                self._back_off(waiting)

    @property
    def parked(self) -> bool:
        """Whether any pod waits for an event."""
        return bool(self._unschedulable)

    def any_refused_by(self, plugins: frozenset[str]) -> bool:
        """Whether any pod waits for an event because one of these plugins refused it."""
        return any(not plugins.isdisjoint(refused_by) for refused_by in self._refusals)

    def activate(self, key: Key) -> None:
        """Try a pod that waits at once, as where what it waited for is there."""
        waiting = self._known.get(key)
        if waiting is not None and waiting.place is not Place.IN_FLIGHT:
            self._activate(waiting)

    def next_due_s(self) -> float | None:
        """When `pop` next has something without an event; None where nothing is timed."""
        times = [due_s for heap in self._heaps if (due_s := heap.next_due_s()) is not None]
        oldest = next(iter(self._unschedulable.values()), None)
        if oldest is not None:
            times.append(oldest.flushed_at_s)
        return min(times) if times else None

    def start_over(self) -> None:
        """Forget every pod; for a scheduler that begins again."""
        for waiting in list(self._known.values()):
            self._forget(waiting)
        self._active.clear()
        for heap in self._heaps:
            heap.clear()

    def _wake(self, now_s: float) -> None:
        for heap in self._heaps:
            while (due_s := heap.next_due_s()) is not None and due_s <= now_s:
                self._activate(heap.pop())
        for waiting in list(self._unschedulable.values()):
            if waiting.flushed_at_s > now_s:
                break
            self._activate(waiting)

    def _next_active(self) -> Waiting | None:
        while self._active:
            _, _, turn, waiting = heapq.heappop(self._active)
            if waiting.turn == turn:
                return waiting
        return None

    def _next_early(self, now_s: float) -> Waiting | None:
        if self._early_second != int(now_s):
            self._early_second, self._early_left = int(now_s), EARLY_TRIES_A_SECOND
        if not self._early_left or self._backing_off.next_due_s() is None:
            return None
        self._early_left -= 1
        return self._backing_off.pop()

    def _move(self, waiting: Waiting, place: Place) -> None:
        parked = self._unschedulable.pop(waiting.key, None)
        if parked is not None:
            self._refusals[parked.refused_by] -= 1
            if not self._refusals[parked.refused_by]:
                del self._refusals[parked.refused_by]
        waiting.place = place
        waiting.turn = next(self._order)

    def _forget(self, waiting: Waiting | None) -> None:
        if waiting is not None:
            self._move(waiting, Place.IN_FLIGHT)  # whatever the heaps hold of it is stale now
            del self._known[waiting.key]

    def _activate(self, waiting: Waiting) -> None:
        if waiting.place is Place.ACTIVE and waiting.turn:
            return  # it keeps its turn, whatever changed of it
        self._push_active(waiting)

    def _push_active(self, waiting: Waiting) -> None:
        self._move(waiting, Place.ACTIVE)
        heapq.heappush(self._active, (-waiting.priority, waiting.rank, waiting.turn, waiting))

    def _back_off(self, waiting: Waiting) -> None:
        self._move(waiting, Place.BACKING_OFF)
        due_s = waiting.tried_again_at_s(*self._backoffs_s)
        (self._failing if waiting.failed else self._backing_off).push(due_s, waiting)
