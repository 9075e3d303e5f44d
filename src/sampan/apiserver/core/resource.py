"""A served resource: a kind in one version, bound to its cache and its codec.

A kind is stored in one version, its hub. Where it is served in others too, each of those is a resource of its
own that shares the hub's keys and cache and converts every object on its way in and out; the hub's own bytes
are served as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from sys import intern
from typing import Any, Final, Protocol

import msgspec

from sampan.kinds import deprecations, registry
from sampan.kinds.groups import conversion
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery.field_selectors import FieldSelector
from sampan.machinery.schema_node import SchemaNode
from sampan.machinery.selectors import Selector
from sampan.schema import codec
from sampan.schema.definitions import NEWEST, load
from sampan.schema.newer import Newer, newer_fields
from sampan.schema.nodes import of_kind
from sampan.store.items import Fields, Item, Match, Of, Pinned, Render
from sampan.store.watchcache import KindCache, WatchCache

Convert = Callable[[Any], Any]
# Selectors whose predicates are remembered for a resource before the memory is cleared.
MATCHES_MOST: Final = 8_192
_PART_VERBS: Final = ("get", "patch", "update")


class Resource:
    """What the verbs need to know of a kind, and nothing that is not in its `Kind`."""

    def __init__(
        self,
        kind: Kind,
        cache: KindCache,
        hub: Resource | None = None,
        to_hub: Convert | None = None,
        from_hub: Convert | None = None,
    ) -> None:
        self.kind = kind
        self.cache = cache
        # The resource whose objects are stored: itself, unless this is another version of them.
        self.hub = hub or self
        self.api_version = kind.api_version
        self.list_kind = kind.kind + "List"
        # How the bytes of each object begin, of which items of lists have the brace alone.
        self.type_meta = b'{"kind":"%b","apiVersion":"%b",' % (kind.kind.encode(), kind.api_version.encode())
        self.prefix = registry.storage_prefix(self.hub.kind)
        self.columns: Sequence[Column] = kind.columns or (NAME, AGE)
        # The verbs of each subresource.
        self.subresources = {path.rpartition("/")[2]: verbs for path, _, verbs in kind.subresources}
        if kind.status:
            self.subresources["status"] = _PART_VERBS
        if kind.scale is not None:
            self.subresources["scale"] = _PART_VERBS
        self._to_hub = to_hub
        self._from_hub = from_hub
        # What users of a deprecated version are warned of; "" for most.
        self.deprecation = ""
        self._renderings: dict[Render, Render] = {}
        self._matches: dict[tuple[Selector | None, FieldSelector | None, str], Match] = {}
        self._values_of: dict[str, Of] = {}
        # The version of Kubernetes that is served, where it is not the newest.
        self.older_version = ""

    @cached_property
    def struct(self) -> Any:
        """The type of its objects, compiled at its first use: all of them at once would delay the start."""
        return self.kind.type

    @cached_property
    def newer(self) -> Newer | None:
        """The fields of its objects that the version served does not have; None where there are none."""
        full = load().by_gvk.get(self.kind.gvk)
        if not self.older_version or self.kind.own_type is not None or full is None:
            return None
        return newer_fields(full, load(), load(self.older_version))

    @cached_property
    def node(self) -> SchemaNode:
        """Its schema as patches ask it."""
        return of_kind(self.kind.gvk) if self.kind.merging is None else self.kind.merging()

    @cached_property
    def served_node(self) -> SchemaNode:
        """The same of the version served: without the fields of `newer`."""
        return of_kind(self.kind.gvk, self.older_version)

    @property
    def converts(self) -> bool:
        """Whether objects are stored in another version than this one."""
        return self._from_hub is not None

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if self.kind.namespaced else self.prefix + name

    def decode_stored(self, data: bytes) -> Any:
        """The struct of bytes that this server wrote, in this version."""
        if self._from_hub is not None:
            return self._from_hub(codec.decode(data, self.hub.struct))
        return codec.decode(data, self.struct)

    @property
    def asks(self) -> bool:
        """Whether some objects come into this version only through somebody who is asked for it."""
        return False

    async def load(self, data: bytes) -> Any:
        """`decode_stored` for those who may wait."""
        return self.decode_stored(data)

    async def dump(self, obj: Any, owners: str = "") -> bytes:
        """`encode` for those who may wait."""
        return self.encode(obj, owners)

    async def presented(self, datas: Sequence[bytes]) -> list[bytes]:
        """`present` for those who may wait."""
        return [self.present(data) for data in datas]

    def present(self, data: bytes) -> bytes:
        """Stored bytes as clients of this version get them."""
        return data if self._from_hub is None else codec.encode(self.decode_stored(data))

    def to_hub(self, obj: Any) -> Any:
        """An object of this version as the one that is stored."""
        if self._to_hub is None:
            return obj
        self.kind.default(obj)
        return self._to_hub(obj)

    def from_hub(self, obj: Any) -> Any:
        """A stored object in this version."""
        return obj if self._from_hub is None else self._from_hub(obj)

    def rendering(self, plain: Render) -> Render:
        """`plain` over objects in this version; the same function each time, so that watches share lines."""
        made = self._renderings.get(plain)
        if made is None:

            def made(event_type: str, item: Item) -> bytes:
                shown = item.at(item.revision)
                shown.data = self.present(item.data)
                return plain(event_type, shown)

            self._renderings[plain] = made
        return made

    def encode(self, obj: Any, owners: str = "") -> bytes:
        """The bytes to store: type meta set, and `owners` in short where the resourceVersion comes."""
        obj.kind = self.kind.kind
        obj.apiVersion = self.kind.api_version
        obj.metadata.resourceVersion = owners
        return codec.encode(obj)

    def fields(self, item: Item) -> Mapping[str, str]:
        """What field selectors can ask about an item."""
        found = [item.name, item.namespace]
        if self.kind.field_selectors:
            obj = self._selected(item.data)
            # Few nodes and phases are those of many pods.
            found += [intern(value(obj)) for value in self.kind.field_selectors.values()]
        return Fields(self._field_places, found)

    def _selected(self, data: bytes) -> Any:
        """What the field selectors of the kind read."""
        if self.kind.selected is not None and self._from_hub is None:
            return codec.decode(data, self.kind.selected)
        return self.decode_stored(data)

    def selects(self, fields: FieldSelector, shown: bytes) -> bool:
        """Whether an object is selected, by what clients of this version get of it."""
        obj = codec.decode(shown, self.struct)
        found = {"metadata.name": obj.metadata.name or "", "metadata.namespace": obj.metadata.namespace or ""}
        return fields.matches(found | {name: value(obj) for name, value in self.kind.field_selectors.items()})

    @cached_property
    def _field_places(self) -> dict[str, int]:
        names = ("metadata.name", "metadata.namespace", *self.kind.field_selectors)
        return {name: place for place, name in enumerate(names)}

    def match(self, labels: Selector | None, fields: FieldSelector | None, name: str = "") -> Match | None:
        """A predicate over items, or None where everything matches.

        The same function for the same selectors, so that their watches share lines.
        """
        if labels is None and fields is None and not name:
            return None
        asked = (labels, fields, name)
        made = self._matches.get(asked)
        if made is None:
            if len(self._matches) >= MATCHES_MOST:
                self._matches.clear()
            made = self._matches[asked] = self._match(labels, fields, name)
        return made

    def _match(self, labels: Selector | None, fields: FieldSelector | None, name: str) -> Match:
        # An item keeps what one describer found; other versions name their fields differently.
        described = self.fields if self.converts else _remembered(self.fields)

        def matches(item: Item) -> bool:
            if name and item.name != name:
                return False
            if labels is not None and not labels.matches(item.labels):
                return False
            return fields is None or fields.matches(described(item))

        if name:
            return Pinned(matches, _name_of, name)
        if fields is not None and not self.converts:
            for term in fields.terms:
                if not term.negated:
                    return Pinned(matches, self._value_of(term.field), term.value)
        return matches

    def _value_of(self, field: str) -> Of:
        """What an item has in a field; the same function each time."""
        made = self._values_of.get(field)
        if made is None:
            described = _remembered(self.fields)

            def made(item: Item) -> str:
                return described(item).get(field, "")

            self._values_of[field] = made
        return made


def _name_of(item: Item) -> str:
    return item.name


def _remembered(
    describe: Callable[[Item], Mapping[str, str]],
) -> Callable[[Item], Mapping[str, str]]:
    return lambda item: item.fields(describe)


class Finds(Protocol):
    """Whoever has further resources."""

    def find(self, group: str, version: str, plural: str) -> Resource | None: ...

    def versions(self, group: str, plural: str) -> Sequence[Resource]: ...

    def of_kind(self, api_version: str, kind: str) -> Resource | None: ...


class Resources:
    """All resources, and by their URLs those that the Kubernetes `version` has.

    What the version does not have is there all the same for the server's own use (an IPAddress holds each
    cluster IP, whoever can see it).
    """

    def __init__(self, kinds: Iterable[Kind], cache: WatchCache, version: str = NEWEST) -> None:
        self._cache = cache
        self._by_url: dict[tuple[str, str, str], Resource] = {}
        # Finds what definitions add to the built-in kinds.
        self.custom: Finds | None = None
        self._by_struct: dict[type[msgspec.Struct], Resource] = {}
        listed = tuple(kinds)
        for kind in listed:
            if conversion(kind) is None:
                self._add(Resource(kind, cache.kind(registry.storage_prefix(kind))))
        for kind in listed:
            for resource in self._other_versions(kind):
                self._add(resource)
        for resource in self._by_url.values():
            resource.deprecation = deprecations.warning(resource.kind.gvk, version)
            resource.older_version = "" if load(version) is load() else version
        published = load(version).by_gvk
        self._served = {url: each for url, each in self._by_url.items() if each.kind.gvk in published}
        # In the order given, each followed by its further versions.
        every = (kind for given in listed for kind in (given, *_same_shapes(given)))
        self.kinds = tuple(kind for kind in every if kind.gvk in published)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """What the URL names; None where this version of Kubernetes has no such resource."""
        url = (group, version, plural)
        found = self._served.get(url)
        if found is None and self.custom is not None and url not in self._by_url:
            return self.custom.find(group, version, plural)
        return found

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a kind, built-in or custom."""
        for found in self:
            if found.api_version == api_version and found.kind.kind == kind:
                return found
        return self.custom.of_kind(api_version, kind) if self.custom is not None else None

    def versions(self, resource: Resource) -> Sequence[Resource]:
        """The versions that the objects of a resource can be shown in."""
        built_in = [each for each in self if each.hub is resource.hub]
        if built_in or self.custom is None:
            return built_in
        return self.custom.versions(resource.kind.group, resource.kind.plural)

    def of(self, struct: type[msgspec.Struct]) -> Resource:
        """The resource of a built-in type: `resources.of(api.Pod)`."""
        found = self._by_struct.get(struct)
        if found is None:
            kind = registry.by_type(struct)
            found = self._by_struct[struct] = self._by_url[(kind.group, kind.version, kind.plural)]
        return found

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_url.values())

    def _add(self, resource: Resource) -> None:
        kind = resource.kind
        self._by_url[(kind.group, kind.version, kind.plural)] = resource

    def _other_versions(self, kind: Kind) -> Iterator[Resource]:
        rule = conversion(kind)
        if rule is not None:
            hub = self._by_url[(rule.hub.group, rule.hub.version, rule.hub.plural)]
            yield Resource(kind, hub.cache, hub, rule.to_hub, rule.from_hub)
            return
        hub = self._by_url[(kind.group, kind.version, kind.plural)]
        for other in _same_shapes(kind):
            yield Resource(other, hub.cache, hub, _renamed(kind), _renamed(other))


def _same_shapes(kind: Kind) -> Iterator[Kind]:
    """The kind in the further versions that it is served in without a change of shape."""
    for gvk in registry.served_as(kind)[1:]:
        changed = {"api_version": gvk.api_version, "kind": gvk.kind}
        yield msgspec.structs.replace(kind, **changed, also_served=(), stored_as=kind.gvk)


def _renamed(kind: Kind) -> Convert:
    def convert(obj: Any) -> Any:
        document = codec.to_builtins(obj)
        document["apiVersion"], document["kind"] = kind.api_version, kind.kind
        return codec.from_builtins(document, kind.type)

    return convert
