from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client import events
from sampan.client.client import Client
from sampan.client.effects import Emit, Ref
from sampan.client.events import Correlator, Recorder
from sampan.schema import api
from tests.fakes.apiserver import FakeServer
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ABOUT = Ref("v1", "Pod", "default", "web-0", "uid-1", "42")


def emit(message: str = "hello", about: Ref = ABOUT) -> Emit:
    return Emit(about, "Warning", "Failed", message)


def test_repeats_are_counted_on_one_event() -> None:
    correlator = Correlator("kubelet", "n1")
    first = correlator.correlate(emit(), NOW)
    second = correlator.correlate(emit(), NOW + timedelta(seconds=5))
    assert first is not None
    assert second is not None
    assert first.metadata.name == second.metadata.name
    assert (first.count, second.count) == (1, 2)
    assert (second.firstTimestamp, second.lastTimestamp) == (NOW, NOW + timedelta(seconds=5))
    assert first.involvedObject == api.ObjectReference(
        apiVersion="v1", kind="Pod", namespace="default", name="web-0", uid="uid-1", resourceVersion="42"
    )
    assert first.source == api.EventSource(component="kubelet", host="n1")


def test_different_events_of_one_instant_have_different_names() -> None:
    correlator = Correlator("c")
    found = [correlator.correlate(emit(f"message {n}"), NOW) for n in range(5)]
    assert len({event.metadata.name for event in found if event is not None}) == 5


def test_the_eleventh_message_of_a_kind_is_combined() -> None:
    correlator = Correlator("c")
    found = [correlator.correlate(emit(f"message {n}"), NOW) for n in range(12)]
    messages = [event.message for event in found if event is not None]
    assert messages[9] == "message 9"
    assert messages[10] == "(combined from similar events): message 10"
    names = {event.metadata.name for event in found[10:] if event is not None}
    assert len(names) == 1
    assert found[11] is not None
    assert found[11].count == 2
    later = correlator.correlate(emit("message 99"), NOW + timedelta(seconds=700))
    assert later is not None
    assert later.message == "message 99"


def test_a_flood_about_one_object_is_dropped_and_others_are_not() -> None:
    correlator = Correlator("c")
    kept = [event for n in range(100) if (event := correlator.correlate(emit(), NOW)) is not None]
    assert len(kept) == events.SPAM_BURST
    other = Ref("v1", "Pod", "default", "web-1", "uid-2")
    assert correlator.correlate(emit(about=other), NOW) is not None
    refilled = NOW + timedelta(seconds=events.SPAM_REFILL_S)
    assert correlator.correlate(emit(), refilled) is not None
    assert correlator.correlate(emit(), refilled) is None


def test_memory_is_bounded() -> None:
    correlator = Correlator("c")
    for number in range(events.KEYS_MOST + 100):
        correlator.correlate(emit(about=Ref("v1", "Pod", "default", f"p{number}", f"u{number}")), NOW)
    for memory in (correlator._buckets, correlator._similar, correlator._stored):
        assert len(memory) == events.KEYS_MOST


def test_the_recorder_stores_counts_and_survives_refusals() -> None:
    async def main() -> None:
        server = FakeServer()
        recorder = Recorder(Client(server), SimulatedClock(), "kubelet")
        for _ in range(3):
            recorder.event(ABOUT, "Normal", "Pulled", "image pulled", field_path="spec.containers{web}")
        await recorder.flush()
        (stored,) = server.of_kind("Event")
        assert stored["count"] == 3
        assert stored["involvedObject"]["fieldPath"] == "spec.containers{web}"
        server.drop(server.path_of(stored))  # it expired
        recorder.event(ABOUT, "Normal", "Pulled", "image pulled", field_path="spec.containers{web}")
        await recorder.flush()
        assert server.of_kind("Event")[0]["count"] == 4
        server.down = True
        recorder.event(ABOUT, "Normal", "Pulled", "another image pulled")
        await recorder.flush()
        assert recorder.dropped == 1

    run(main())


def test_what_waits_to_be_written_is_bounded() -> None:
    async def main() -> None:
        recorder = Recorder(Client(FakeServer()), SimulatedClock(), "c")
        for number in range(events.PENDING_MOST + 5):
            recorder.event(Ref("v1", "Pod", "default", f"p{number}", f"u{number}"), "Normal", "R", "m")
        assert recorder.dropped == 5

    run(main())


def test_delayed_events_come_together_and_no_later_than_asked() -> None:
    async def main() -> None:
        server, clock = FakeServer(), SimulatedClock()
        recorder = Recorder(Client(server), clock, "c", delay_s=0.5)
        task = asyncio.create_task(recorder.run())
        recorder.event(ABOUT, "Normal", "Pulled", "first")
        await clock.advance(0.4)
        recorder.event(ABOUT, "Normal", "Started", "second")
        assert not server.of_kind("Event")
        await clock.advance(0.1)
        assert [e["message"] for e in server.of_kind("Event")] == ["first", "second"]
        # The next one has the whole delay again.
        recorder.event(ABOUT, "Normal", "Killing", "third")
        await clock.advance(0.4)
        assert len(server.of_kind("Event")) == 2
        await clock.advance(0.1)
        assert len(server.of_kind("Event")) == 3
        task.cancel()

    run(main())


@pytest.mark.parametrize("before", [0, 1, events.MANY])
def test_many_events_are_not_delayed(before: int) -> None:
    """However many of them came before the writer began to wait."""

    async def main() -> None:
        server, clock = FakeServer(), SimulatedClock()
        recorder = Recorder(Client(server), clock, "c", delay_s=60)

        def tell(number: int) -> None:
            about = Ref("v1", "Pod", "default", f"p{number}", f"u{number}")
            recorder.event(about, "Normal", "Started", "started")

        for number in range(before):
            tell(number)
        task = asyncio.create_task(recorder.run())
        await until(lambda: recorder.waiting < before or not before)
        for number in range(before, events.MANY + 1):
            tell(number)
        await until(lambda: len(server.of_kind("Event")) == events.MANY + 1)
        task.cancel()

    run(main())
