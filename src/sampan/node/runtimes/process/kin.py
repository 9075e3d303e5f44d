"""What a keeper asks the kernel about its own processes. Standard library only."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


def kill_session(leader: int) -> None:
    """KILL for every process of a session: shells with job control make process groups of their own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if os.getsid(int(entry.name)) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)


def children() -> list[int]:
    """Daemons that left the container's session, and came to us as orphans."""
    pid = os.getpid()
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def now() -> str:
    # The keeper is a program of its own, outside any simulated clock.
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def start_ticks() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
