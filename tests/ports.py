"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from typing import Final

# Below what clients get from the kernel (from 32768) and what node ports are (from 30000): a free one is
# not the port of a connection a moment later.
_FIRST: Final = 20000
_LAST: Final = 29999
_TRIES: Final = 64


def free_port(*kinds: int) -> int:
    """A port that nobody has on any address, for sockets of all those kinds (TCP where none is named)."""
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        port = chance.randint(_FIRST, _LAST)
        with ExitStack() as held:
            try:
                for kind in kinds or (socket.SOCK_STREAM,):
                    held.enter_context(socket.socket(socket.AF_INET, kind)).bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of {_TRIES} ports from {_FIRST} to {_LAST} was free")
