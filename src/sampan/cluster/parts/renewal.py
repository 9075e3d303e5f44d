"""Renews certificates before they run out, while the cluster runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sampan.base.clock import Clock
from sampan.base.errors import SampanError
from sampan.cluster.config import Layout, Settings

# Certificates are renewed in their last 30 days, so that there are many tries.
CHECK_EVERY_S: Final = 12 * 3600.0
_log = logging.getLogger(__name__)


async def keep(layout: Layout, settings: Settings, clock: Clock) -> None:
    """Look twice a day until cancelled; each part takes over its renewed files by `tls.follow`."""
    while True:
        await clock.sleep(CHECK_EVERY_S)
        try:
            await asyncio.to_thread(_ensure, layout, settings, clock)
        except (SampanError, OSError) as problem:
            _log.error("certificates cannot be renewed: %s", problem)


def _ensure(layout: Layout, settings: Settings, clock: Clock) -> None:
    from sampan.cluster import credentials

    credentials.ensure(layout, settings, clock.now())
