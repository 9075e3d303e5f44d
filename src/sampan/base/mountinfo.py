"""Reading /proc/self/mountinfo, where the kernel writes blanks and the like as octal."""

from __future__ import annotations

import os
import re

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_point(line: bytes) -> str:
    """The mount point that one line of mountinfo names, as a path that os functions take."""
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4]))


def mounts_below(mountinfo: bytes, directory: str) -> list[str]:
    """The mount points at or below a directory, the innermost first."""
    prefix = directory.rstrip("/")
    points = [mount_point(line) for line in mountinfo.splitlines()]
    below = [point for point in points if point == prefix or point.startswith(f"{prefix}/")]
    return sorted(below, key=lambda point: (-point.count("/"), point))
