"""Whether two objects mean the same to Kubernetes: to Go, what is absent is mostly the same as what is empty.

Lists, maps and plain scalars are the same absent and empty. Optional scalars are pointers there, and so are
references: with them `0`, `""` and `{}` say something that nothing at all does not. Which scalars are
optional stands in protobuf_numbers.txt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files
from itertools import compress, count
from operator import ne
from typing import Any, Final

import msgspec

# Numbers or percentages that may be absent: their messages do not tell.
_OPTIONAL_AMOUNTS: Final = frozenset({"maxSurge", "maxUnavailable", "minAvailable"})
_PLAIN: Final = (type(None), str, int, float, bytes, list, dict)


def same(one: Any, other: Any) -> bool:
    """Whether there is no difference that means anything."""
    return one is other or one == other or _same_parts(one, other)


def _same_parts(one: Any, other: Any) -> bool:
    """`same` of two values that are not equal."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and next(changes(one, other), None) is None
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(same(was, now) for was, now in zip(one, other, strict=True))
        )
    return False


def changes(old: Any, new: Any, but: Collection[str] = ()) -> Iterator[tuple[str, Any, Any]]:
    """(attribute, old value, new value) of every field of two structs of one type that is not the same.

    Nobody looks at the fields that `but` names.
    """
    before, after = msgspec.structs.astuple(old), msgspec.structs.astuple(new)
    names = old.__struct_fields__
    # One after the other: who asks whether there is any difference does not wait for all to be compared.
    differing: Iterator[int] = compress(count(), map(ne, before, after))
    if but:
        kept = [place for place, name in enumerate(names) if name not in but]
        differing = (place for place in kept if before[place] != after[place])
    optional = None
    for place in differing:
        attribute, was, now = names[place], before[place], after[place]
        if not was and not now and _is_plain(was) and _is_plain(now):
            if optional is None:
                optional = _optional(type(old).__name__)
            if attribute not in optional:
                continue
        if not _same_parts(was, now):
            yield attribute, was, now


def _is_plain(value: Any) -> bool:
    return isinstance(value, _PLAIN)


def _optional(struct: str) -> frozenset[str]:
    return _table().get(struct, _OPTIONAL_AMOUNTS)


@cache
def _table() -> dict[str, frozenset[str]]:
    """The optional scalars of each struct, by its name."""
    table: dict[str, frozenset[str]] = {}
    for line in (files("sampan.schema") / "protobuf_numbers.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        short, *words = line.split(" ")
        full = f"io.k8s.{short}" if ".pkg." in short else f"io.k8s.api.{short}"
        names = {word.partition("*")[0] for word in words if "*" in word}
        table[full.replace(".", "_").replace("-", "_")] = _OPTIONAL_AMOUNTS | names
    return table
