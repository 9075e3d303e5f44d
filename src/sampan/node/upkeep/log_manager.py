"""Rotates the logs of running containers: kubelet's containerLogMaxSize and containerLogMaxFiles."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from sampan.base.clock import Clock
from sampan.node.config import AgentConfig
from sampan.node.model import PodState
from sampan.node.names import log_directory, log_path
from sampan.node.runtimes.runtime import Runtime, RuntimeFailure, State
from sampan.node.upkeep.rotation import COMPRESSED, UNFINISHED, Rotation, outlived, rotation

_log = logging.getLogger(__name__)


class ContainerLog(msgspec.Struct, frozen=True):
    """A container's current log file. `oldest_attempt` is the first instance whose logs are still wanted."""

    container_id: str
    path: str
    oldest_attempt: int
    is_running: bool


class HasState(Protocol):
    """A pod's worker."""

    @property
    def state(self) -> PodState: ...


def container_logs(pods: Iterable[HasState], root: str) -> list[ContainerLog]:
    """The current logs of all containers of these pods, below the log directory `root`."""
    found = []
    for pod in pods:
        for record in pod.state.containers.values():
            current = record.current
            if current is None or not current.id:
                continue
            oldest = current if record.previous is None else record.previous
            path = f"{log_directory(root, pod.state.key)}/{log_path(record.name, current.attempt)}"
            is_running = current.state is State.RUNNING
            found.append(ContainerLog(current.id, path, min(oldest.attempt, current.attempt), is_running))
    return found


class LogManager:
    """Looks at every running container's log each `log_check_s`: one stat, where nothing is to be done."""

    def __init__(
        self, runtime: Runtime, clock: Clock, config: AgentConfig, logs: Callable[[], Iterable[ContainerLog]]
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._config = config
        self._logs = logs
        self._swept: dict[Path, int] = {}

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again in the next round."""
        while True:
            await self._clock.sleep(self._config.log_check_s)
            await self.check()

    async def check(self) -> None:
        """One round: rotate what has grown too large, remove logs of containers that are gone."""
        logs = list(self._logs())
        for log in logs:
            path = Path(log.path)
            try:
                await self._sweep(path.parent, log.oldest_attempt)
                if log.is_running and _size_bytes(path) >= self._config.log_most_bytes:
                    await self._rotate(log.container_id, path)
            except (RuntimeFailure, OSError) as error:
                _log.warning("the log %s could not be rotated: %s", path, error)
        directories = {Path(log.path).parent for log in logs}
        self._swept = {d: attempt for d, attempt in self._swept.items() if d in directories}

    async def _rotate(self, container_id: str, path: Path) -> None:
        plan = rotation(path.name, _names(path.parent), self._clock.now(), self._config.log_files)
        if plan is None:
            return
        await asyncio.to_thread(_tidy, path.parent, plan)
        moved = path.with_name(plan.moved_to)
        path.rename(moved)
        try:
            await self._runtime.reopen_log(container_id)
        except RuntimeFailure:
            # It writes on into the moved file, or has ended: either way this is the current log.
            if not path.exists():
                moved.rename(path)
            raise

    async def _sweep(self, directory: Path, oldest_attempt: int) -> None:
        if self._swept.get(directory, 0) == oldest_attempt:
            return
        for name in outlived(_names(directory), oldest_attempt):
            (directory / name).unlink(missing_ok=True)
        self._swept[directory] = oldest_attempt


def _tidy(directory: Path, plan: Rotation) -> None:
    for name in plan.remove:
        (directory / name).unlink(missing_ok=True)
    for name in plan.compress:
        _compress(directory / name)


def _compress(path: Path) -> None:
    """Replace the file by its compressed form, which appears whole or not at all."""
    unfinished = path.with_name(path.name + UNFINISHED)
    with path.open("rb") as source, gzip.open(unfinished, "wb") as target:
        shutil.copyfileobj(source, target)
    shutil.copymode(path, unfinished)
    unfinished.rename(path.with_name(path.name + COMPRESSED))
    path.unlink()


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
