"""Drivers that come and go while they are being registered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sampan.base.clock import SystemClock
from sampan.node.drivers.registry import Registry
from tests.fakes.drivers import Registrar

LIMIT_S = 30.0


class Slow:
    """A handler whose registration takes until it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gone: list[tuple[str, str]] = []

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    async def deregister(self, name: str, endpoint: str) -> None:
        self.gone.append((name, endpoint))


def test_a_driver_that_goes_while_it_is_registered_is_wound_down(tmp_path: Path) -> None:
    async def main() -> None:
        slow = Slow()
        registry = Registry(str(tmp_path), SystemClock(), {"CSIPlugin": slow})
        registrar = Registrar(str(tmp_path / "reg.sock"), "CSIPlugin", "disk", "/disk.sock", ("1.0",))
        await registrar.server.start()
        await registry.look()
        async with asyncio.timeout(LIMIT_S):
            await slow.begun.wait()
        await registrar.server.stop()
        async with asyncio.timeout(LIMIT_S):
            await registry.look()
        assert slow.gone == [("disk", "/disk.sock")]
        assert registrar.told == []

    asyncio.run(main())
