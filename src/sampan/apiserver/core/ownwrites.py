"""What the server writes by itself: what every cluster has, and the statuses that it keeps true."""

from __future__ import annotations

import contextlib
from typing import Any, Final

from sampan.apiserver.core import bootstrap, users
from sampan.apiserver.core.context import Context, own_manager
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.write import Writer
from sampan.base.clock import Clock
from sampan.schema import codec
from sampan.store.items import Item

_RBAC: Final = "rbac.authorization.k8s.io"


class OwnWrites:
    """Writes as the administrator. Where another server of the cluster was first, its write stands."""

    def __init__(self, resources: Resources, writer: Writer, clock: Clock) -> None:
        self._resources = resources
        self._writer = writer
        self._clock = clock

    def context(self, resource: Resource, verb: str, name: str = "", namespace: str = "") -> Context:
        """The context of such a write."""
        kind = resource.kind
        return Context(
            user=users.ADMIN,
            target=Target(kind.group, kind.version, kind.plural, namespace, name, "", "", verb),
            resource=resource,
            served=resource,
            now=self._clock.now().replace(microsecond=0),
            manager=own_manager(kind.group),
        )

    async def create_missing(self, obj: Any) -> None:
        """Create an object that is not there. A default role that is there gets what it lacks."""
        resource = self._resources.of(type(obj))
        item = resource.cache.get(obj.metadata.namespace or "", obj.metadata.name)
        if item is None:
            await self.create(resource, obj)
        elif resource.kind.group == _RBAC:
            await self._reconcile(resource, obj, item)

    async def create(self, resource: Resource, obj: Any) -> None:
        """Create an object, unless somebody was faster. Raises StatusError."""
        made = self.context(resource, "create", "", obj.metadata.namespace or "")
        try:
            await self._writer.create(made, codec.copy(obj))
        except StatusError as refused:
            if refused.reason != "AlreadyExists":
                raise

    async def update(self, resource: Resource, obj: Any, subresource: str) -> None:
        """Store an object as it is now, unless somebody changes it: then there is another turn."""
        made = self.context(resource, "update", obj.metadata.name, obj.metadata.namespace or "")
        made.applies = True  # what the server says of the state of its own objects, nobody owns
        with contextlib.suppress(StatusError):
            await self._writer.update(made, lambda _old: codec.copy(obj), subresource=subresource)

    async def delete(self, resource: Resource, obj: Any) -> None:
        """Delete an object, if it is still this one."""
        made = self.context(resource, "delete", obj.metadata.name, obj.metadata.namespace or "")
        with contextlib.suppress(StatusError):
            await self._writer.delete(made, uid=obj.metadata.uid)

    async def _reconcile(self, resource: Resource, wanted: Any, item: Item) -> None:
        """Give a default role or binding what it lacks of the present version's."""
        changed = bootstrap.reconciled(wanted, resource.decode_stored(item.data))
        if changed is None:
            return
        made = self.context(resource, "update", wanted.metadata.name, wanted.metadata.namespace or "")
        with contextlib.suppress(StatusError):  # somebody else was writing it; there is another start
            await self._writer.update(made, lambda _old: codec.copy(changed))
