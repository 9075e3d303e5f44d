"""The queues of one priority level: fair queueing in virtual time. Pure: it is told what time it is.

A request takes seats while it runs. Where all are taken it waits in one of the queues of its flow's hand, and
the queue whose head would be done first, had every queue had its fair share all along, goes next.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from sampan.apiserver.core.flowcontrol.sharding import deal

CONCURRENCY_LIMIT: Final = "concurrency-limit"
QUEUE_FULL: Final = "queue-full"
TIME_OUT: Final = "time-out"
# What a request is thought to take until it is known; as in kube-apiserver.
_GUESS_S: Final = 0.003


class Queuing(msgspec.Struct, frozen=True):
    """How a level queues what does not fit."""

    queues: int
    hand_size: int
    queue_length: int


class Queue:
    """One queue. `next_start` is when, in virtual time, its next request would start."""

    __slots__ = ("next_start", "running", "seats_running", "seats_waiting", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.running = 0
        self.seats_running = 0
        self.seats_waiting = 0
        self.next_start = 0.0


class Ticket:
    """One request at a level: it waits (`queue` is set, `running` false), or it runs."""

    __slots__ = ("arrived_s", "queue", "running", "seats", "started_s")

    def __init__(self, seats: int, arrived_s: float) -> None:
        self.seats = seats
        self.arrived_s = arrived_s
        self.started_s = arrived_s
        self.queue: Queue | None = None
        self.running = False


class QueueSet:
    """Admits requests to the seats of one level."""

    def __init__(self, queuing: Queuing | None, limit: int) -> None:
        self.limit = limit
        self.seats_in_use = 0
        self.running = 0
        self.waiting = 0
        self.seats_waiting = 0
        self._queuing: Queuing | None = None
        self._queues: list[Queue] = []
        # Queues with requests that wait or run, in the order in which they came to life.
        self._active: dict[Queue, None] = {}
        self._virtual = 0.0
        self._virtual_at_s = 0.0
        self.configure(queuing)

    def configure(self, queuing: Queuing | None) -> None:
        """Queue differently from now on; what waits keeps its place."""
        if queuing == self._queuing:
            return
        self._queuing = queuing
        self._queues = [Queue() for _ in range(queuing.queues)] if queuing is not None else []

    def arrive(self, flow: int, seats: int, now_s: float) -> Ticket | str:
        """A ticket that runs or waits; else the reason why the request is turned away.

        While nobody waits and there is room, no queue is charged: fairness matters where there is a queue.
        """
        if not self.waiting and self._fits(seats):
            ticket = Ticket(seats, now_s)
            self._run(ticket, now_s)
            return ticket
        queuing = self._queuing
        if queuing is None:
            return CONCURRENCY_LIMIT
        queue = self._choose(flow, queuing)
        if len(queue.waiting) >= queuing.queue_length:
            return QUEUE_FULL
        ticket = Ticket(seats, now_s)
        self._enqueue(ticket, queue, now_s)
        return ticket

    def finish(self, ticket: Ticket, now_s: float) -> list[Ticket]:
        """The request is done. Returns those that run from now on."""
        self.seats_in_use -= ticket.seats
        self.running -= 1
        queue = ticket.queue
        if queue is not None:
            self._advance(now_s)
            queue.running -= 1
            queue.seats_running -= ticket.seats
            # The queue was charged by guess: now it is charged what the request took.
            queue.next_start += ticket.seats * (now_s - ticket.started_s - _GUESS_S)
            self._retire(queue)
        return self._dispatch(now_s) if self.waiting else []

    def give_up(self, ticket: Ticket, now_s: float) -> list[Ticket]:
        """The request waits no longer. Returns those that run from now on; no-op where it runs."""
        queue = ticket.queue
        if ticket.running or queue is None:
            return []
        self._advance(now_s)
        queue.waiting.remove(ticket)
        self._left(queue, ticket)
        self._retire(queue)
        return self._dispatch(now_s) if self.waiting else []

    def resize(self, limit: int, now_s: float) -> list[Ticket]:
        """Have another number of seats. Returns those that run from now on."""
        self._advance(now_s)
        self.limit = limit
        return self._dispatch(now_s)

    def _fits(self, seats: int) -> bool:
        # What wants more seats than there are runs alone, or it would never run.
        return self.seats_in_use + seats <= self.limit or (seats > self.limit > 0 and not self.running)

    def _run(self, ticket: Ticket, now_s: float) -> None:
        ticket.running = True
        ticket.started_s = now_s
        self.seats_in_use += ticket.seats
        self.running += 1

    def _choose(self, flow: int, queuing: Queuing) -> Queue:
        """The least burdened queue of the flow's hand."""
        hand = [self._queues[card] for card in deal(flow, queuing.queues, queuing.hand_size)]
        return min(hand, key=lambda queue: (queue.seats_waiting + queue.seats_running, len(queue.waiting)))

    def _enqueue(self, ticket: Ticket, queue: Queue, now_s: float) -> None:
        self._advance(now_s)
        if queue not in self._active:
            self._active[queue] = None
            # Having been idle is no credit.
            queue.next_start = max(queue.next_start, self._virtual) if queue.running else self._virtual
        ticket.queue = queue
        queue.waiting.append(ticket)
        queue.seats_waiting += ticket.seats
        self.waiting += 1
        self.seats_waiting += ticket.seats

    def _left(self, queue: Queue, ticket: Ticket) -> None:
        queue.seats_waiting -= ticket.seats
        self.waiting -= 1
        self.seats_waiting -= ticket.seats

    def _retire(self, queue: Queue) -> None:
        if not queue.waiting and not queue.running:
            self._active.pop(queue, None)

    def _dispatch(self, now_s: float) -> list[Ticket]:
        started: list[Ticket] = []
        while self.waiting:
            queue = min(
                (queue for queue in self._active if queue.waiting),
                key=lambda queue: (
                    queue.next_start + queue.waiting[0].seats * _GUESS_S,
                    queue.waiting[0].arrived_s,
                ),
            )
            if not self._fits(queue.waiting[0].seats):
                break
            self._advance(now_s)
            ticket = queue.waiting.popleft()
            self._left(queue, ticket)
            queue.running += 1
            queue.seats_running += ticket.seats
            queue.next_start += ticket.seats * _GUESS_S
            self._run(ticket, now_s)
            started.append(ticket)
        return started

    def _advance(self, now_s: float) -> None:
        """Virtual time goes as fast as each active queue is served."""
        elapsed_s, self._virtual_at_s = now_s - self._virtual_at_s, now_s
        if self._active:
            served = min(self.limit, self.seats_in_use + self.seats_waiting)
            self._virtual += elapsed_s * served / len(self._active)
