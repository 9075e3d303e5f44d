"""The nodes' bridges, made before anything listens on their addresses."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator

from sampan.base.errors import SampanError
from sampan.cluster import machine, preflight
from sampan.cluster.config import Settings


def ensure(settings: Settings) -> None:
    """Make each node's bridge with its gateway address, and the way to the Service range.

    Idempotent. Raises SampanError where the kernel does not let us, or another network has the ranges.
    """
    with machine.locked():
        demand_ranges(settings)
        machine.claim(settings)
        present = {name for _, name in socket.if_nameindex()}
        bridges = {settings.bridge(number) for number in range(settings.nodes)}
        for name in sorted(bridges - present):
            _ip(f"link add {name} type bridge")
        _ip("\n".join(_commands(settings)))


def _commands(settings: Settings) -> Iterator[str]:
    for number in range(settings.nodes):
        name = settings.bridge(number)
        mask = settings.pod_subnet(number).partition("/")[2]
        yield f"address replace {settings.node_ip(number)}/{mask} dev {name}"
        yield f"link set {name} up"
    # Packets to Services are redirected before they leave. The route is for hosts without a default route,
    # and shows other clusters of this machine that the range is taken.
    yield f"route replace {settings.service_range} dev {settings.bridge(0)}"


def demand_ranges(settings: Settings) -> None:
    """Raises SampanError where something else on the machine routes the cluster's address ranges."""
    own = f"sampan-{settings.id}-"
    for destination, device in preflight.routes_by_device():
        for what, mine in (("pod", settings.pod_range), ("Service", settings.service_range)):
            if not device.startswith(own) and ipaddress.ip_network(mine).overlaps(
                ipaddress.ip_network(destination)
            ):
                raise SampanError(
                    f"The cluster's {what} range {mine} overlaps {destination}, which the machine routes to "
                    f"{device}; take that network (perhaps another cluster) down first, or make a cluster "
                    "with another --data-dir."
                )


def _ip(commands: str) -> None:
    program = preflight.find_program("ip") or "ip"
    done = subprocess.run(
        [program, "-batch", "-"], input=commands + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        first = next(iter(done.stderr.strip().splitlines()), "nothing")
        raise SampanError(
            f"The pod network cannot be made: `ip` says {first!r}. Run as root, and see that the kernel has "
            "bridges."
        )
