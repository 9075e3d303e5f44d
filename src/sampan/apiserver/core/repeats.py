"""Applies that change nothing, again.

Whoever keeps objects as they are written down somewhere applies the same configuration every few minutes, and
mostly finds nothing to change. An apply that was looked at whole and changed nothing changes nothing the next
time either, as long as the object is at the same revision and nothing has changed of what admission looks at.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.request import Request
from sampan.apiserver.core.resource import Resource, Resources
from sampan.store.items import Item
from sampan.store.watchcache import KindCache

# Applies that are remembered at once.
MAX_APPLIES: Final = 8_192
_DIGEST_BYTES: Final = 20


class Key(msgspec.Struct, frozen=True):
    """All that a request brings along that decides what is made of it."""

    object: str
    subresource: str
    api_version: str
    user: str
    groups: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    media: str
    manager: str
    body: bytes


class Repeats:
    """The applies that have changed nothing, and when that was."""

    def __init__(self, resources: Resources, admission: Chain) -> None:
        self._resources = resources
        self._admission = admission
        # What admission reads for each kind.
        self._read: dict[str, tuple[KindCache, ...]] = {}
        # The revision of the object, and the last of what admission reads.
        self._known: dict[Key, tuple[int, tuple[int, ...]]] = {}
        # The revision at which an object was last left as it was: no key is made for one that has changed.
        self._left: dict[str, int] = {}

    def may_hold(self, item: Item) -> bool:
        """Whether some apply may be known to leave the object as it is now."""
        return self._left.get(item.key) == item.revision

    def key(self, request: Request, context: Context) -> Key | None:
        """Under which an apply is remembered; None where each has to be looked at by itself."""
        if request.change is not None or context.dry_run or context.audit is not None:
            return None
        if self._admission.active:
            return None
        target, user = context.target, context.user
        return Key(
            object=context.resource.key(target.namespace, target.name),
            subresource=target.subresource,
            api_version=context.served.api_version,
            user=user.name,
            groups=user.groups,
            query=tuple(request.query.items()),
            media=request.headers.get("content-type", ""),
            manager=context.manager,
            body=blake2b(request.body, digest_size=_DIGEST_BYTES).digest(),
        )

    def holds(self, key: Key, item: Item, resource: Resource) -> bool:
        """Whether this apply is known to leave the object as it is now."""
        known = self._known.get(key)
        return known is not None and known == (item.revision, self._world(resource))

    def note(self, key: Key, item: Item, resource: Resource) -> None:
        """Remember that this apply has left the object as it was, and has warned of nothing."""
        known = self._known
        if key not in known and len(known) >= MAX_APPLIES:
            del known[next(iter(known))]
        known[key] = (item.revision, self._world(resource))
        if item.key not in self._left and len(self._left) >= MAX_APPLIES:
            del self._left[next(iter(self._left))]
        self._left[item.key] = item.revision

    def _world(self, resource: Resource) -> tuple[int, ...]:
        kind = resource.kind.kind
        caches = self._read.get(kind)
        if caches is None:
            of = self._resources.of
            caches = self._read[kind] = tuple(of(struct).cache for struct in self._admission.reads(kind))
        return tuple([cache.changed for cache in caches])
