"""Starts the parts of a cluster on this machine, and starts again what dies.

Every part is a process of its own with a log file of its own: a fork of the supervisor, which has loaded
what all of them use. The supervisor does nothing else, so that it does not die; where it is killed all the
same, the kernel ends its parts with it (PR_SET_PDEATHSIG), while containers go on under their shims until the
next `sampan up` finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

import sampan
from sampan.base.clock import Clock, SystemClock
from sampan.cluster.forked import Child, Children, die_with_parent
from sampan.cluster.restarts import Death, PartState, after_death, reason

STOP_GRACE_S: Final = 10.0
LOG_LIMIT_BYTES: Final = 20 * 1024 * 1024
LOOK_AT_LOGS_EVERY_S: Final = 60.0
_TAIL_BYTES: Final = 4096


class Part(msgspec.Struct, frozen=True):
    """A process to keep alive. Parts stop in the reverse of the order they are listed in."""

    name: str
    argv: tuple[str, ...]
    # What a fork does in place of starting `argv`; returns the exit status.
    main: Callable[[], int] | None = None


class Supervisor:
    """Keeps parts alive until it is told to stop."""

    def __init__(self, run: Path, logs: Path, parts: Sequence[Part], clock: Clock | None = None) -> None:
        self._run = run
        self._logs = logs
        self._parts = tuple(parts)
        self._clock = clock or SystemClock()
        self._states = {part.name: PartState(name=part.name) for part in parts}
        self._processes: dict[str, asyncio.subprocess.Process | Child] = {}
        self._code = code_stamp()
        self._stopping = asyncio.Event()

    async def run(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        """Start everything, keep it alive, and on SIGTERM or SIGINT stop it and clean up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._children = Children()
        keepers = {p.name: asyncio.create_task(self._keep(p), name=p.name) for p in self._parts}
        logs = asyncio.create_task(self._limit_logs(), name="logs")
        await self._stopping.wait()
        logs.cancel()
        for part in reversed(self._parts):
            await self._stop(part, keepers[part.name])
        await cleanup()
        self._write()

    async def _limit_logs(self) -> None:
        while True:
            await self._clock.sleep(LOOK_AT_LOGS_EVERY_S)
            for name in ("supervisor", *self._states):
                limit_log(self._logs / f"{name}.log")

    async def _keep(self, part: Part) -> None:
        state = self._states[part.name]
        while not self._stopping.is_set():
            began_s = self._clock.monotonic_s()
            status, line = await self._run_once(part, state)
            if self._stopping.is_set():
                break
            ran_s = round(self._clock.monotonic_s() - began_s, 3)
            death = Death(self._stamp(), reason(status, line), ran_s)
            delay_s = after_death(state, death)
            self._say(f"{part.name} {death.why}; starting it again in {delay_s:g} s")
            self._write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()
        state.state, state.pid = "stopped", 0

    async def _run_once(self, part: Part, state: PartState) -> tuple[int, str]:
        path = self._logs / f"{part.name}.log"
        try:
            with path.open("ab") as log:
                process = await self._start(part, log)
        except OSError as problem:
            return 127, f"{problem.filename or part.argv[0]}: {problem.strerror}"
        self._processes[part.name] = process
        state.pid, state.state, state.started_at = process.pid, "running", self._stamp()
        self._write()
        if self._stopping.is_set():  # told to stop while it was being started: `_stop` has not seen it
            process.terminate()
        status = await process.wait()
        del self._processes[part.name]
        return status, _last_line(path)

    async def _start(self, part: Part, log: BinaryIO) -> asyncio.subprocess.Process | Child:
        # Where the code was replaced meanwhile, what is loaded does not go together with what is not yet.
        if part.main is not None and code_stamp() == self._code:
            return self._children.fork(part.main, part.argv, log.fileno())
        return await asyncio.create_subprocess_exec(
            *part.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    async def _stop(self, part: Part, keeper: asyncio.Task[None]) -> None:
        self._signal(part, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await asyncio.shield(keeper)
        except TimeoutError:
            self._signal(part, signal.SIGKILL)
            await keeper

    def _signal(self, part: Part, number: signal.Signals) -> None:
        process = self._processes.get(part.name)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    def _write(self) -> None:
        path = self._run / "parts.json"
        fresh = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not take the cluster down
            fresh.write_bytes(msgspec.json.encode(list(self._states.values())))
            fresh.replace(path)

    def _stamp(self) -> str:
        return self._clock.now().astimezone(UTC).isoformat(timespec="milliseconds")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._stamp()} {text}\n")
        sys.stderr.flush()


def code_stamp() -> tuple[int, int]:
    """Changes when another version of Sampan is installed in the place of this one."""
    try:
        found = Path(sampan.__file__).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def limit_log(path: Path) -> None:
    """Move what is in a log that has become long to `.log.1`, in place of what was there.

    The file stays the one that its part writes to, which appends: what comes next is at its beginning.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].decode(errors="replace")[:500] if lines else ""
