"""The nodes' bridges, made before anything listens on their addresses."""

from __future__ import annotations

import subprocess

from sampan.base.errors import SampanError
from sampan.cluster import preflight
from sampan.cluster.config import Settings


def ensure(settings: Settings) -> None:
    """Make each node's bridge with its gateway address, where it is not there yet. Raises SampanError."""
    for number in range(settings.nodes):
        name = settings.bridge(number)
        address = f"{settings.node_ip(number)}/{settings.pod_subnet(number).partition('/')[2]}"
        if _ip("link", "show", name) is not None:
            _ip("link", "add", name, "type", "bridge", must=True)
        _ip("address", "replace", address, "dev", name, must=True)
        _ip("link", "set", name, "up", must=True)


def _ip(*arguments: str, must: bool = False) -> str | None:
    """Run iproute2; gives what it complained of, or None. With `must`, a complaint is a SampanError."""
    program = preflight.find_program("ip") or "ip"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    if must:
        raise SampanError(
            f"The pod network cannot be made: `ip {' '.join(arguments)}` says {done.stderr.strip()!r}. "
            "Run as root, and see that the kernel has bridges."
        )
    return done.stderr
