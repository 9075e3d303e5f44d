"""subPath mounts that cannot be led out of their volume by symlinks."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from sampan.node.errors import ConfigError
from sampan.node.volumes.mounting import bind, can_mount


def check_subpath(subpath: str) -> str:
    """The path as it may be used. Raises ConfigError for absolute paths and for `..`."""
    if subpath.startswith("/"):
        raise ConfigError(f"error SubPath `{subpath}` must not be an absolute path")
    if ".." in PurePosixPath(subpath).parts:
        raise ConfigError(f"unable to provision SubPath `{subpath}`: must not contain '..'")
    return subpath


def open_subpath(volume: Path, subpath: str) -> int:
    """An O_PATH descriptor of `subpath` within `volume`; missing directories are made.

    Symlinks are followed only while they stay inside the volume. The descriptor is taken step by step
    without following anything, so that swapping a directory for a symlink meanwhile leads nowhere.
    Raises ConfigError for a path that leads outside.
    """
    base = volume.resolve()
    wanted = (base / check_subpath(subpath)).resolve()
    if wanted != base and base not in wanted.parents:
        raise ConfigError(f"subpath {subpath!r} not within volume path {str(volume)!r}")
    mode = base.stat().st_mode & 0o7777
    fd = os.open(base, os.O_PATH | os.O_DIRECTORY)
    try:
        for part in wanted.relative_to(base).parts:
            fd = _descend(fd, part, mode, subpath)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _descend(fd: int, part: str, mode: int, subpath: str) -> int:
    try:
        below = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
    except FileNotFoundError:
        os.mkdir(part, dir_fd=fd)
        below = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
        Path(f"/proc/self/fd/{below}").chmod(mode)
    except NotADirectoryError as error:
        raise ConfigError(f"subpath {subpath!r} goes through something that is no directory") from error
    if stat.S_ISLNK(os.fstat(below).st_mode):
        os.close(below)
        raise ConfigError(f"subpath {subpath!r} was changed to a symlink while it was opened")
    os.close(fd)
    return below


def pin_subpath(volume: Path, subpath: str, place: Path) -> str:
    """A host path that stands for `subpath` from now on, whatever happens inside the volume.

    As root that is a bind mount at `place`; otherwise the checked path itself. Raises ConfigError, OSError.
    """
    fd = open_subpath(volume, subpath)
    try:
        source = Path(f"/proc/self/fd/{fd}")
        real = str(source.readlink())
        if not can_mount():
            return real
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            place.mkdir(exist_ok=True)
        else:
            place.touch()
        bind(str(source), place)
        return str(place)
    finally:
        os.close(fd)
