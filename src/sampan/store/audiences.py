"""All audiences of a kind in one namespace, found by what changes rather than asked one after the other.

Each of thousands of node agents watches the pods of its own node: a pod's event is for one of them. So what
selects by the value of a field is kept by that value, and only those that select by the value which an object
has, or had, are asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from sampan.store.audience import Audience
from sampan.store.items import Event, Match, Of, Pinned, Render

_log = logging.getLogger(__name__)

Key = tuple[Match | None, Render]


class Audiences:
    """The audiences of one namespace, by their selectors and forms."""

    __slots__ = ("_every", "_loose", "_pinned")

    def __init__(self) -> None:
        self._every: dict[Key, Audience] = {}
        # Those that any change may be for.
        self._loose: dict[Key, Audience] = {}
        # Those that select by a value: by what it is a value of, and by the value.
        self._pinned: dict[Of, dict[str, dict[Key, Audience]]] = {}

    def __len__(self) -> int:
        return len(self._every)

    def __iter__(self) -> Iterator[Audience]:
        return iter(self._every.values())

    def get(self, key: Key) -> Audience | None:
        return self._every.get(key)

    def add(self, audience: Audience) -> None:
        key = audience.key
        self._every[key] = audience
        match = key[0]
        if isinstance(match, Pinned):
            self._pinned.setdefault(match.of, {}).setdefault(match.value, {})[key] = audience
        else:
            self._loose[key] = audience

    def remove(self, audience: Audience) -> None:
        key = audience.key
        if self._every.get(key) is not audience:
            return
        del self._every[key]
        match = key[0]
        if not isinstance(match, Pinned):
            del self._loose[key]
            return
        by_value = self._pinned[match.of]
        del by_value[match.value][key]
        if not by_value[match.value]:
            del by_value[match.value]
        if not by_value:
            del self._pinned[match.of]

    def concerned(self, event: Event) -> Iterator[Audience]:
        """Those that the event may be for."""
        yield from self._loose.values()
        for of, by_value in self._pinned.items():
            for value in _values(of, event, by_value):
                found = by_value.get(value)
                if found is not None:
                    yield from found.values()


def _values(of: Of, event: Event, every: Iterable[str]) -> Iterable[str]:
    """What the object of the event has, and had before."""
    try:
        now = of(event.item)
        if event.previous is None:
            return (now,)
        before = of(event.previous)
    except Exception:  # nobody can say whom it is for, so that all must hear of it
        _log.exception("what selects %s cannot be found out", event.item.key)
        return tuple(every)
    return (now,) if now == before else (now, before)
