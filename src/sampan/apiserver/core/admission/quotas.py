"""ResourceQuota, exact: what an object uses is counted in the commit that stores the object.

Kubernetes checks a quota first and stores the object later, and lets a controller find out what was given
back.
Here each write whose object counts against a quota of its namespace carries the quota's new status with it,
guarded
by the revision that was read. Writers of one namespace take turns, so that they do not run into each other.
Creating, changing and deleting all count; the controller is left with what was there before the quota.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.resource import Resource, Resources
from sampan.kinds.kind import Kind
from sampan.kinds.quota import charge, devices, usage
from sampan.kinds.quota.charge import Write
from sampan.schema import api
from sampan.store.backend import Guard, Op, Put
from sampan.store.items import Item

# Kinds whose use of a quota can change while they live.
CHANGING: Final = frozenset({"Pod", "Service", "PersistentVolumeClaim", "ResourceClaim"})
_NOT_CHARGED: Final = frozenset({"Event", "Lease"})


class Quotas:
    """Charges writes to the quotas of their namespace."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._quotas = resources.of(api.ResourceQuota)
        self._classes = resources.of(api.DeviceClass)
        self._claims = resources.of(api.ResourceClaim)
        self._pods = resources.of(api.Pod)

    def watch(self, namespace: str, kind: Kind) -> bool:
        """Whether a write of this kind in the namespace may have to be charged. Must be quick."""
        cache = self._quotas.cache
        return (
            bool(cache.count)
            and bool(namespace)
            and bool(cache.items(namespace))
            and (kind.kind not in _NOT_CHARGED)
        )

    def charge(
        self, context: Context, namespace: str, key: str, before: Any, after: Any, *, forced: bool = False
    ) -> tuple[list[Guard], list[Op]]:
        """What must be committed with the write. Raises 403 where a quota has no room, unless it is `forced`.

        `key` is that of the object, which may be a quota itself. Quotas that the write does not change are
        not touched, and nothing is guarded then.
        """
        guards: list[Guard] = []
        ops: list[Op] = []
        kind = context.resource.kind
        write = Write(kind, before, after)
        for item in self._quotas.cache.items(namespace):
            if item.key == key:
                continue
            quota: api.ResourceQuota = self._quotas.decode_stored(item.data)
            counts_served = kind.resource == usage.CLAIMS and devices.covers_served(quota.spec.hard)
            served = self._served(namespace) if counts_served else devices.NOTHING
            change = charge.change_of(write, quota.spec, served)
            if not forced and before is None:
                self._refuse_silence(quota, kind, after)
            if not change:
                continue
            # What a claim made for a pod uses depends on whether that is there: it may be other than it was.
            is_known = after is not None or not counts_served or devices.maker_of(before) is None
            is_counted = is_known and charge.is_counted(quota)
            used = quota.status.used if is_counted else self._count(quota, namespace)
            refusal = "" if forced else charge.refusal(quota, used, change)
            if refusal:
                raise status.forbidden(kind, (after or before).metadata.name or "", refusal)
            guards.append(Guard(item.key, item.revision))
            ops.append(self._put(item, quota, usage.plus(used, change)))
        return guards, ops

    def _refuse_silence(self, quota: api.ResourceQuota, kind: Kind, pod: Any) -> None:
        """A pod says how much it wants of what a quota counts."""
        if kind.kind != "Pod":
            return
        names = usage.names_of(kind, quota.spec.hard)
        if not names or not usage.in_scope(kind, pod, quota.spec):
            return
        missing = usage.missing_amounts(pod.spec, names)
        if missing:
            why = f"failed quota: {quota.metadata.name}: must specify {missing}"
            raise status.forbidden(kind, pod.metadata.name or "", why)

    def _put(self, item: Item, quota: api.ResourceQuota, used: devices.Usage) -> Put:
        # What was given back twice must not be there to be used twice.
        used = {n: used.get(n, devices.ZERO) for n in quota.spec.hard}
        quota.status.hard = dict(quota.spec.hard)
        quota.status.used = {n: a if a.value >= 0 else devices.ZERO for n, a in used.items()}
        return Put(item.key, self._quotas.encode(quota))

    def _count(self, quota: api.ResourceQuota, namespace: str) -> devices.Usage:
        """Count what is there, for a quota that nobody has counted for yet."""
        found = []
        for resource in self._counted(quota.spec.hard):
            items = resource.cache.items(namespace)
            found.append((resource.kind, [resource.decode_stored(item.data) for item in items]))
        classes = self._served(namespace).classes if devices.covers_served(quota.spec.hard) else {}
        return charge.count(quota.spec, found, classes)

    def _served(self, namespace: str) -> devices.Served:
        """What classes serve, as things are now."""
        found = (self._classes.decode_stored(item.data) for item in self._classes.cache.items(""))

        def claims_naming(uid: str) -> list[Any]:
            items = self._claims.cache.items(namespace)
            return [self._claims.decode_stored(item.data) for item in items if uid.encode() in item.data]

        def charged(claim: Any) -> devices.Usage:
            name, uid = devices.maker_of(claim) or ("", "")
            item = self._pods.cache.get(namespace, name) if name else None
            pod = self._pods.decode_stored(item.data) if item is not None else None
            if pod is None or not devices.is_made_for(claim, pod, lambda: claims_naming(uid)):
                return {}
            return usage.usage_of(self._pods.kind, pod)

        return devices.Served(devices.classes_of(found), charged)

    def _counted(self, hard: Any) -> Sequence[Resource]:
        return [
            resource
            for resource in self._resources
            if resource.hub is resource
            and resource.kind.namespaced
            and not resource.kind.virtual
            and usage.names_of(resource.kind, hard)
        ]
