"""One served version of a custom kind.

All versions of a kind share one cache. Validation, admission and field management deal with the version that
the client speaks; what is stored is converted last. Bytes that were stored in the version asked for, under
today's schemas, are served as they are; all others are completed, converted and pruned on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sampan.apiserver.core import status
from sampan.apiserver.core.custom.conversion import Webhook
from sampan.apiserver.core.resource import Resource
from sampan.kinds.custom.compile import Shape, kind_of
from sampan.kinds.custom.definition import Definition, Version
from sampan.schema import codec
from sampan.schema.custom import CustomObject
from sampan.store.watchcache import KindCache

# The schema of a version by its name; None where the definition has no such version any more.
Shapes = Callable[[str], Shape | None]


class CustomResource(Resource):
    """A version of a definition, as the verbs see it.

    `since` is the revision from which on objects are stored under the present schemas. With a `webhook`, only
    those who may wait (`load`, `dump`, `presented`) get objects that are stored in another version.
    """

    def __init__(
        self,
        definition: Definition,
        version: Version,
        cache: KindCache,
        shapes: Shapes,
        since: int,
        webhook: Webhook | None,
    ) -> None:
        shape = shapes(version.name)
        assert shape is not None
        self.shape = shape
        super().__init__(kind_of(definition, version, shape), cache)
        self.list_kind = definition.names.listKind or self.list_kind
        self.type_meta = b""  # lists of what no server has types for name the kind of each item
        self.deprecation = _deprecation(self, version)
        self._shapes = shapes
        self._since = since
        self._webhook = webhook
        self._storage = f"{definition.spec.group}/{definition.storage.name}"
        self._head = b'{"kind":"%b","apiVersion":"%b","metadata":{"resourceVersion":"' % (
            self.kind.kind.encode(),
            self.api_version.encode(),
        )
        stored = set(definition.status.storedVersions) | {definition.storage.name}
        # Whether all stored bytes are what clients of this version get.
        self._as_stored = stored == {version.name} and definition.metadata.generation <= 1

    @property
    def converts(self) -> bool:
        return not self._as_stored

    @property
    def asks(self) -> bool:
        return self._webhook is not None and not self._as_stored

    # -- what is stored, in this version ---------------------------------------------------------------

    def decode_stored(self, data: bytes) -> Any:
        obj = codec.decode(data, CustomObject)
        if self._is_current(data):
            return obj
        if self._webhook is not None and obj.apiVersion != self.api_version:
            raise status.internal(
                f"{self.kind.resource} {obj.metadata.name} is stored in {obj.apiVersion}, from which only a "
                "webhook converts it, and that cannot be asked here"
            )
        return self._brought_up(obj)

    async def load(self, data: bytes) -> Any:
        if not self.asks or self._is_current(data):
            return self.decode_stored(data)
        (shown,) = await self.presented((data,))
        return codec.decode(shown, CustomObject)

    def present(self, data: bytes) -> bytes:
        return data if self._is_current(data) else codec.encode(self.decode_stored(data))

    async def presented(self, datas: Sequence[bytes]) -> list[bytes]:
        if self._webhook is None:
            return [self.present(data) for data in datas]
        found: dict[int, bytes] = {}
        foreign: dict[int, CustomObject] = {}
        for position, data in enumerate(datas):
            if self._is_current(data):
                found[position] = data
                continue
            obj = codec.decode(data, CustomObject)
            if obj.apiVersion == self.api_version:
                found[position] = codec.encode(self._brought_up(obj))
            else:
                foreign[position] = self._completed(obj)
        if foreign:
            made = await self._webhook.convert(list(foreign.values()), self.api_version)
            for position, obj in zip(foreign, made, strict=True):
                self.shape.prune(obj)
                found[position] = codec.encode(obj)
        return [found[position] for position in range(len(datas))]

    def _brought_up(self, obj: CustomObject) -> CustomObject:
        """A stored object in this version: completed by its own schema, renamed, pruned by this one."""
        self._completed(obj)
        if obj.apiVersion != self.api_version:
            obj.apiVersion = self.api_version
            self.shape.prune(obj)
        return obj

    def _completed(self, obj: CustomObject) -> CustomObject:
        stored = self._shapes((obj.apiVersion or "").rpartition("/")[2])
        if stored is not None:
            stored.prune(obj)
            stored.complete(obj)
        return obj

    def _is_current(self, data: bytes) -> bool:
        if self._as_stored:
            return True
        if not data.startswith(self._head):
            return False
        start = len(self._head)
        return int(data[start : data.index(b'"', start)] or 0) > self._since

    # -- objects of this version, to be stored -----------------------------------------------------------

    def encode(self, obj: Any, owners: str = "") -> bytes:
        value = super().encode(obj, owners)
        if self._storage == self.api_version:
            return value
        kept = codec.decode(value, CustomObject)
        kept.apiVersion = self._storage
        return self._pruned(kept)

    async def dump(self, obj: Any, owners: str = "") -> bytes:
        if self._webhook is None or self._storage == self.api_version:
            return self.encode(obj, owners)
        asked = codec.decode(super().encode(obj), CustomObject)
        (kept,) = await self._webhook.convert([asked], self._storage)
        kept.metadata.resourceVersion = owners
        return self._pruned(kept)

    def _pruned(self, kept: CustomObject) -> bytes:
        shape = self._shapes(self._storage.rpartition("/")[2])
        if shape is not None:
            shape.prune(kept)
        return codec.encode(kept)


def _deprecation(resource: CustomResource, version: Version) -> str:
    if not version.deprecated:
        return ""
    return version.deprecationWarning or f"{resource.api_version} {resource.kind.kind} is deprecated"
