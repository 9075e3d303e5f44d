"""Reads what simulating needs through the API server; it only ever reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.client.client import Client
from sampan.scheduler.asking import snapshot_of
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api

# What pods get from, beside what plugins look at, and whose pods may be there already.
_KINDS: Final[tuple[type[Any], ...]] = (
    api.LimitRange,
    api.RuntimeClass,
    api.Deployment,
    api.DaemonSet,
    api.Job,
    api.ResourceClaimTemplate,
)


async def snapshot_to_simulate(client: Client, profiles: Sequence[Profile] = ()) -> Snapshot:
    """The cluster as it is, with all that simulations look at. Raises ApiError or ConnectionError."""
    more = [kind for profile in profiles or (default_profile(),) for p in profile.plugins for kind in p.kinds]
    return await snapshot_of(client, [*_KINDS, *more])
