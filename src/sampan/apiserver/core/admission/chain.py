"""The admission chain: an explicit tuple of plugins, mutating first, then validating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sampan.apiserver.core.context import Attributes


class Plugin(Protocol):
    """One admission plugin. `kinds` names the kinds it looks at; empty for all."""

    kinds: frozenset[str]
    # The kinds of the stored objects that, beside the request itself, decide what becomes of a new object.
    reads: tuple[type[Any], ...]

    def mutate(self, attributes: Attributes) -> None:
        """Change the object in place; raise StatusError to refuse."""
        ...

    def validate(self, attributes: Attributes) -> None:
        """Raise StatusError to refuse."""
        ...


class Allocator(Plugin, Protocol):
    """A plugin that takes things for objects in their own commit, and gives them back."""

    def erase(self, attributes: Attributes) -> None:
        """Add to the context's ops what has to go with the object."""
        ...


class Extension(Protocol):
    """What users configure: webhooks and policies. It acts only where `mutates` or `validates` says so."""

    mutates: bool
    validates: bool

    async def mutate(self, attributes: Attributes, plugins: Sequence[Plugin]) -> bool:
        """Change the object in place, True where it did; raise StatusError to refuse."""
        ...

    async def validate(self, attributes: Attributes) -> None:
        """Raise StatusError to refuse."""
        ...


class Chain:
    """Runs plugins in their order, and what users configured after them."""

    def __init__(self, plugins: Sequence[Plugin], allocators: Sequence[Allocator] = ()) -> None:
        self.extension: Extension | None = None
        plugins = (*plugins, *allocators)
        self._allocators = {kind: each for each in allocators for kind in each.kinds}
        self._every = tuple(p for p in plugins if not p.kinds)
        named = {kind for plugin in plugins for kind in plugin.kinds}
        # The kinds that plugins of their own may change. One that changes nothing is no reason to fill in
        # the defaults once more.
        changing = [p for p in plugins if not getattr(p, "changes_nothing", False)]
        self._changed = frozenset(kind for plugin in changing for kind in plugin.kinds)
        # Kept in the order given, whether a plugin is for some kinds or for all.
        self._by_kind = {kind: tuple(p for p in plugins if not p.kinds or kind in p.kinds) for kind in named}

    async def mutate(self, attributes: Attributes) -> bool:
        """Run what changes objects; True where it may have: no plugin changes what a subresource writes."""
        plugins = self._plugins(attributes)
        if attributes.generated and plugins:
            metadata = attributes.obj.metadata
            metadata.name = metadata.generateName
            for plugin in plugins:
                plugin.mutate(attributes)
            metadata.name = attributes.generated
        else:
            for plugin in plugins:
                plugin.mutate(attributes)
        touched = attributes.context.resource.kind.kind in self._changed and not attributes.subresource
        extension = self.extension
        if extension is not None and extension.mutates and not attributes.context.reviewed:
            return await extension.mutate(attributes, plugins) or touched
        return touched

    async def validate(self, attributes: Attributes) -> None:
        extension = self.extension
        if attributes.context.reviewed:
            extension = None
        if extension is not None and extension.mutates and attributes.verb == "delete":
            # A deletion has nothing to change, but mutating webhooks may refuse it all the same.
            await extension.mutate(attributes, ())
        for plugin in self._plugins(attributes):
            plugin.validate(attributes)
        if extension is not None and extension.validates:
            await extension.validate(attributes)

    @property
    def active(self) -> bool:
        """Whether users configured anything."""
        extension = self.extension
        return extension is not None and (extension.mutates or extension.validates)

    async def review(self, attributes: Attributes) -> None:
        """What users configured looks at an object that is not stored itself: a Scale, an Eviction."""
        extension = self.extension
        if extension is None:
            return
        if extension.mutates:
            await extension.mutate(attributes, ())
        if extension.validates:
            await extension.validate(attributes)

    def erase(self, attributes: Attributes) -> None:
        allocator = self._allocators.get(attributes.context.resource.kind.kind)
        if allocator is not None:
            allocator.erase(attributes)

    def allocates(self, kind: str) -> bool:
        return kind in self._allocators

    def reads(self, kind: str) -> frozenset[type[Any]]:
        """What decides, beside the request, what the built-in plugins make of a new object of this kind."""
        return frozenset(struct for plugin in self._by_kind.get(kind, self._every) for struct in plugin.reads)

    def _plugins(self, attributes: Attributes) -> tuple[Plugin, ...]:
        return self._by_kind.get(attributes.context.resource.kind.kind, self._every)
