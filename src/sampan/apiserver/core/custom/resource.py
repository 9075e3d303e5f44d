"""One served version of a custom kind.

All versions of a kind share one cache. Objects are stored in the version that the definition names for it,
and a version other than that reads and writes them with its own apiVersion (the strategy None).
"""

from __future__ import annotations

from typing import Any

from sampan.apiserver.core.resource import Resource
from sampan.apiserver.core.status import StatusError
from sampan.kinds.custom.compile import Shape, kind_of
from sampan.kinds.custom.definition import Definition, Version
from sampan.schema import codec
from sampan.schema.custom import CustomObject
from sampan.store.watchcache import KindCache


class CustomResource(Resource):
    """A version of a definition, as the verbs see it."""

    def __init__(self, definition: Definition, version: Version, cache: KindCache) -> None:
        self.shape = Shape(version)
        super().__init__(kind_of(definition, version, self.shape), cache)
        self._storage = f"{definition.spec.group}/{definition.storage.name}"
        self._webhook = definition.spec.conversion.strategy == "Webhook"
        stored = set(definition.status.storedVersions) | {definition.storage.name}
        # Whether stored bytes are what clients of this version get: nothing to rename, and no default that an
        # earlier schema did not have.
        self._as_stored = stored == {version.name} and definition.metadata.generation <= 1

    @property
    def converts(self) -> bool:
        return not self._as_stored

    def decode_stored(self, data: bytes) -> Any:
        obj = codec.decode(data, CustomObject)
        if obj.apiVersion != self.api_version:
            if self._webhook:
                raise StatusError(
                    500,
                    "InternalError",
                    f"conversion webhook for {obj.apiVersion}, Kind={self.kind.kind} failed: objects are "
                    f"only served in the version that they are stored in, which is {obj.apiVersion}",
                )
            obj.apiVersion = self.api_version
        self.shape.complete(obj)
        return obj

    def present(self, data: bytes) -> bytes:
        return data if self._as_stored else codec.encode(self.decode_stored(data))

    def encode(self, obj: Any) -> bytes:
        value = super().encode(obj)
        if self._storage == self.api_version:
            return value
        obj.apiVersion = self._storage
        try:
            return codec.encode(obj)
        finally:
            obj.apiVersion = self.api_version
