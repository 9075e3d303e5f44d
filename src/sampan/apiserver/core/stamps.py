"""Pods of one body: what became of the first of them is stamped out for those that follow.

A ReplicaSet and a Job send the same body once for each of their pods, with a generateName. Decoding it,
defaults, admission and validation come to the same every time, for as long as nothing has changed of what
they look at. So a body that comes again is kept with the object it makes, as bytes with gaps for the name,
the uid and the time of creation; from then on a pod costs what filling the gaps and the commit cost.

All pods of a stamp have the same `kube-api-access-` volume name, where kube-apiserver draws one for each: it
means something only within its pod.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.admission.quotas import Quotas
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.request import JSON, Request
from sampan.apiserver.core.resource import Resource, Resources
from sampan.base.ids import Ids
from sampan.machinery import names
from sampan.schema import api
from sampan.store.watchcache import KindCache

# Bodies that are remembered at once, and the largest of them: 8 MiB in all at most.
MAX_BODIES: Final = 512
MAX_BODY_BYTES: Final = 16 * 1024
_GENERATED: Final = b'"generateName"'
# Stands where the time of creation comes; nothing real is created in that year.
_NEVER: Final = datetime(1000, 1, 2, 3, 4, 5, tzinfo=UTC)


class Key(msgspec.Struct, frozen=True):
    """All that a request brings along that decides what is made of it."""

    user: str
    groups: tuple[str, ...]
    manager: str
    namespace: str
    field_validation: str
    body: bytes


class Stamp:
    """The bytes of a pod with gaps."""

    __slots__ = ("_gaps", "_parts", "base")

    def __init__(self, base: str, parts: list[bytes], gaps: list[int]) -> None:
        # What every name begins with.
        self.base = base
        self._parts = parts
        # Which of name, uid and time follows each part but the last.
        self._gaps = gaps

    def out(self, name: str, uid: str, now: datetime) -> bytes:
        """The pod as it is stored."""
        fill = (name.encode(), uid.encode(), _time(now))
        (first, second, third), parts = self._gaps, self._parts
        return b"".join((parts[0], fill[first], parts[1], fill[second], parts[2], fill[third], parts[3]))


class Stamps:
    """What has been made of the bodies seen last."""

    def __init__(self, resources: Resources, admission: Chain, quotas: Quotas, ids: Ids) -> None:
        self._pods = resources.of(api.Pod)
        self._admission = admission
        self._quotas = quotas
        self._ids = ids
        self._read: tuple[KindCache, ...] = tuple(
            resources.of(struct).cache for struct in admission.reads(self._pods.kind.kind)
        )
        # None for a body that has been seen once: most come only once, and a stamp is not made for them.
        self._stamps: dict[Key, Stamp | None] = {}
        self._world: tuple[int, ...] = ()

    def key(self, request: Request, context: Context) -> Key | None:
        """Under which the request is remembered; None where each has to be looked at by itself."""
        body = request.body
        if context.resource is not self._pods or context.served is not self._pods:
            return None
        if len(body) > MAX_BODY_BYTES or _GENERATED not in body:
            return None
        if context.dry_run or context.audit is not None or self._admission.active:
            return None
        if request.headers.get("content-type", JSON) != JSON:
            return None
        user, namespace = context.user, context.target.namespace
        if self._quotas.watch(namespace, self._pods.kind):
            return None
        return Key(user.name, user.groups, context.manager, namespace, context.field_validation, body)

    def find(self, key: Key) -> Stamp | None:
        """What is stamped out for this key, as long as nothing has changed of what admission reads."""
        world = self._present()
        if world != self._world:
            self._stamps.clear()
            self._world = world
            return None
        return self._stamps.get(key)

    def learn(self, key: Key, context: Context, pod: api.Pod) -> None:
        """Remember what has been made of a request whose key was looked for in vain: `pod`, as it was stored.

        Its name must have been generated.
        """
        if context.warnings or context.guards or context.ops:
            return
        if self._world != self._present():
            return
        stamps = self._stamps
        if key not in stamps:
            if len(stamps) >= MAX_BODIES:
                del stamps[next(iter(stamps))]
            stamps[key] = None
        else:
            stamps[key] = _cut(self._pods, pod, context.owners, self._ids)

    def _present(self) -> tuple[int, ...]:
        """When each kind that admission reads was last changed."""
        return tuple([cache.changed for cache in self._read])


def _cut(pods: Resource, pod: api.Pod, owners: str, ids: Ids) -> Stamp | None:
    """A stamp from a pod with a generated name; None where something else in it holds name or uid."""
    metadata = pod.metadata
    was = metadata.name, metadata.uid, metadata.creationTimestamp
    marks = f"name-{ids.suffix(32)}", ids.uid(), _NEVER
    metadata.name, metadata.uid, metadata.creationTimestamp = marks
    try:
        data = pods.encode(pod, owners)
    finally:
        metadata.name, metadata.uid, metadata.creationTimestamp = was
    name, uid, _ = was
    if not name or not uid or name.encode() in data or uid.encode() in data:
        return None
    gaps = [marks[0].encode(), marks[1].encode(), _time(_NEVER)]
    if any(data.count(gap) != 1 for gap in gaps):
        return None
    order = sorted(range(len(gaps)), key=lambda which: data.index(gaps[which]))
    parts = []
    for which in order:
        part, _, data = data.partition(gaps[which])
        parts.append(part)
    return Stamp(names.generate_name_base(metadata.generateName or ""), [*parts, data], order)


@lru_cache(maxsize=4)
def _time(moment: datetime) -> bytes:
    return msgspec.json.encode(moment).strip(b'"')
