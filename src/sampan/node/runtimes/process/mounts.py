"""Mounts without root: in a user and mount namespace of the container's own, where the kernel allows them.

A container path that does not exist on the host is made: its nearest existing directory is covered by a
tmpfs that shows the directory's own entries, and the path is made there.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
# Flags that a bind mount has from its source may not be dropped by a remount in a user namespace.
_KEPT_FLAGS = {
    os.ST_NOSUID: 2,
    os.ST_NODEV: 4,
    os.ST_NOEXEC: 8,
    os.ST_NOATIME: 1024,
    os.ST_NODIRATIME: 2048,
    os.ST_RELATIME: 1 << 21,
}


class Bind(NamedTuple):
    host_path: str
    container_path: str
    readonly: bool


def enter(binds: Iterable[Bind], new_root: Path) -> None:
    """Move the calling process into namespaces of its own and mount there. Raises OSError if refused.

    `new_root` is an empty directory for a root of its own, should a path directly below / be wanted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    # Root needs no user namespace, and would lose its reach over the host's users in one.
    _check(libc.unshare(_CLONE_NEWNS if user == 0 else _CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount(libc, "none", "/", "", _MS_REC | _MS_PRIVATE)
    for bind in binds:
        _make_target(libc, Path(bind.host_path), Path(bind.container_path), new_root)
        _mount(libc, bind.host_path, bind.container_path, "", _MS_BIND | _MS_REC)
        if bind.readonly:
            flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _kept_flags(bind.container_path)
            _mount(libc, "none", bind.container_path, "", flags)


def _kept_flags(path: str) -> int:
    present = os.statvfs(path).f_flag
    return sum(flag for shown, flag in _KEPT_FLAGS.items() if present & shown)


def _make_target(libc: ctypes.CDLL, source: Path, target: Path, new_root: Path) -> None:
    if target.exists():
        return
    ancestor = next(parent for parent in target.parents if parent.is_dir())
    if ancestor == Path("/"):
        # What runs here stands on the root, so it cannot be covered; it is left for a copy instead.
        _mirror(libc, ancestor, new_root)
        os.chroot(new_root)
        os.chdir("/")
    else:
        _mirror(libc, ancestor, ancestor)
    if source.is_dir():
        target.mkdir(parents=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _mirror(libc: ctypes.CDLL, directory: Path, at: Path) -> None:
    """Mount a tmpfs at `at` with the entries of `directory`, in which more can be made."""
    old = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        names = [each.name for each in Path(f"/proc/self/fd/{old}").iterdir()]
        _mount(libc, "tmpfs", str(at), "tmpfs", 0)
        for name in names:
            source, entry = Path(f"/proc/self/fd/{old}/{name}"), at / name
            if source.is_symlink():
                entry.symlink_to(source.readlink())
                continue
            if source.is_dir():
                entry.mkdir()
            else:
                entry.touch()
            _mount(libc, str(source), str(entry), "", _MS_BIND | _MS_REC)
    finally:
        os.close(old)


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str, flags: int) -> None:
    result = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)
    _check(result, f"mount {source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
