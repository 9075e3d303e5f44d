"""Carrying a session: both directions, ends, a slow process, a client that vanishes, and hours of silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sampan.base.clock import SimulatedClock
from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.node.streaming.channels import Size
from sampan.node.streaming.idle import IDLE_S
from sampan.node.streaming.query import SessionQuery
from sampan.node.streaming.session import MAX_WAITING, Input, InputEnd, carry
from tests.unit.streaming.fakes import FakeSession, FakeWire

LIMIT_S = 20.0
ALL = SessionQuery(stdin=True, stdout=True, stderr=True)


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


def test_input_output_and_the_exit_code_pass() -> None:
    async def main() -> None:
        wire, session = FakeWire(), FakeSession(3)
        for event in (Input(b"a"), Input(b"b"), InputEnd()):
            wire.coming.put_nowait(event)
        await carry(wire, session, ALL, SimulatedClock())
        assert wire.said == [(1, b"a"), (1, b"b"), (2, b"end of input")]
        assert wire.ended == [3]
        assert session.closed.is_set()

    asyncio.run(main())


def test_streams_that_were_not_asked_for_are_not_sent() -> None:
    async def main() -> None:
        wire, session = FakeWire(), FakeSession()
        session.say(2, b"errors")
        session.say(1, b"output")
        wire.coming.put_nowait(Size(5, 5))
        session.finish()
        await carry(wire, session, SessionQuery(stdout=True), SimulatedClock())
        assert wire.said == [(1, b"output")]
        assert session.sizes == []

    asyncio.run(main())


def test_sizes_reach_a_terminal() -> None:
    async def main() -> None:
        wire, session = FakeWire(), FakeSession()
        wire.coming.put_nowait(Size(80, 24))
        carrying = asyncio.ensure_future(
            carry(wire, session, SessionQuery(stdout=True, tty=True), SimulatedClock())
        )
        await settle(lambda: wire.said == [(1, b"resized")])
        session.finish()
        await carrying
        assert session.sizes == [(80, 24)]

    asyncio.run(main())


def test_a_process_that_does_not_read_holds_the_client_up() -> None:
    async def main() -> None:
        wire, session = FakeWire(), FakeSession(reads=False)
        for _ in range(10 * MAX_WAITING):
            wire.coming.put_nowait(Input(b"x"))
        clock = SimulatedClock()
        carrying = asyncio.ensure_future(carry(wire, session, ALL, clock))
        await settle(lambda: wire.taken >= MAX_WAITING)
        await clock.advance(1)
        assert wire.taken <= MAX_WAITING + 2
        session.reads.set()
        await settle(lambda: session.written == 10 * MAX_WAITING)
        session.finish()
        await carrying

    asyncio.run(main())


def test_input_after_the_process_stopped_reading_is_thrown_away() -> None:
    class Deaf(FakeSession):
        async def write(self, data: bytes) -> None:
            raise BrokenPipeError

    async def main() -> None:
        wire, session = FakeWire(), Deaf(0)
        for _ in range(3 * MAX_WAITING):
            wire.coming.put_nowait(Input(b"x"))
        wire.coming.put_nowait(InputEnd())
        await carry(wire, session, ALL, SimulatedClock())
        assert wire.ended == [0]

    asyncio.run(main())


def test_a_client_that_vanishes_closes_the_session() -> None:
    async def main() -> None:
        wire, session = FakeWire(), FakeSession()
        wire.coming.put_nowait(None)
        async with asyncio.timeout(LIMIT_S):
            await carry(wire, session, ALL, SimulatedClock())
        assert session.closed.is_set() and wire.ended == []

    asyncio.run(main())


def test_a_client_that_cannot_be_written_to_closes_the_session() -> None:
    class Gone(FakeWire):
        async def send(self, stream: int, data: bytes) -> None:
            raise ConnectionResetError

    async def main() -> None:
        session = FakeSession()
        session.say(1, b"x")
        async with asyncio.timeout(LIMIT_S):
            await carry(Gone(), session, ALL, SimulatedClock())
        assert session.closed.is_set()

    asyncio.run(main())


def test_a_runtime_that_fails_midway_is_told_to_the_client() -> None:
    class Lost(FakeSession):
        async def wait(self) -> int:
            raise RuntimeFailure("Unavailable", "the runtime is gone")

    async def main() -> None:
        wire, session = FakeWire(), Lost()
        session.finish()
        await carry(wire, session, ALL, SimulatedClock())
        assert wire.ended == ["the runtime is gone"]

    asyncio.run(main())


def test_four_silent_hours_end_a_session_and_a_word_begins_them_anew() -> None:
    async def main() -> None:
        clock = SimulatedClock()
        wire, session = FakeWire(), FakeSession()
        carrying = asyncio.ensure_future(carry(wire, session, ALL, clock))
        await clock.advance(IDLE_S - 1)
        session.say(1, b"x")
        await clock.advance(IDLE_S - 1)
        assert not carrying.done()
        await clock.advance(2)
        async with asyncio.timeout(LIMIT_S):
            await carrying
        assert session.closed.is_set()

    asyncio.run(main())
