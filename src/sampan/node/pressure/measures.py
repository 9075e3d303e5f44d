"""What is left of the machine's memory, disks and process numbers, and what a directory takes up."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from sampan.node.pressure.plan import Amount

_BLOCK_BYTES: Final = 512


def amounts(root_dir: str, image_dir: str) -> dict[str, Amount]:
    """Every signal of this machine; those of images where they have a file system of their own.

    Raises OSError where a directory is gone.
    """
    import psutil

    memory = psutil.virtual_memory()
    found = {"memory.available": Amount(memory.available, memory.total)} | _disk("nodefs", root_dir)
    if image_dir and Path(image_dir).stat().st_dev != Path(root_dir).stat().st_dev:
        found |= _disk("imagefs", image_dir)
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    # The fourth field of loadavg is `running/all` of what has a process number.
    alive = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    found["pid.available"] = Amount(most - alive, most)
    return found


def _disk(name: str, directory: str) -> dict[str, Amount]:
    seen = os.statvfs(directory)
    found = {f"{name}.available": Amount(seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize)}
    if seen.f_files:  # some file systems do not count
        found[f"{name}.inodesFree"] = Amount(seen.f_favail, seen.f_files)
    return found


def disk_use(roots: Iterable[Path]) -> tuple[int, int]:
    """(bytes on the disk, files) below these directories; what vanishes meanwhile counts for nothing."""
    size_bytes, files = 0, 0
    waiting = [str(root) for root in roots]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    size_bytes += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return size_bytes, files
