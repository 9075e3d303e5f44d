"""What is used of each ResourceQuota, counted over all objects of its namespace.

The API server keeps the count with every write; this controller counts what was there before the quota or
before a
change of it, and counts anew now and then. It reads the quota first and the objects after it, and writes
with the
quota's resourceVersion: whatever was charged meanwhile makes it count again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import Plan, UpdateStatus
from sampan.client.errors import ApiError
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.kinds.quota import charge, usage
from sampan.kinds.quota.usage import Usage
from sampan.schema import api, codec

RESYNC_S: Final = 300.0


class View(msgspec.Struct, frozen=True):
    """A quota; `used` is what was counted after it was read."""

    quota: api.ResourceQuota
    used: Usage = {}


def gather(caches: Caches, key: Key) -> View | None:
    quota = caches.of(api.ResourceQuota).get(key.namespace, key.name)
    return View(quota) if quota is not None else None


async def survey(client: Client, view: View) -> View | None:
    """Count: the quota as it is now, then the objects."""
    metadata = view.quota.metadata
    namespace = metadata.namespace or ""
    try:
        quota = await client.get(api.ResourceQuota, metadata.name or "", namespace)
    except ApiError as problem:
        if problem.code == 404:
            return None
        raise
    objects: list[tuple[Kind, list[Any]]] = []
    for kind in counted(quota.spec.hard):
        listed = await client.list(kind.type, namespace)
        objects.append((kind, list(listed.items)))
    return View(quota, charge.count(quota.spec, objects))


def counted(hard: Any) -> list[Kind]:
    """The kinds that a quota with these resources counts."""
    return [k for k in registry.ALL if k.namespaced and not k.virtual and usage.names_of(k, hard)]


def plan(view: View, now: datetime) -> Plan:
    """Put the status right where it is not."""
    quota = view.quota
    hard = quota.spec.hard
    if quota.status.hard == hard and quota.status.used == view.used:
        return Plan(requeue_after_s=RESYNC_S)
    changed = codec.copy(quota)
    changed.status.hard, changed.status.used = dict(hard), dict(view.used)
    return Plan((UpdateStatus(changed),), requeue_after_s=RESYNC_S)


def _matters(old: Any, new: Any) -> bool:
    """The API server's own counting is no reason to count again."""
    return old is None or new is None or not charge.is_counted(new) or old.spec != new.spec


CONTROLLER: Final = Controller(
    name="resourcequota-controller",
    kind=api.ResourceQuota,
    gather=gather,
    survey=survey,
    plan=plan,
    matters=_matters,
)
