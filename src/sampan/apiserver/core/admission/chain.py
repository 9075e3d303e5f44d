"""The admission chain: an explicit tuple of plugins, mutating first, then validating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sampan.apiserver.core.context import Attributes


class Plugin(Protocol):
    """One admission plugin. `kinds` names the kinds it looks at; empty for all."""

    kinds: frozenset[str]

    def mutate(self, attributes: Attributes) -> None:
        """Change the object in place; raise StatusError to refuse."""
        ...

    def validate(self, attributes: Attributes) -> None:
        """Raise StatusError to refuse."""
        ...


class Chain:
    """Runs plugins in their order."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._every = tuple(p for p in plugins if not p.kinds)
        named = {kind for plugin in plugins for kind in plugin.kinds}
        # Kept in the order given, whether a plugin is for some kinds or for all.
        self._by_kind = {kind: tuple(p for p in plugins if not p.kinds or kind in p.kinds) for kind in named}

    async def mutate(self, attributes: Attributes) -> None:
        for plugin in self._plugins(attributes):
            plugin.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        for plugin in self._plugins(attributes):
            plugin.validate(attributes)

    def _plugins(self, attributes: Attributes) -> tuple[Plugin, ...]:
        return self._by_kind.get(attributes.context.resource.kind.kind, self._every)
