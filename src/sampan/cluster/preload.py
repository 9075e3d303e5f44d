"""What every part of a cluster uses: the supervisor loads it once, and its forks share it."""

from __future__ import annotations

import gc
import os
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
# What tells OpenSSL where the machine's certificate authorities are.
_AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def load() -> None:
    """Load it, and keep the garbage collector from writing to the memory that is shared."""
    gc.disable()
    _load_aiohttp()
    for name in COMMON:
        import_module(name)
    gc.freeze()
    gc.enable()


def _load_aiohttp() -> None:
    """Without the some 140 certificates that it reads for two default contexts: a fifth of all the loading.

    These contexts trust nobody then, and nobody uses them: every part of a cluster brings contexts of its
    own. Where OpenSSL looks for the machine's certificates is for the environment to say, so that nothing of
    `ssl` or aiohttp need be touched; this runs before there is a second thread or a child.
    """
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        import_module("aiohttp.connector")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
