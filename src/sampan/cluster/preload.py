"""What every part of a cluster uses: the supervisor loads it once, and its forks share it."""

from __future__ import annotations

import gc
import ssl
from functools import partial
from importlib import import_module
from typing import Any, Final

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
    _load_aiohttp()
    for name in COMMON:
        import_module(name)
    gc.freeze()
    gc.enable()


class LateTrust(ssl.SSLContext):
    """A client's context that reads the machine's certificate authorities at its first connection."""

    _read = False

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """As for every context."""
        if not self._read:
            self._read = True
            self.load_default_certs()
        return super().wrap_bio(*arguments, **options)


def _load_aiohttp() -> None:
    """Without the some 140 certificates that it reads for two default contexts: a fifth of all the loading.

    Sampan's own connections bring contexts of their own, but for some to extenders of the scheduler.
    """
    plain: Any = ssl
    ordinary = plain.create_default_context
    plain.create_default_context = partial(LateTrust, ssl.PROTOCOL_TLS_CLIENT)
    plain.SSLContext.set_default_verify_paths = lambda _: None  # hides the inherited one
    try:
        import_module("aiohttp.connector")
    finally:
        plain.create_default_context = ordinary
        del plain.SSLContext.set_default_verify_paths
