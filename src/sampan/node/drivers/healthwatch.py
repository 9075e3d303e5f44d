"""Follows what drivers of dynamic resource allocation report of their devices' health.

As kubelet does: a driver may serve `DRAResourceHealth` beside its other service, and then streams the health
of all its devices. What is known is in a file, so that an agent that begins again knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sampan.base.clock import Clock
from sampan.base.waiting import first_done
from sampan.kinds.core.allocated_validation import HEALTHY, UNHEALTHY, UNKNOWN
from sampan.node.drivers import checkpoint
from sampan.node.drivers.health import DeviceKey, Health, Known, learned, next_end, report
from sampan.node.drivers.sockets import DriverClient
from sampan.node.runtimes.cri.client import Unimplemented
from sampan.node.runtimes.runtime import RuntimeFailure

# The versions of the service, best first, as drivers name them when they register.
SERVICES: Final = ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth")
# Between the end of a stream and the next one.
RETRY_S: Final = 5.0
_STATES: Final = {1: HEALTHY, 2: UNHEALTHY}

_log = logging.getLogger(__name__)


class HealthWatch:
    """What is known of the health of devices, by driver."""

    def __init__(self, clock: Clock, file: Path, changed: Callable[[str], None]) -> None:
        """`changed` is called with a driver when what is known of its devices has changed."""
        self._clock = clock
        self._file = file
        self._changed = changed
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # those of streams that are being ended too
        self._reported = asyncio.Event()
        saved = checkpoint.load(file, dict[str, tuple[Health, ...]], {})
        self._known: dict[str, dict[DeviceKey, Health]] = {
            driver: {each.key: each for each in devices} for driver, devices in saved.items()
        }

    @property
    def known(self) -> Known:
        return self._known

    def watch(self, driver: str, endpoint: str, versions: Sequence[str]) -> None:
        """Follow the driver at that socket from now on, in place of the one before."""
        self._end(driver)
        service = next((each for each in SERVICES if each in versions), None)
        if service is None:
            self._forget(driver)
            return
        stream = asyncio.create_task(self._follow(driver, DriverClient(endpoint), service))
        self._streams[driver] = stream
        self._tasks.add(stream)
        stream.add_done_callback(self._tasks.discard)

    def unwatch(self, driver: str) -> None:
        """The driver is gone, and nothing is known of its devices any more."""
        self._end(driver)
        self._forget(driver)

    async def run(self) -> None:
        """Tell of reports that cease to hold; until cancelled, which ends the streams too."""
        looked = self._clock.now()
        try:
            while True:
                self._reported.clear()
                now = self._clock.now()
                self._tell_ends(looked, now)
                looked = now
                end = next_end(self._known, now)
                if end is None:
                    await self._reported.wait()
                else:
                    left_s = (end - now).total_seconds()
                    await first_done(self._reported.wait(), self._clock.sleep(left_s))
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell_ends(self, after: datetime, upto: datetime) -> None:
        for driver, devices in list(self._known.items()):
            if any(after < each.until <= upto for each in devices.values()):
                self._changed(driver)

    def _end(self, driver: str) -> None:
        stream = self._streams.pop(driver, None)
        if stream is not None:
            stream.cancel()

    async def _follow(self, driver: str, client: DriverClient, service: str) -> None:
        try:
            while await self._streamed(driver, client, service):
                await self._clock.sleep(RETRY_S)
        finally:
            await client.close()

    async def _streamed(self, driver: str, client: DriverClient, service: str) -> bool:
        """Take in one stream until it ends; False where it makes no sense to ask for another.

        What a stream told is not known any more once it has ended. Of one that does not begin nothing is
        learned: what was known before holds for its time.
        """
        has_begun = False
        try:
            async for answer in client.stream(service, "NodeWatchResources"):
                has_begun = True
                self._learn(driver, answer)
            _log.info("the driver %s ended its reports of devices' health", driver)
        except Unimplemented:
            _log.info("the driver %s does not report the health of devices after all", driver)
            return False
        except (RuntimeFailure, OSError) as problem:
            _log.warning("the driver %s does not report the health of devices: %s", driver, problem)
        if has_begun:
            self._forget(driver)
        return True

    def _learn(self, driver: str, answer: Any) -> None:
        now = self._clock.now()
        reports = [
            report(
                each.device.pool_name,
                each.device.device_name,
                _STATES.get(each.health, UNKNOWN),
                now,
                timeout_s=each.health_check_timeout_seconds,
                message=each.message,
            )
            for each in answer.devices
        ]
        self._known[driver], changed = learned(self._known.get(driver, {}), reports, now)
        self._reported.set()
        if changed:
            self._save()
            self._changed(driver)

    def _forget(self, driver: str) -> None:
        if self._known.pop(driver, None) is not None:
            self._save()
            self._changed(driver)

    def _save(self) -> None:
        """What cannot be written is known until the agent ends."""
        saved = {driver: tuple(devices.values()) for driver, devices in self._known.items()}
        try:
            checkpoint.save(self._file, saved)
        except OSError as problem:
            _log.error("the health of devices is not saved at %s: %s", self._file, problem)
