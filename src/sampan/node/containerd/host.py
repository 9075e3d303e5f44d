"""What the host offers a private containerd, and the choices that follow from it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from sampan.base.mountinfo import mount_point
from sampan.node.containerd.config import CNI_BIN_DIRS, CNI_PLUGINS

_CAP_SYS_RESOURCE = 24
# Services often start with a PATH that lacks the system directories.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
}


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that decide a containerd's configuration."""

    containerd: str  # its path; empty where absent
    cni_bin_dir: str  # empty where absent
    can_lower_oom_score: bool
    systemd_cgroup: bool
    snapshotter: str
    problems: tuple[str, ...]  # what keeps containers from running: sentences


def look(data_dir: str) -> Host:
    """The facts of this machine, for a containerd that stores its images at `data_dir`."""
    programs = {name: find_program(name) for name in _PROGRAMS}
    cni = next(
        (each for each in CNI_BIN_DIRS if all((Path(each) / name).exists() for name in CNI_PLUGINS)), ""
    )
    problems = [
        f"{name} is not installed; install it (Debian and Ubuntu: apt install {_PROGRAMS[name]})."
        for name, path in programs.items()
        if not path
    ]
    if not cni:
        problems.append(
            f"The CNI plugins {', '.join(CNI_PLUGINS)} are in none of {', '.join(CNI_BIN_DIRS)}; "
            "install them (Debian and Ubuntu: apt install containernetworking-plugins)."
        )
    if os.geteuid() != 0:
        problems.append("containerd needs root; run as root, or use the process runtime.")
    return Host(
        containerd=programs["containerd"],
        cni_bin_dir=cni,
        can_lower_oom_score=has_capability(_read("/proc/self/status"), _CAP_SYS_RESOURCE),
        systemd_cgroup=Path("/run/systemd/system").is_dir()
        and Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        snapshotter=choose_snapshotter(_read("/proc/filesystems"), _read("/proc/self/mountinfo"), data_dir),
        problems=tuple(problems),
    )


def find_program(name: str) -> str:
    """The path of a program, in PATH or the system's directories; empty where absent."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_PATH) or ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def has_capability(status: str, number: int) -> bool:
    """Whether /proc/<pid>/status shows an effective capability."""
    line = next((each for each in status.splitlines() if each.startswith("CapEff:")), "CapEff: 0")
    return bool(int(line.split()[1], 16) >> number & 1)


def choose_snapshotter(filesystems: str, mountinfo: str, data_dir: str) -> str:
    """overlayfs where the kernel has it and the data directory is not itself on an overlay; else native."""
    names = {line.split()[-1] for line in filesystems.splitlines() if line.strip()}
    return "overlayfs" if "overlay" in names and filesystem_of(mountinfo, data_dir) != "overlay" else "native"


def filesystem_of(mountinfo: str, path: str) -> str:
    """The type of the filesystem that `path` is on, by /proc/self/mountinfo; empty where unknown."""
    best, found = "", ""
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(" - ")
        point = mount_point(mount.encode(errors="surrogateescape"))
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, found = point, filesystem.split()[0]
    return found
