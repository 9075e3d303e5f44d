"""Reads what explaining and simulating need through the API server; it only ever reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_not_found
from sampan.scheduler.explain import Explanation, explain
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.watching import KINDS
from sampan.schema import api


async def snapshot_of(client: Client, more: Sequence[type[Any]] = ()) -> Snapshot:
    """The cluster's nodes, pods, and what else plugins look at, `more` included.

    Raises ApiError or ConnectionError.
    """
    nodes = (await client.list(api.Node)).items
    pods = (await client.list(api.Pod)).items
    kinds: tuple[type[Any], ...] = (*KINDS, api.PriorityClass)
    others: dict[type[Any], Sequence[Any]] = {kind: (await client.list(kind)).items for kind in kinds}
    for kind in dict.fromkeys(more):
        found = await _all(client, kind) if kind not in others else None
        if found is not None:
            others[kind] = found
    return Snapshot(nodes, pods, others)


async def _all(client: Client, kind: type[Any]) -> Sequence[Any] | None:
    """Every object of a kind; None where the server does not have the kind."""
    try:
        return (await client.list(kind)).items
    except ApiError as error:
        if not is_not_found(error):
            raise
        return None


async def explain_pod(
    client: Client, namespace: str, name: str, profiles: Sequence[Profile] = ()
) -> Explanation:
    """Explain one pod, by its own profile of those that are configured (none: the usual one).

    Raises SampanError where there is no such pod, ApiError or ConnectionError.
    """
    profiles = profiles or (default_profile(),)
    more = [kind for profile in profiles for plugin in profile.plugins for kind in plugin.kinds]
    snapshot = await snapshot_of(client, more)
    pod = snapshot.pod(namespace, name)
    if pod is None:
        raise SampanError(f"There is no pod {name!r} in namespace {namespace!r}; see `kubectl get pods -A`.")
    own = next((p for p in profiles if p.name == pod.spec.schedulerName), None)
    return explain(snapshot, pod, own or profiles[0])
