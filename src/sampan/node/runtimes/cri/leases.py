"""containerd's leases: what is made under one is not collected before something else refers to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from sampan.base.clock import Clock
from sampan.base.ids import RandomIds
from sampan.node.runtimes.cri.client import LEASES, CriClient

# A lease ends by itself if we die.
LEASE: Final = timedelta(hours=1)


@asynccontextmanager
async def leased(client: CriClient, clock: Clock, purpose: str) -> AsyncIterator[str]:
    """A lease for as long as the work takes; `purpose` is part of its name."""
    lease = f"sampan-{purpose}-{RandomIds().uid()}"
    expires = (clock.now() + LEASE).strftime("%Y-%m-%dT%H:%M:%SZ")
    await client.call(LEASES, "Create", id=lease, labels={"containerd.io/gc.expire": expires})
    try:
        yield lease
    finally:
        await client.call(LEASES, "Delete", id=lease)
