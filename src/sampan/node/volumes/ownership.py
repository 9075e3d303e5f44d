"""fsGroup: the files of a volume belong to the pod's group, which may read and write them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FILE_BITS: Final = 0o060
_DIRECTORY_BITS: Final = 0o070 | stat.S_ISGID
ON_ROOT_MISMATCH: Final = "OnRootMismatch"


def own(root: Path, group: int, policy: str | None) -> None:
    """Give everything below `root` to the group, as kubelet's SetVolumeOwnership. Raises OSError.

    With the policy OnRootMismatch nothing is done where the root itself is right already. Symlinks are not
    followed; their own group changes.
    """
    if policy == ON_ROOT_MISMATCH and _is_right(root, group):
        return
    # The root comes last: while it is not right, a change that broke off is made again.
    for path in (*_below(root), root):
        found = path.lstat()
        os.chown(path, -1, group, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            continue
        bits = _DIRECTORY_BITS if stat.S_ISDIR(found.st_mode) else _FILE_BITS
        path.chmod(stat.S_IMODE(found.st_mode) | bits)


def _is_right(root: Path, group: int) -> bool:
    found = root.stat()
    return found.st_gid == group and found.st_mode & _DIRECTORY_BITS == _DIRECTORY_BITS


def _below(root: Path) -> Iterator[Path]:
    for place, directories, files in os.walk(root, topdown=False):
        for name in (*files, *directories):
            yield Path(place, name)
