"""What the machine must have, what it lacks, and the one command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import SampanError

# Programs and the Debian packages that bring them.
_PROGRAMS: Final = (
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("conntrack", "conntrack"),
)
_CNI_PLUGINS: Final = ("bridge", "host-local", "loopback")
CNI_DIRECTORIES: Final = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
_BUSYBOX: Final = ("/bin/busybox", "/usr/bin/busybox")
# Debian leaves these out of an ordinary user's PATH.
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at. `mend` is a command or a sentence; `package` the Debian package that brings it."""

    name: str
    ok: bool
    detail: str
    package: str = ""
    mend: str = ""


def find_program(name: str) -> str | None:
    """The path of a program, in the usual places too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def cni_directory() -> str | None:
    """Where the CNI plugins are; the first directory that has them all."""
    for directory in CNI_DIRECTORIES:
        if all((Path(directory) / plugin).exists() for plugin in _CNI_PLUGINS):
            return directory
    return None


def findings(runtime: str) -> Iterator[Finding]:
    """Everything that a cluster with this runtime needs from the machine."""
    if runtime != "containerd":
        yield Finding("runtime", True, f"{runtime} needs nothing but this package")
        return
    root = os.geteuid() == 0
    detail = "running as root" if root else "containers need root"
    yield Finding("root", root, detail, mend="run it with sudo, or choose --runtime process")
    for program, package in _PROGRAMS:
        path = find_program(program)
        yield Finding(program, path is not None, path or "not found", package)
    directory = cni_directory()
    yield Finding(
        "CNI plugins", directory is not None, directory or "not found", "containernetworking-plugins"
    )
    busybox = next((p for p in _BUSYBOX if Path(p).exists()), None)
    yield Finding("busybox", busybox is not None, busybox or "not found", "busybox-static")
    overlay = "overlay" in Path("/proc/filesystems").read_text()
    yield Finding(
        "overlayfs",
        True,
        "available" if overlay else "not loaded yet; the slower native snapshotter serves without it",
    )
    cgroups = Path("/sys/fs/cgroup").exists()
    yield Finding(
        "cgroups",
        cgroups,
        "mounted" if cgroups else "not mounted",
        mend="mount -t cgroup2 none /sys/fs/cgroup",
    )


def mend_command(missing: list[Finding]) -> str:
    """The one command that installs what is missing; "" where nothing can be installed."""
    packages = sorted({f.package for f in missing if f.package})
    if not packages:
        return ""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y {' '.join(packages)}"


def best_runtime() -> str:
    """What `--runtime auto` means here: containers for root, host processes for everyone else."""
    return "containerd" if os.geteuid() == 0 else "process"


def demand(runtime: str) -> None:
    """Raises SampanError that names what is missing and the command that mends it."""
    missing = [f for f in findings(runtime) if not f.ok]
    if not missing:
        return
    names = ", ".join(f.name for f in missing)
    command = mend_command(missing)
    mends = [f"`{command}`"] if command else []
    mends += [f.mend for f in missing if f.mend]
    raise SampanError(f"This machine lacks {names}. To mend it: {'; '.join(mends)}.")


def routes() -> list[str]:
    """The destinations of the machine's IPv4 routes, in CIDR notation, without the default route."""
    return [destination for destination, _ in routes_by_device()]


def routes_by_device() -> list[tuple[str, str]]:
    """Destination and network device of the machine's IPv4 routes, without the default route."""
    found = []
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        fields = line.split()
        destination, mask = (int(fields[i], 16) for i in (1, 7))
        if mask:
            octets = ".".join(str(destination >> shift & 255) for shift in (0, 8, 16, 24))
            found.append((f"{octets}/{mask.bit_count()}", fields[0]))
    return found
