"""What processes use, by session."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def of_sessions(leaders: Collection[int]) -> dict[int, tuple[int, int]]:
    """(CPU time in ns, resident bytes) of each session: its processes, and the children they have reaped."""
    used = dict.fromkeys(leaders, (0, 0))
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            session = int(fields[3])
            if session in used:
                ticks = sum(int(each) for each in fields[11:15])
                cpu_ns, resident_bytes = used[session]
                used[session] = (cpu_ns + ticks * _TICK_NS, resident_bytes + int(fields[21]) * _PAGE_BYTES)
    return used
