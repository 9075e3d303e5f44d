from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.core.flowcontrol.queueset import (
    CONCURRENCY_LIMIT,
    QUEUE_FULL,
    QueueSet,
    Queuing,
    Ticket,
)
from sampan.apiserver.core.flowcontrol.sharding import deal, flow_hash

QUEUING = Queuing(queues=8, hand_size=2, queue_length=5)


def test_without_queues_what_does_not_fit_is_refused() -> None:
    level = QueueSet(None, 2)
    first = level.arrive(1, 1, 0.0)
    level.arrive(1, 1, 0.0)
    assert level.arrive(1, 1, 0.0) == CONCURRENCY_LIMIT
    assert isinstance(first, Ticket)
    level.finish(first, 1.0)
    assert isinstance(level.arrive(1, 1, 1.0), Ticket)


def test_a_flow_fills_its_hand_and_no_more() -> None:
    level = QueueSet(QUEUING, 1)
    level.arrive(3, 1, 0.0)
    waiting = [level.arrive(3, 1, 0.0) for _ in range(11)]
    assert waiting[10] == QUEUE_FULL
    assert all(isinstance(ticket, Ticket) and not ticket.running for ticket in waiting[:10])
    assert level.waiting == 10


def test_a_mouse_passes_an_elephant() -> None:
    """A flow with one request does not wait for all that a flood has queued before it."""
    queuing = Queuing(queues=64, hand_size=4, queue_length=100)
    level = QueueSet(queuing, 2)
    elephant, mouse = flow_hash("all", "elephant"), flow_hash("all", "mouse")
    assert not set(deal(mouse, 64, 4)) <= set(deal(elephant, 64, 4))
    running = [level.arrive(elephant, 1, 0.0) for _ in range(202)][:2]
    little = level.arrive(mouse, 1, 0.0)
    assert isinstance(little, Ticket)
    now_s, done = 0.0, 0
    while not little.running:
        now_s += 1.0
        ticket = running.pop(0)
        assert isinstance(ticket, Ticket)
        running += level.finish(ticket, now_s)
        done += 1
    assert done <= 5


def test_what_wants_more_seats_than_there_are_runs_alone() -> None:
    level = QueueSet(QUEUING, 3)
    wide = level.arrive(1, 10, 0.0)
    assert isinstance(wide, Ticket)
    assert wide.running
    other = level.arrive(2, 1, 0.0)
    assert isinstance(other, Ticket)
    assert not other.running
    assert level.finish(wide, 1.0) == [other]


def test_more_seats_let_more_in() -> None:
    level = QueueSet(QUEUING, 1)
    tickets = [level.arrive(1, 1, 0.0) for _ in range(4)]
    assert level.resize(3, 1.0) == tickets[1:3]
    assert level.resize(1, 2.0) == []


def test_who_gives_up_makes_room_and_blocks_nobody() -> None:
    level = QueueSet(QUEUING, 2)
    first, wide, narrow = (level.arrive(1, seats, float(i)) for i, seats in enumerate((1, 2, 1)))
    assert isinstance(first, Ticket)
    assert isinstance(wide, Ticket)
    assert not wide.running
    assert level.give_up(wide, 5.0) == [narrow]
    assert level.give_up(first, 5.0) == []
    assert (level.waiting, level.seats_waiting, level.running) == (0, 0, 2)


@given(
    st.lists(st.tuples(st.sampled_from("aarfg"), st.integers(0, 7), st.integers(1, 3)), max_size=120),
    st.integers(1, 5),
)
def test_seats_are_kept_and_none_is_left_empty(steps: list[tuple[str, int, int]], limit: int) -> None:
    """Never more seats taken than there are (but by one alone), none idle while somebody who fits waits,
    nobody lost."""
    level = QueueSet(QUEUING, limit)
    tickets: list[Ticket] = []
    for now, (what, which, seats) in enumerate(steps):
        if what == "a":
            answer = level.arrive(which, seats, float(now))
            if isinstance(answer, Ticket):
                tickets.append(answer)
        elif what == "r":
            level.resize(seats, float(now))
        elif tickets:
            ticket = tickets[which % len(tickets)]
            if ticket.running and what == "f":
                tickets.remove(ticket)
                level.finish(ticket, float(now))
            elif not ticket.running and what == "g":
                tickets.remove(ticket)
                level.give_up(ticket, float(now))
        running = [ticket for ticket in tickets if ticket.running]
        assert level.seats_in_use == sum(ticket.seats for ticket in running)
        assert level.waiting == len(tickets) - len(running)
        heads = {id(t.queue): t.queue.waiting[0] for t in tickets if t.queue and t.queue.waiting}
        if heads and not running:
            pytest.fail("somebody waits although nobody runs")
    for now in range(len(steps), len(steps) + 1000):
        running = [ticket for ticket in tickets if ticket.running]
        if not running:
            break
        tickets.remove(running[0])
        level.finish(running[0], float(now))
    assert not tickets
    assert (level.waiting, level.running, level.seats_in_use, level.seats_waiting) == (0, 0, 0, 0)


@given(st.integers(0, 2**64 - 1), st.integers(1, 64), st.integers(1, 8))
def test_a_hand_holds_different_cards(number: int, deck: int, hand: int) -> None:
    cards = deal(number, deck, min(deck, hand))
    assert len(set(cards)) == len(cards) == min(deck, hand)
    assert all(0 <= card < deck for card in cards)
    assert deal(number, deck, min(deck, hand)) == cards
