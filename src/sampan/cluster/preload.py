"""What every part of a cluster uses: the supervisor loads it once, and its forks share it."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Final

# Nothing that starts threads: see `forked`.
COMMON: Final = (
    "aiohttp.web",
    "cryptography.x509",
    "uvloop",
    "sampan.cluster.parts.clients",
    "sampan.cluster.parts.process",
    "sampan.kinds.registry",
    "sampan.schema.api",
    "sampan.schema.codec",
)


def load() -> None:
    """Load it, and keep the garbage collector from writing to the memory that is shared."""
    gc.disable()
    for name in COMMON:
        import_module(name)
    gc.freeze()
    gc.enable()
