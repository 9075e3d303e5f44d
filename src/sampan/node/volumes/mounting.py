"""mount(2) and umount(2): tmpfs and bind mounts for volumes."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from sampan.base import mountinfo

MS_BIND: Final = 4096
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MNT_DETACH: Final = 2


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)


def can_mount() -> bool:
    """Whether this process may mount: only root may try."""
    return os.geteuid() == 0


def mount_tmpfs(path: Path, size_bytes: int, mode: int) -> None:
    """Mount an empty tmpfs. Raises OSError."""
    options = f"mode={mode:o}" + (f",size={size_bytes}" if size_bytes > 0 else "")
    _mount(b"tmpfs", path, b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())


def bind(source: str, path: Path) -> None:
    """Make `source` appear at `path`. Raises OSError."""
    _mount(source.encode(), path, b"", MS_BIND, b"")


def mount_read_only(kind: str, source: str, path: Path, options: Iterable[str]) -> None:
    """Mount a file system that nobody may write to or run programs from. Raises OSError.

    `kind` is that of mount(8), `bind` among them; of the `options` those of the file system's own count.
    """
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    if kind == "bind":
        bind(source, path)  # the flags of a bind mount only count when it is mounted again
        _mount(source.encode(), path, b"", MS_BIND | MS_REMOUNT | flags, b"")
        return
    own = ",".join(each for each in options if "=" in each)
    _mount(source.encode(), path, kind.encode(), flags, own.encode())


def _mount(source: bytes, path: Path, kind: bytes, flags: int, options: bytes) -> None:
    if _libc().mount(source, os.fsencode(path), kind or None, flags, options or None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))


def unmount(path: Path) -> None:
    """Unmount lazily. Raises OSError."""
    if _libc().umount2(os.fsencode(path), MNT_DETACH) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))


def mounts_below(root: Path) -> list[Path]:
    """Mount points at or below `root`, the deepest first."""
    return [Path(p) for p in mountinfo.mounts_below(Path("/proc/self/mountinfo").read_bytes(), str(root))]
