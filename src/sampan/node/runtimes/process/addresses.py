"""Addresses for pods on the host's network: one of 127.0.0.0/8 each, so that their ports do not clash."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Collection

# Where a program finds the address that it should listen on.
VARIABLE = "SAMPAN_POD_IP"
HOST = "127.0.0.1"
# Each state directory draws from a /16 of its own, so that two clusters rarely share one.
_FIRST_BLOCK, _BLOCKS = 64, 128
_BLOCK_SIZE = 1 << 16


def allocate(state_directory: str, taken: Collection[str]) -> str:
    """The lowest address that is free. Raises ValueError when all 65,000 are taken."""
    block = _FIRST_BLOCK + zlib.crc32(state_directory.encode()) % _BLOCKS
    base = int(ipaddress.IPv4Address(f"127.{block}.0.0"))
    for offset in range(2, _BLOCK_SIZE - 1):
        address = str(ipaddress.IPv4Address(base + offset))
        if address not in taken:
            return address
    raise ValueError(
        "Every loopback address of this node is taken; remove pods, or run them on another node."
    )


def mount_variable(container_path: str) -> str:
    """What names a mount's path on the host: SAMPAN_MOUNT_VAR_RUN_SECRETS for /var/run/secrets."""
    letters = (c.upper() if c.isascii() and c.isalnum() else "_" for c in container_path.strip("/"))
    return "SAMPAN_MOUNT_" + "".join(letters)
