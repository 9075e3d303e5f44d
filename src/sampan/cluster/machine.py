"""What all clusters of a machine share: its kernel settings and its address ranges.

The first cluster to start writes down the settings that parts will change; the last to end puts them back.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from sampan.cluster.config import Settings

_RUN: Final = Path("/run/sampan")
_SYS: Final = Path("/proc/sys")
# Changed by the service proxy and by the CNI bridge plugin.
KERNEL_SETTINGS: Final = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)


class Shared(msgspec.Struct):
    """The clusters that are up, and the kernel settings as they were before the first of them."""

    clusters: list[str] = []
    before: dict[str, str] = {}


@contextlib.contextmanager
def locked(run: Path = _RUN) -> Iterator[None]:
    """Only one cluster at a time takes or gives back what is shared."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def claim(settings: Settings, run: Path = _RUN, sys: Path = _SYS) -> None:
    """Count this cluster in; call with the lock held, before anything is changed."""
    path = _record(run)
    shared = _alive(_read(path), settings)
    if not shared.clusters:
        shared.before = {name: value for name in KERNEL_SETTINGS if (value := _setting(sys / name))}
    shared.clusters = sorted({*shared.clusters, settings.id})
    _write(path, shared)


def release(settings: Settings, run: Path = _RUN, sys: Path = _SYS) -> None:
    """Count this cluster out; the last one puts the settings back. Call with the lock held. Idempotent."""
    path = _record(run)
    found = _read(path)
    if settings.id not in found.clusters:
        return
    shared = _alive(found, settings)
    shared.clusters = [cluster for cluster in shared.clusters if cluster != settings.id]
    if shared.clusters:
        _write(path, shared)
        return
    for name, value in shared.before.items():
        if _setting(sys / name) not in ("", value):
            with contextlib.suppress(OSError):
                (sys / name).write_text(value + "\n")
    path.unlink(missing_ok=True)


def _alive(shared: Shared, settings: Settings) -> Shared:
    # A cluster whose data directory was removed behind our back does not count once its bridge is gone.
    present = {name for _, name in socket.if_nameindex()}
    kept = [c for c in shared.clusters if c == settings.id or f"sampan-{c}-0" in present]
    return Shared(kept, shared.before)


def _record(run: Path) -> Path:
    # The settings are those of a network namespace.
    return run / f"{Path('/proc/self/ns/net').stat().st_ino}.json"


def _read(path: Path) -> Shared:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Shared)
    except (OSError, msgspec.DecodeError):
        return Shared()


def _write(path: Path, shared: Shared) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(shared))
    fresh.replace(path)


def _setting(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
