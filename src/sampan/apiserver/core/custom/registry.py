"""Which custom kinds are served now: follows the definitions as they are committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from sampan.apiserver.core.custom.conversion import Post, Webhook
from sampan.apiserver.core.custom.resource import CustomResource
from sampan.kinds.custom import definition as definitions
from sampan.kinds.custom.compile import Shape, outline
from sampan.kinds.custom.definition import PREFIX, Definition, Version
from sampan.kinds.custom.names import Holders
from sampan.kinds.kind import Kind
from sampan.schema.definitions import GroupVersionKind, Schema
from sampan.store.items import Item
from sampan.store.watchcache import WatchCache

Url = tuple[str, str, str]


class CustomKinds:
    """The definitions there are, and the resources of those that are established.

    A resource is made, and its schema read, when somebody first asks for it: of thousands of definitions few
    are used. `generation` grows with every change of what is served.
    """

    def __init__(self, cache: WatchCache, post: Post, uid: Callable[[], str]) -> None:
        self._cache = cache
        self._post = post
        self._uid = uid
        # The revision from which on objects of a definition are stored under its present schemas.
        self._since: dict[str, int] = {}
        self._shapes: dict[str, dict[str, Shape]] = {}
        self._definitions: dict[str, Definition] = {}
        self._resources: dict[Url, CustomResource] = {}
        self._places: dict[Url, tuple[Definition, str]] = {}
        # How many kinds are served in each group and version; who wants to know is told APIServices' names.
        self._served: Counter[tuple[str, str]] = Counter()
        self.on_served: Callable[[str], None] | None = None
        self.holders = Holders()
        self.generation = 0

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._definitions.values())

    def get(self, name: str) -> Definition | None:
        return self._definitions.get(name)

    def load(self) -> None:
        """Take in all that is stored."""
        present = {item.name: item for item in self._cache.kind(PREFIX)}
        for name in self._definitions.keys() - present.keys():
            self.remove(name)
        for item in present.values():
            self.put(item)

    def put(self, item: Item) -> None:
        """Serve a definition as it is now."""
        new = definitions.decode(item.data)
        old = self._definitions.get(new.name)
        if old is not None and (old.spec, old.status, old.terminating) == (
            new.spec,
            new.status,
            new.terminating,
        ):
            self._definitions[new.name] = new
            return
        before = self._urls(old)
        self._definitions[new.name] = new
        if old is None or old.spec != new.spec or old.metadata.uid != new.metadata.uid:
            self._since[new.name] = item.revision
            self._shapes.pop(new.name, None)
            if old is not None:  # clients watch again, and get objects as the new schemas have them
                self._end_watches(old)
        if old is not None:
            self.holders.release(old)
        self.holders.take(new)
        after = self._urls(new)
        for url in before:
            self._places.pop(url, None)
            self._resources.pop(url, None)
        for url in after:
            self._places[url] = (new, url[1])
        self._count(before, after)
        if set(before) - set(after) and old is not None:
            self._end_watches(old)
        self.generation += 1

    def remove(self, name: str) -> None:
        """Serve a definition no longer; its watches end."""
        old = self._definitions.pop(name, None)
        if old is None:
            return
        del self._since[name]
        self._shapes.pop(name, None)
        self.holders.release(old)
        before = self._urls(old)
        for url in before:
            self._places.pop(url, None)
            self._resources.pop(url, None)
        self._count(before, ())
        self._end_watches(old)
        self.generation += 1

    def serves(self, group: str, version: str) -> bool:
        """Whether an established definition serves anything in this version of a group."""
        return self._served[group, version] > 0

    def _count(self, before: Sequence[Url], after: Sequence[Url]) -> None:
        for group, version, _ in set(before) - set(after):
            self._served[group, version] -= 1
            if not self._served[group, version]:
                del self._served[group, version]
                self._tell(group, version)
        for group, version, _ in set(after) - set(before):
            self._served[group, version] += 1
            if self._served[group, version] == 1:
                self._tell(group, version)

    def _tell(self, group: str, version: str) -> None:
        if self.on_served is not None:
            self.on_served(f"{version}.{group}")

    def find(self, group: str, version: str, plural: str) -> CustomResource | None:
        """The resource at a URL; None where no established definition serves it."""
        url = (group, version, plural)
        found = self._resources.get(url)
        if found is None and url in self._places:
            definition, name = self._places[url]
            described = definition.version(name)
            assert described is not None
            found = self._resources[url] = self._made(definition, described)
        return found

    def _made(self, definition: Definition, version: Version) -> CustomResource:
        asks = definition.spec.conversion.strategy == "Webhook"
        return CustomResource(
            definition,
            version,
            self._cache.kind(definition.prefix),
            partial(self._shape, definition),
            self._since[definition.name],
            Webhook(definition, self._post, self._uid) if asks else None,
        )

    def _shape(self, definition: Definition, name: str) -> Shape | None:
        shapes = self._shapes.setdefault(definition.name, {})
        found = shapes.get(name)
        if found is None and (version := definition.version(name)) is not None:
            found = shapes[name] = Shape(version)
        return found

    def versions(self, group: str, plural: str) -> Sequence[CustomResource]:
        """The versions that differ in nothing but their name; none where a webhook converts them."""
        definition = self._definitions.get(f"{plural}.{group}")
        if definition is None or definition.spec.conversion.strategy == "Webhook":
            return ()
        return [found for url in self._urls(definition) if (found := self.find(*url)) is not None]

    def of_kind(self, api_version: str, kind: str) -> CustomResource | None:
        """The resource of a kind; None where no established definition serves it."""
        group, _, version = api_version.rpartition("/")
        for definition in self._definitions.values():
            if definition.spec.group == group and definition.names.kind == kind:
                return self.find(group, version, definition.names.plural)
        return None

    def kinds(self) -> tuple[Kind, ...]:
        """All served kinds, for discovery."""
        return tuple(
            outline(definition, described)
            for definition, name in self._places.values()
            if (described := definition.version(name)) is not None
        )

    def schemas(self) -> dict[GroupVersionKind, Schema]:
        """The schemas of all served kinds, for OpenAPI."""
        return {
            definition.gvk(name): described.documented_schema()
            for definition, name in self._places.values()
            if (described := definition.version(name)) is not None
        }

    @staticmethod
    def _urls(definition: Definition | None) -> list[Url]:
        if definition is None or not definition.established:
            return []
        group, plural = definition.spec.group, definition.names.plural
        return [(group, version.name, plural) for version in definition.served]

    def _end_watches(self, definition: Definition) -> None:
        for watcher in list(self._cache.kind(definition.prefix).watchers()):
            watcher.end()
