"""Writes a volume's files so that a reader sees all of the old ones or all of the new ones.

As kubelet does: the files go into a fresh directory, `..data` is a symlink that is swapped to it, and what
the container sees are symlinks through `..data`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

from sampan.node.errors import VolumeError
from sampan.node.volumes.plan import FileEntry

DATA: Final = "..data"
DATA_NEW: Final = "..data_tmp"
GROUP_READ: Final = 0o440
DIRECTORY_MODE: Final = 0o755
SET_GID: Final = 0o2000


def write_files(root: Path, files: Iterable[FileEntry], now: datetime, fs_group: int | None = None) -> bool:
    """Make `root` hold exactly `files`; whether anything changed. Raises VolumeError for an escape."""
    entries = {_checked(entry.path): entry for entry in files}
    root.mkdir(parents=True, exist_ok=True)
    current = root / DATA
    if current.is_symlink() and _holds(current, entries, fs_group):
        return False
    prefix = now.strftime("..%Y_%m_%d_%H_%M_%S.")
    fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    _own_directory(fresh, fs_group)
    for path, entry in entries.items():
        _write(fresh, path, entry, fs_group)
    old = current.readlink() if current.is_symlink() else None
    swap = root / DATA_NEW
    with suppress(FileNotFoundError):
        swap.unlink()
    swap.symlink_to(fresh.name)
    swap.rename(current)
    _link(root, {PurePosixPath(path).parts[0] for path in entries})
    _own_directory(root, fs_group)
    if old is not None:
        shutil.rmtree(root / old, ignore_errors=True)
    return True


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise VolumeError(f"invalid path: {path!r} must be relative and stay within its volume")
    return str(PurePosixPath(path))


def _holds(current: Path, entries: dict[str, FileEntry], fs_group: int | None) -> bool:
    held = {str(p.relative_to(current)) for p in current.rglob("*") if p.is_file()}
    if held != set(entries):
        return False
    for path, entry in entries.items():
        place = current / path
        wanted = _mode(entry, fs_group)
        if place.stat().st_mode & 0o7777 != wanted or place.read_bytes() != entry.data:
            return False
    return True


def _mode(entry: FileEntry, fs_group: int | None) -> int:
    return entry.mode | GROUP_READ if fs_group is not None else entry.mode


def _write(fresh: Path, path: str, entry: FileEntry, fs_group: int | None) -> None:
    place = fresh / path
    for parent in reversed(place.relative_to(fresh).parents[:-1]):
        directory = fresh / parent
        if not directory.exists():
            directory.mkdir()
            _own_directory(directory, fs_group)
    place.write_bytes(entry.data)
    if entry.owner is not None or fs_group is not None:
        _chown(place, -1 if entry.owner is None else entry.owner, -1 if fs_group is None else fs_group)
    place.chmod(_mode(entry, fs_group))


def _own_directory(directory: Path, fs_group: int | None) -> None:
    if fs_group is not None:
        _chown(directory, -1, fs_group)
        directory.chmod(DIRECTORY_MODE | SET_GID)
    else:
        directory.chmod(DIRECTORY_MODE)


def _chown(path: Path, user: int, group: int) -> None:
    # Without root, files stay the agent's own: containers then run as the same user.
    with suppress(PermissionError):
        os.chown(path, user, group)


def _link(root: Path, names: set[str]) -> None:
    for name in names:
        link = root / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
    for link in root.iterdir():
        if link.name not in names and not link.name.startswith("..") and link.is_symlink():
            link.unlink()
