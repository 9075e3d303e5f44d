"""The order of a list that a strategic merge patch changed: the patch's order first, then the server's."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from sampan.machinery.patch.values import Json


def merge_order(
    merged: list[Json], order: list[Json], server: list[Json], identity: Callable[[Json], Json]
) -> list[Json]:
    """The elements of `merged`, those named in `order` in that order, the others as `server` has them.

    Where an element of each could come next, the server's comes first only if the server had both and in
    that order: a new element of the patch goes before what only the server knows.
    """
    wanted = _places(order, identity)
    tokens = [(_token(identity(item)), item) for item in merged]
    named = [pair for pair in tokens if pair[0] in wanted]
    named.sort(key=lambda pair: wanted[pair[0]])
    if len(named) == len(tokens):
        return [item for _, item in named]
    served = _places(server, identity)
    result: list[Json] = []
    at = 0
    for token, item in tokens:
        if token in wanted:
            continue
        place = served.get(token)
        while at < len(named) and not _comes_first(place, served.get(named[at][0])):
            result.append(named[at][1])
            at += 1
        result.append(item)
    return result + [item for _, item in named[at:]]


def _comes_first(place: int | None, other: int | None) -> bool:
    return place is not None and other is not None and place < other


def _places(items: list[Json], identity: Callable[[Json], Json]) -> dict[Hashable, int]:
    places: dict[Hashable, int] = {}
    for position, item in enumerate(items):
        places.setdefault(_token(identity(item)), position)
    return places


def _token(value: Json) -> Hashable:
    # Lists and maps cannot be keys of a merge list; their text stands in for them.
    return (type(value), repr(value) if isinstance(value, (dict, list)) else value)
