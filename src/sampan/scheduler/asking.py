"""Reads what explaining and simulating need through the API server; it only ever reads."""

from __future__ import annotations

from typing import Any

from sampan.base.errors import SampanError
from sampan.client.client import Client
from sampan.scheduler.explain import Explanation, explain
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.watching import KINDS
from sampan.schema import api


async def snapshot_of(client: Client) -> Snapshot:
    """The cluster's nodes, pods, and what else plugins look at. Raises ApiError or ConnectionError."""
    nodes = (await client.list(api.Node)).items
    pods = (await client.list(api.Pod)).items
    kinds: tuple[type[Any], ...] = (*KINDS, api.PriorityClass)
    others = {kind: (await client.list(kind)).items for kind in kinds}
    return Snapshot(nodes, pods, others)


async def explain_pod(client: Client, namespace: str, name: str) -> Explanation:
    """Explain one pod. Raises SampanError where there is no such pod, ApiError or ConnectionError."""
    snapshot = await snapshot_of(client)
    pod = snapshot.pod(namespace, name)
    if pod is None:
        raise SampanError(f"There is no pod {name!r} in namespace {namespace!r}; see `kubectl get pods -A`.")
    return explain(snapshot, pod)
