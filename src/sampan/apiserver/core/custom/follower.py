"""Settles definitions one after the other: their names and conditions, and the end of those that are deleted.

As apiextensions' naming, establishing and finalizing controllers: the first of two definitions that want a
name gets it, and a definition goes only when all objects of its kind are gone.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from sampan.apiserver.core.custom.registry import CustomKinds
from sampan.apiserver.core.ownwrites import OwnWrites
from sampan.apiserver.core.resource import Resources
from sampan.apiserver.core.settling import Settling
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.write import Writer
from sampan.base.clock import Clock
from sampan.kinds.custom import definition as definitions
from sampan.kinds.custom import names
from sampan.kinds.custom.definition import CLEANUP, PREFIX, Definition
from sampan.schema import api, codec
from sampan.store.backend import Batch

# Objects deleted at once when their definition goes.
DELETES_AT_ONCE: Final = 256
_DELETING: Final = ("InstanceDeletionInProgress", "CustomResource deletion is in progress")
_DELETED: Final = ("InstanceDeletionCompleted", "removed all instances")


class Follower:
    """Keeps `CustomKinds` and the definitions' statuses up with what is committed."""

    def __init__(
        self, resources: Resources, kinds: CustomKinds, writer: Writer, own: OwnWrites, clock: Clock
    ) -> None:
        self._resource = resources.of(api.CustomResourceDefinition)
        self._kinds = kinds
        self._writer = writer
        self._own = own
        self._clock = clock
        self._settling = Settling("definition", self._settle, clock)
        # The names of definitions that wait for their objects to go, by the keys' beginning.
        self._emptying: dict[str, str] = {}

    def follow(self, batch: Batch) -> None:
        """Take in a batch of changes; called for each."""
        for change in batch.changes:
            if change.key.startswith(PREFIX):
                name = change.key.removeprefix(PREFIX)
                item = self._resource.cache.get("", name)
                if item is None:
                    self._gone(name)
                else:
                    self._kinds.put(item)
                    self._settling.note(name)
            elif self._emptying and change.value is None:
                for prefix, name in self._emptying.items():
                    if change.key.startswith(prefix):
                        self._settling.note(name)

    def reload(self) -> None:
        """Begin anew with all that is stored."""
        self._kinds.load()
        for definition in self._kinds:
            self._settling.note(definition.name)

    async def run(self) -> None:
        """Settle what changes, until cancelled."""
        await self._settling.run()

    def _gone(self, name: str) -> None:
        known = self._kinds.get(name)
        self._kinds.remove(name)
        self._emptying = {prefix: n for prefix, n in self._emptying.items() if n != name}
        if known is not None:  # others may have waited for its names
            for other in self._kinds:
                if other.spec.group == known.spec.group and not other.holds("NamesAccepted"):
                    self._settling.note(other.name)

    async def _settle(self, name: str) -> None:
        item = self._resource.cache.get("", name)
        if item is None:
            return
        crd = self._resource.decode_stored(item.data)
        if crd.metadata.deletionTimestamp is not None:
            await self._end(crd, definitions.decode(item.data))
            return
        used = self._kinds.holders.used(crd.spec.group, name, crd.spec.names)
        status = names.status_of(crd, used, self._clock.now().replace(microsecond=0))
        if status != crd.status:
            await self._write(name, "status", lambda old: _with_status(old, status))

    async def _end(self, crd: Any, definition: Definition) -> None:
        if CLEANUP not in crd.metadata.finalizers:
            return
        name, now = definition.name, self._clock.now().replace(microsecond=0)
        self._emptying[definition.prefix] = name
        status = names.terminating(crd.status, *_DELETING, now)
        if status != crd.status:
            await self._write(name, "status", lambda old: _with_status(old, status))
            return  # what this commits settles it again
        if not await self._empty(definition):
            return
        done = names.terminating(crd.status, *_DELETED, now, holds=False)
        await self._write(name, "status", lambda old: _with_status(old, done))
        await self._write(name, "", _without_cleanup)

    async def _empty(self, definition: Definition) -> bool:
        """Delete all objects of the kind; whether none is left. What has finalizers stays for now."""
        version = definition.storage.name
        resource = self._kinds.find(definition.spec.group, version, definition.names.plural)
        if resource is None and definition.served:
            version = definition.served[0].name
            resource = self._kinds.find(definition.spec.group, version, definition.names.plural)
        if resource is None:  # never established: nothing can have been stored
            return True
        left = iter(resource.cache.items())

        async def work() -> None:
            for item in left:
                try:
                    await self._writer.delete(
                        self._own.context(resource, "delete", item.name, item.namespace),
                        propagation="Background",
                    )
                except StatusError as refused:
                    if refused.code != 404:
                        raise

        await asyncio.gather(*(work() for _ in range(DELETES_AT_ONCE)))
        return resource.cache.count == 0

    async def _write(self, name: str, subresource: str, change: Any) -> None:
        try:
            await self._writer.update(
                self._own.context(self._resource, "update", name), change, subresource=subresource
            )
        except StatusError as refused:
            if refused.code != 404:
                raise


def _with_status(old: Any, status: Any) -> Any:
    new = codec.copy(old)
    new.metadata.resourceVersion = None
    new.status = msgspec.structs.replace(status, storedVersions=new.status.storedVersions)
    return new


def _without_cleanup(old: Any) -> Any:
    new = codec.copy(old)
    new.metadata.resourceVersion = None
    new.metadata.finalizers = [one for one in new.metadata.finalizers if one != CLEANUP]
    return new
