"""How kinds are addressed: from a struct, or from what discovery says, to a path on the server."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import msgspec

from sampan.client.effects import Ref
from sampan.kinds import registry
from sampan.schema import api, codec

T = TypeVar("T")


class Resource(msgspec.Struct, Generic[T], frozen=True):
    """A kind as the server serves it. `type` is what its objects are decoded as."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[T]
    verbs: tuple[str, ...] = ()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of a collection (no name), an object or a subresource. Empty namespace: all of them."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        if self.namespaced and namespace:
            root = f"{root}/namespaces/{namespace}"
        root = f"{root}/{self.plural}"
        if name:
            root = f"{root}/{quote(name, safe='')}"
        return f"{root}/{subresource}" if subresource else root

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def id(self) -> tuple[str, str]:
        """`(group, plural)`: the same for every version in which the resource is served."""
        return self.group, self.plural


class Partial(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Any object at all, with nothing but its type and metadata: what PartialObjectMetadata holds."""

    kind: str | None = None
    apiVersion: str | None = None
    metadata: api.ObjectMeta = msgspec.field(default_factory=lambda: api.ObjectMeta())


@lru_cache(maxsize=1024)
def _of_type(kind: Hashable) -> Resource[Any]:
    found = registry.by_type(cast(Any, kind))
    # A struct of another version than the stored one (EventsEvent) is served at its own version's path.
    definitions = codec.types().definitions
    own = [
        gvk
        for gvk in registry.served_as(found)
        if definitions.by_gvk.get(gvk, "").replace(".", "_").replace("-", "_") == cast(Any, kind).__name__
    ]
    gvk = own[0] if own else found.gvk
    return Resource(gvk.api_version, gvk.kind, found.plural, found.namespaced, cast(Any, kind), found.verbs)


def resource_of(kind: type[T] | Resource[T]) -> Resource[T]:
    """The resource that a struct of a built-in kind stands for. Raises KeyError for any other type."""
    return kind if isinstance(kind, Resource) else cast("Resource[T]", _of_type(cast(Hashable, kind)))


def ref_of(obj: Any) -> Ref:
    """The reference to an object that came from the server."""
    meta = obj.metadata
    api_version, kind = obj.apiVersion, obj.kind
    if not kind or not api_version:
        resource = _of_type(cast(Hashable, type(obj)))
        api_version, kind = resource.api_version, resource.kind
    return Ref(
        api_version,
        kind,
        meta.namespace or "",
        meta.name or "",
        uid=meta.uid or "",
        resource_version=meta.resourceVersion or "",
    )
