"""What is used of each ResourceQuota, counted over all objects of its namespace.

The API server keeps the count with every write; this controller counts what was there before the quota or
before a
change of it, and counts anew now and then. It reads the quota first and the objects after it, and writes
with the
quota's resourceVersion: whatever was charged meanwhile makes it count again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sampan.client.client import Client
from sampan.client.effects import Plan, UpdateStatus
from sampan.client.errors import ApiError
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.kinds import registry
from sampan.kinds.kind import Kind
from sampan.kinds.quota import charge, devices, usage
from sampan.kinds.quota.devices import Usage
from sampan.schema import api, codec

RESYNC_S: Final = 300.0


class View(msgspec.Struct, frozen=True):
    """A quota; `used` is what was counted after it was read, with what the `classes` of devices serve."""

    quota: api.ResourceQuota
    used: Usage = {}
    classes: Mapping[str, str] = {}


def gather(caches: Caches, key: Key) -> View | None:
    quota = caches.of(api.ResourceQuota).get(key.namespace, key.name)
    return View(quota) if quota is not None else None


def _gather_served(caches: Caches, key: Key) -> View | None:
    view = gather(caches, key)
    if view is None or not devices.covers_served(view.quota.spec.hard):
        return view
    return replace(view, classes=devices.classes_of(caches.of(api.DeviceClass).items()))


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
        objects.append((kind, await _all_of(client, kind, namespace)))
    return View(quota, charge.count(quota.spec, objects, view.classes))


async def _all_of(client: Client, kind: Kind, namespace: str) -> list[Any]:
    """The objects of the kind; none of one that this version of Kubernetes does not have."""
    try:
        return list((await client.list(kind.type, namespace)).items)
    except ApiError as problem:
        if problem.code == 404:
            return []
        raise


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


def _concerned(caches: Caches, _class: Any) -> Iterable[Key]:
    """The quotas of what classes may serve."""
    for quota in caches.of(api.ResourceQuota).items():
        if devices.covers_served(quota.spec.hard):
            yield Key(quota.metadata.namespace or "", quota.metadata.name or "")


def _serves_otherwise(old: Any, new: Any) -> bool:
    return old is None or new is None or old.spec.extendedResourceName != new.spec.extendedResourceName


def controller(*, counts_served: bool) -> Controller:
    """`counts_served`: there are DeviceClasses, and claims count for what these serve."""
    return Controller(
        name="resourcequota-controller",
        kind=api.ResourceQuota,
        watches=(mapped(api.DeviceClass, _concerned, _serves_otherwise),) if counts_served else (),
        gather=_gather_served if counts_served else gather,
        survey=survey,
        plan=plan,
        matters=_matters,
    )
