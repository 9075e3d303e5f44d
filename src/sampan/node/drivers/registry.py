"""Plugin registration: drivers put a socket into a directory and are asked who they are.

As kubelet's plugin watcher: the answer goes to the handler for the plugin's type, and the plugin is told what
came of it. A socket that goes takes its plugin along.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.node.drivers.sockets import DriverClient
from sampan.node.runtimes.runtime import RuntimeFailure

SERVICE: Final = "pluginregistration.Registration"
# How often the directory is looked at.
CHECK_S: Final = 1.0
CALL_TIMEOUT_S: Final = 10.0
# Between tries to register a plugin: the first, and the longest.
RETRY_FIRST_S: Final = 0.5
RETRY_MOST_S: Final = 120.0

_log = logging.getLogger(__name__)


class RegistrationError(SampanError):
    """A plugin that cannot be registered; the text says why."""


class Handler(Protocol):
    """What is done with the plugins of one type."""

    async def register(self, name: str, endpoint: str, versions: Sequence[str]) -> None:
        """Use the plugin from now on. Raises RegistrationError, RuntimeFailure and ApiError."""
        ...

    async def deregister(self, name: str, endpoint: str) -> None:
        """The plugin is gone."""
        ...


class _Plugin(NamedTuple):
    type: str
    name: str
    endpoint: str


class _Known:
    """One socket: which file it is, its registration under way, and what it came to."""

    def __init__(self, identity: tuple[int, int]) -> None:
        self.identity = identity
        self.task: asyncio.Task[None] | None = None
        self.plugin: _Plugin | None = None


class Registry:
    """Looks after one directory. `handlers` are by the type that plugins call themselves."""

    def __init__(self, directory: str, clock: Clock, handlers: Mapping[str, Handler]) -> None:
        self._directory = Path(directory)
        self._clock = clock
        self._handlers = handlers
        self._known: dict[str, _Known] = {}

    async def run(self) -> None:
        """Until cancelled."""
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            while True:
                await self.look()
                await self._clock.sleep(CHECK_S)
        finally:
            for known in self._known.values():
                if known.task is not None:
                    known.task.cancel()

    async def look(self) -> None:
        """Begin with sockets that are new, and be done with those that are gone."""
        found = dict(self._sockets())
        for path in [p for p, known in self._known.items() if found.get(p) != known.identity]:
            await self._drop(self._known.pop(path))
        for path, identity in found.items():
            if path not in self._known:
                known = self._known[path] = _Known(identity)
                known.task = asyncio.create_task(self._keep_trying(path, known))

    def _sockets(self) -> list[tuple[str, tuple[int, int]]]:
        found = []
        for where, directories, names in os.walk(self._directory):
            directories[:] = [name for name in directories if not name.startswith(".")]
            for name in names:
                path = f"{where}/{name}"
                try:
                    facts = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISSOCK(facts.st_mode) and not name.startswith("."):
                    found.append((path, (facts.st_ino, facts.st_ctime_ns)))
        return found

    async def _drop(self, known: _Known) -> None:
        if known.task is not None:
            known.task.cancel()
            await asyncio.gather(known.task, return_exceptions=True)
        if known.plugin is not None:
            type_, name, endpoint = known.plugin
            _log.info("the driver %s is gone", name)
            try:
                await self._handlers[type_].deregister(name, endpoint)
            except Exception:  # whatever it is, the others go on
                _log.exception("the driver %s is not wound down", name)

    async def _keep_trying(self, path: str, known: _Known) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                await self._register(path, known)
                return
            except Exception as problem:  # whatever it is, the others go on
                _log.warning("the driver at %s is not registered: %s", path, problem)
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MOST_S)

    async def _register(self, path: str, known: _Known) -> None:
        client = DriverClient(path)
        try:
            info = await client.call(SERVICE, "GetInfo", timeout_s=CALL_TIMEOUT_S)
            try:
                handler = self._handlers.get(info.type)
                if handler is None:
                    raise RegistrationError(f"no handler registered for plugin type: {info.type}")
                # From here on there is something to wind down, even if the socket goes right now.
                known.plugin = _Plugin(info.type, info.name, info.endpoint or path)
                await handler.register(info.name, known.plugin.endpoint, tuple(info.supported_versions))
            except Exception as error:
                known.plugin = None
                await self._tell(client, str(error) or type(error).__name__)
                raise
            await self._tell(client, "")
        finally:
            await client.close()

    @staticmethod
    async def _tell(client: DriverClient, problem: str) -> None:
        try:
            await client.call(
                SERVICE,
                "NotifyRegistrationStatus",
                timeout_s=CALL_TIMEOUT_S,
                plugin_registered=not problem,
                error=problem,
            )
        except RuntimeFailure as failure:
            _log.warning("a driver does not hear what came of its registration: %s", failure)
