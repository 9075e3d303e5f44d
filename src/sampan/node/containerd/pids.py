"""Processes that outlive the one which started them: started, recognised, awaited and ended by pid."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """A pid, and the boot-relative start time that tells it from a later process of the same pid."""

    pid: int
    start_ticks: int


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it is gone (a zombie counts as gone)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Identity | None:
    ticks = start_ticks(pid)
    return None if ticks is None else Identity(pid, ticks)


def is_alive(identity: Identity) -> bool:
    return start_ticks(identity.pid) == identity.start_ticks


def read(path: Path) -> Identity | None:
    """The process that a file names, if it still runs."""
    try:
        identity = msgspec.json.decode(path.read_bytes(), type=Identity)
    except (OSError, msgspec.DecodeError):
        return None
    return identity if is_alive(identity) else None


def write(path: Path, identity: Identity) -> None:
    path.write_bytes(msgspec.json.encode(identity))


def spawn(program: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path) -> int:
    """Start a program in a session of its own, writing to the end of a file; returns its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    )
    # A session of its own: a Ctrl-C in the terminal is for the agent, which stops the rest in order.
    return os.posix_spawn(
        program, [program, *arguments], dict(environment), file_actions=actions, setsid=True, setsigmask=()
    )


async def wait(identity: Identity) -> None:
    """Return once the process has ended, whether or not it is a child; a child is reaped."""
    if not is_alive(identity):
        reap(identity.pid)
        return
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(descriptor, tell)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    reap(identity.pid)


def reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def send(identity: Identity, number: signal.Signals) -> None:
    """Signal the process, if it is still the same one."""
    if is_alive(identity):
        with suppress(ProcessLookupError):
            os.kill(identity.pid, number)


async def end(identity: Identity, grace_s: float) -> None:
    """TERM, then KILL after `grace_s`; returns once it has ended."""
    send(identity, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace_s):
            await wait(identity)
    except TimeoutError:
        send(identity, signal.SIGKILL)
        await wait(identity)
