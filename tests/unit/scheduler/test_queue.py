"""The scheduling queue: order, back-off, what frees a pod, and that nobody is tried twice at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.scheduler.queue import EARLY_TRIES_A_SECOND, FLUSH_AFTER_S, Queue

FIT = frozenset({"NodeResourcesFit"})
TAINTS = frozenset({"TaintToleration"})


def key(name: str) -> tuple[str, str]:
    return ("default", name)


def popped(queue: Queue, now_s: float) -> list[str]:
    names = []
    while (waiting := queue.pop(now_s)) is not None:
        names.append(waiting.key[1])
    return names


def test_priority_first_then_first_come() -> None:
    queue = Queue()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.add(key(name), name, priority)
    assert popped(queue, 0) == ["b", "d", "a", "c"]


def test_a_pod_added_twice_is_tried_once() -> None:
    queue = Queue()
    queue.add(key("a"), "1", 0)
    queue.add(key("a"), "1", 0)
    assert popped(queue, 0) == ["a"]
    queue.add(key("a"), "1", 0)  # it changes while it is being bound
    assert popped(queue, 0) == []


@pytest.mark.parametrize(("attempts", "delay_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (50, 10)])
def test_back_off_after_failures(attempts: int, delay_s: float) -> None:
    queue = Queue()
    queue.add(key("a"), "1", 0)
    now_s = 0.0
    for _ in range(attempts):
        waiting = queue.pop(now_s)
        assert waiting is not None
        queue.retry_later(waiting, now_s)
        before_s, now_s = now_s, queue.next_due_s() or 0
    assert now_s - before_s == delay_s
    assert queue.pop(now_s - 0.01) is None
    assert popped(queue, now_s) == ["a"]


def test_of_those_freed_together_the_more_important_go_first() -> None:
    queue = Queue()
    now_s = 0.0
    for name, priority, rank in (("a", 0, 0.0), ("b", 9, 5.0), ("c", 9, 1.0), ("d", 3, 0.0)):
        queue.add(key(name), name, priority, rank)
    for name in ("c", "b", "d", "a"):
        waiting = queue.pop(now_s)
        assert waiting is not None and waiting.key[1] == name
    for number, name in enumerate(("a", "d", "b", "c")):
        waiting = queue.find(key(name))
        assert waiting is not None
        queue.park(waiting, FIT, 0.1 * number)
    queue.changed(lambda waiting: True)
    assert popped(queue, 0.5) == ["c", "b", "d", "a"]


def test_one_that_failed_does_not_keep_freed_pods_waiting() -> None:
    queue = Queue()
    for name, priority in (("failed", 9), ("freed", 0)):
        queue.add(key(name), name, priority)
        waiting = queue.pop(0)
        assert waiting is not None
        if name == "failed":
            queue.retry_later(waiting, 0)
        else:
            queue.park(waiting, FIT, 0)
    queue.changed(lambda waiting: True)
    assert popped(queue, 0.2) == ["freed"]
    assert popped(queue, 1) == ["failed"]


def test_a_pod_whose_rank_changes_is_moved_in_the_queue() -> None:
    queue = Queue()
    for name, rank in (("a", 1.0), ("b", 2.0)):
        queue.add(key(name), name, 0, rank)
    queue.add(key("b"), "b", 0, 0.5)
    assert popped(queue, 0) == ["b", "a"]


def test_only_what_a_plugin_refused_is_freed_by_its_event() -> None:
    queue = Queue()
    for name, refused_by in (("a", FIT), ("b", TAINTS), ("c", frozenset[str]())):
        queue.add(key(name), name, 0)
        waiting = queue.pop(0)
        assert waiting is not None
        queue.park(waiting, refused_by, 0)
    queue.changed(lambda waiting: bool(waiting.refused_by & FIT))
    assert popped(queue, 0) == ["a", "c"]
    queue.changed(lambda waiting: bool(waiting.refused_by & TAINTS))
    assert popped(queue, 0) == ["b"]


def test_flush_and_next_due_agree_for_every_time() -> None:
    # since + 300 <= now does not mean now - since >= 300 in floating point: the scheduler must not spin.
    for step in range(1, 2000):
        since_s = step * 0.1 + step / 7
        queue = Queue()
        queue.add(key("a"), "1", 0)
        waiting = queue.pop(since_s)
        assert waiting is not None
        queue.park(waiting, FIT, since_s)
        due_s = queue.next_due_s()
        assert due_s == since_s + FLUSH_AFTER_S
        assert popped(queue, due_s) == ["a"]


def test_an_idle_queue_asks_for_no_timer() -> None:
    queue = Queue()
    assert queue.next_due_s() is None
    queue.add(key("a"), "1", 0)
    waiting = queue.pop(0)
    assert waiting is not None
    queue.retry_later(waiting, 0)
    queue.remove(key("a"), "1")
    assert queue.next_due_s() is None
    assert len(queue) == 0


def test_another_pod_of_the_same_name_stays_when_the_old_one_goes() -> None:
    queue = Queue()
    queue.add(key("a"), "old", 0)
    old = queue.pop(0)
    assert old is not None
    queue.add(key("a"), "new", 0)
    queue.remove(key("a"), "old")
    queue.retry_later(old, 0)
    queue.park(old, FIT, 0)
    assert popped(queue, 100) == ["a"]
    held = queue.find(key("a"))
    assert held is not None
    assert (held.uid, held.attempts) == ("new", 1)


def test_freed_pods_skip_their_back_off_but_not_without_limit() -> None:
    queue = Queue()
    many = EARLY_TRIES_A_SECOND + 5
    for number in range(many):
        queue.add(key(str(number)), str(number), 0)
    while (waiting := queue.pop(0)) is not None:
        queue.park(waiting, FIT, 0)
    queue.changed(lambda waiting: bool(waiting.refused_by & FIT))
    assert len(popped(queue, 0.5)) == EARLY_TRIES_A_SECOND
    assert len(popped(queue, 1.0)) == 5


NAMES = st.sampled_from("abc")
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NAMES, st.sampled_from(["1", "2"])),
        st.tuples(st.just("remove"), NAMES, st.sampled_from(["1", "2"])),
        st.tuples(st.sampled_from(["pop", "park", "retry", "change", "pass"]), NAMES, st.just("")),
    ),
    max_size=40,
)


@given(OPERATIONS)
def test_nobody_is_lost_and_nobody_is_in_flight_twice(operations: list[tuple[str, str, str]]) -> None:
    queue, now_s = Queue(), 0.0
    known: dict[str, str] = {}
    flying = []
    for what, name, uid in operations:
        if what == "add":
            queue.add(key(name), uid, 0)
            known[name] = uid
        elif what == "remove":
            queue.remove(key(name), uid)
            if known.get(name) == uid:
                del known[name]
        elif what == "pop" and (waiting := queue.pop(now_s)) is not None:
            current = [w for w in flying if known.get(w.key[1]) == w.uid and queue.find(w.key) is w]
            assert waiting not in current
            assert known[waiting.key[1]] == waiting.uid
            flying.append(waiting)
        elif what in ("park", "retry") and flying:
            waiting = flying.pop(0)
            if what == "park":
                queue.park(waiting, FIT, now_s)
            else:
                queue.retry_later(waiting, now_s)
        elif what == "change":
            queue.changed(lambda waiting: bool(waiting.refused_by & FIT))
        elif what == "pass":
            now_s += 3
    assert len(queue) == len(known)
    still = {w.key[1] for w in flying if queue.find(w.key) is w}
    assert set(popped(queue, now_s + 2 * FLUSH_AFTER_S)) == set(known) - still
