"""A served resource: a kind in one version, bound to its cache and its codec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sampan.kinds import registry
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery.field_selectors import FieldSelector
from sampan.machinery.selectors import Selector
from sampan.schema import codec
from sampan.store.watchcache import Item, KindCache, Match, WatchCache


class Resource:
    """What the verbs need to know of a kind, and nothing that is not in its `Kind`."""

    def __init__(self, kind: Kind, cache: KindCache) -> None:
        self.kind = kind
        self.cache = cache
        self.struct: Any = kind.type
        self.api_version = kind.api_version
        self.list_kind = kind.kind + "List"
        self.prefix = registry.storage_prefix(kind)
        self.columns: Sequence[Column] = kind.columns or (NAME, AGE)

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.kind.namespaced else self.prefix + name

    def decode_stored(self, data: bytes) -> Any:
        """The struct of bytes that this server wrote."""
        return codec.decode(data, self.struct)

    def encode(self, obj: Any) -> bytes:
        """The bytes to store: type meta set, resourceVersion there and empty."""
        obj.kind = self.kind.kind
        obj.apiVersion = self.kind.api_version
        obj.metadata.resourceVersion = ""
        return codec.encode(obj)

    def fields(self, item: Item) -> Mapping[str, str]:
        """What field selectors can ask about an item."""
        found = {"metadata.name": item.name}
        if self.kind.namespaced:
            found["metadata.namespace"] = item.namespace
        if self.kind.field_selectors:
            obj = self.decode_stored(item.data)
            for name, value in self.kind.field_selectors.items():
                found[name] = value(obj)
        return found

    def match(self, labels: Selector | None, fields: FieldSelector | None, name: str = "") -> Match | None:
        """A predicate over items, or None where everything matches."""
        if labels is None and fields is None and not name:
            return None

        def matches(item: Item) -> bool:
            if name and item.name != name:
                return False
            if labels is not None and not labels.matches(item.labels):
                return False
            return fields is None or fields.matches(item.fields(self.fields))

        return matches


class Resources:
    """All served resources, by what their URLs say."""

    def __init__(self, kinds: Iterable[Kind], cache: WatchCache) -> None:
        self._cache = cache
        self._by_url: dict[tuple[str, str, str], Resource] = {}
        self._by_struct: dict[type[msgspec.Struct], Resource] = {}
        self.kinds = tuple(kinds)
        for kind in self.kinds:
            self._by_url[(kind.group, kind.version, kind.plural)] = self._make(kind)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_url.get((group, version, plural))

    def of(self, struct: type[msgspec.Struct]) -> Resource:
        """The resource of a built-in type: `resources.of(api.Pod)`."""
        found = self._by_struct.get(struct)
        if found is None:
            kind = registry.by_type(struct)
            found = self._by_struct[struct] = self._by_url[(kind.group, kind.version, kind.plural)]
        return found

    def _make(self, kind: Kind) -> Resource:
        return Resource(kind, self._cache.kind(registry.storage_prefix(kind)))
