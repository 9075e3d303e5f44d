"""The images that a cluster brings with it: pause, busybox, and one for programs of the host's Python."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sampan.node.images import elf, oci
from sampan.node.images.oci import ImageConfig, ImageError

PAUSE = "sampan.local/pause:1"
BUSYBOX = "sampan.local/busybox:1"
PYTHON_HOST = "sampan.local/python-host:1"

_BUSYBOX_PATHS = ("/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox")
_APPLETS_TIMEOUT_S = 10.0
_DIRECTORIES = (
    "bin",
    "dev",
    "etc",
    "home",
    "proc",
    "root",
    "run",
    "sys",
    "usr/bin",
    "usr/sbin",
    "var/log",
    "var/www",
)
# What a system pod mounts the host's own over, read-only.
_HOST_DIRECTORIES = ("lib", "lib64", "opt", "sbin", "usr/lib", "usr/local", "srv", "mnt")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def find_busybox() -> Path | None:
    """A statically linked busybox of this host, or None."""
    for name in _BUSYBOX_PATHS:
        path = Path(name)
        if path.is_file() and _is_static(path):
            return path
    return None


def _is_static(path: Path) -> bool:
    """A dynamic executable names its interpreter near its start."""
    with path.open("rb") as file:
        return b"/ld-" not in file.read(4096)


def build_pause(output: Path, references: Iterable[str] = (PAUSE,)) -> Path:
    """The sandbox image. Raises ImageError where this machine's instructions and busybox are both missing."""
    with tempfile.TemporaryDirectory(prefix="sampan-pause-") as name:
        root = Path(name)
        if elf.supported(platform.machine()):
            _write_program(root / "pause", elf.pause(platform.machine()))
            config = ImageConfig(entrypoint=("/pause",))
        else:
            shutil.copyfile(_busybox(), root / "busybox")
            (root / "busybox").chmod(0o755)
            config = ImageConfig(entrypoint=("/busybox", "sleep", "2147483647"))
        return _write(root, config, output, references)


def build_busybox(output: Path, references: Iterable[str] = (BUSYBOX,)) -> Path:
    """busybox with a link for each applet. Raises ImageError where the host has no static busybox."""
    busybox = _busybox()
    with tempfile.TemporaryDirectory(prefix="sampan-busybox-") as name:
        root = Path(name)
        _skeleton(root, _DIRECTORIES)
        _write_program(root / "bin/busybox", busybox.read_bytes())
        for applet in _applets(busybox):
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "usr/bin/env").symlink_to("/bin/env")
        return _write(root, ImageConfig(cmd=("sh",)), output, references)


def build_python_host(output: Path, references: Iterable[str] = (PYTHON_HOST,)) -> Path:
    """Only mount points: its pods mount the host's Python, libraries and this package read-only."""
    with tempfile.TemporaryDirectory(prefix="sampan-python-host-") as name:
        root = Path(name)
        _skeleton(root, (*_DIRECTORIES, *_HOST_DIRECTORIES))
        return _write(root, ImageConfig(), output, references)


def _busybox() -> Path:
    busybox = find_busybox()
    if busybox is None:
        raise ImageError(
            f"No statically linked busybox at {' or '.join(_BUSYBOX_PATHS)}; "
            "install it (Debian and Ubuntu: apt install busybox-static)."
        )
    return busybox


def _applets(busybox: Path) -> list[str]:
    listed = subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True, timeout=_APPLETS_TIMEOUT_S
    )
    return sorted(set(listed.stdout.split()))


def _skeleton(root: Path, directories: Iterable[str]) -> None:
    for directory in directories:
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    for name, text in _FILES.items():
        (root / name).write_text(text)


def _write_program(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o755)


def _write(root: Path, config: ImageConfig, output: Path, references: Iterable[str]) -> Path:
    # The umask of whoever builds must not show in the image.
    for path in root.rglob("*"):
        if not path.is_symlink() and path.name != "tmp":
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    content = oci.image_content([oci.layer_of(root)], config)
    output.write_bytes(oci.archive(content, tuple(references)))
    return output
