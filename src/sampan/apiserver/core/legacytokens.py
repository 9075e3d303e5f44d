"""The day on which a Secret's token was last used is a label of the Secret, as kube-apiserver keeps it.

Authentication cannot wait for a write: it notes the Secret, and the shell here writes the label right after.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resource
from sampan.base.clock import Clock
from sampan.kinds.core.secret import LAST_USED
from sampan.schema import api, codec


def used(secret: api.Secret, now: datetime) -> api.Secret | None:
    """The Secret with today's date (UTC) in its label; None where it is there.

    Tomorrow's is as good: another server's clock is ahead.
    """
    labels = secret.metadata.labels
    days = {(now + timedelta(days=ahead)).date().isoformat() for ahead in (0, 1)}
    if labels.get(LAST_USED) in days:
        return None
    fresh: api.Secret = codec.copy(secret)
    fresh.metadata.labels = {**labels, LAST_USED: now.date().isoformat()}
    return fresh


class LegacyTokens:
    """Writes down the use of such tokens, at most once a day for each."""

    def __init__(self, secrets: Resource, own: OwnWrites, clock: Clock) -> None:
        self._secrets = secrets
        self._own = own
        self._clock = clock
        self._noted: set[tuple[str, str]] = set()
        self._some = asyncio.Event()

    def note(self, secret: api.Secret) -> None:
        """The token of this Secret was shown just now."""
        if used(secret, self._clock.now()) is not None:
            self._noted.add((secret.metadata.namespace or "", secret.metadata.name or ""))
            self._some.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._noted:
                await self._label(*self._noted.pop())

    async def _label(self, namespace: str, name: str) -> None:
        item = self._secrets.cache.get(namespace, name)
        held: Any = self._secrets.decode_stored(item.data) if item is not None else None
        fresh = used(held, self._clock.now()) if held is not None else None
        if fresh is not None:
            # Whoever changes it at the same time wins: the next use comes within seconds.
            await self._own.update(self._secrets, fresh, "")
