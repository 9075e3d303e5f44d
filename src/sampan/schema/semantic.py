"""Whether two objects mean the same to Kubernetes: to Go, what is absent is mostly the same as what is empty.

Lists, maps and plain scalars are the same absent and empty. Optional scalars are pointers there, and so are
references: with them `0`, `""` and `{}` say something that nothing at all does not. Which scalars are
optional stands in protobuf_numbers.txt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files
from itertools import compress
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
        return type(one) is type(other) and _same_structs(one, other)
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
    for attribute in old.__struct_fields__:
        if attribute not in but:
            was, now = getattr(old, attribute), getattr(new, attribute)
            if not (was == now or _says_nothing(old, attribute, was, now) or _same_parts(was, now)):
                yield attribute, was, now


def _same_structs(one: msgspec.Struct, other: msgspec.Struct) -> bool:
    """Whether `changes` finds nothing. What C finds equal is not looked at, nor what follows a difference."""
    before, after = msgspec.structs.astuple(one), msgspec.structs.astuple(other)
    for place in compress(range(len(before)), map(ne, before, after)):
        was, now = before[place], after[place]
        if not (_says_nothing(one, one.__struct_fields__[place], was, now) or _same_parts(was, now)):
            return False
    return True


def _says_nothing(struct: Any, attribute: str, was: Any, now: Any) -> bool:
    """Whether both values are as good as absent there."""
    if was or now or not isinstance(was, _PLAIN) or not isinstance(now, _PLAIN):
        return False
    return attribute not in _optional(type(struct).__name__)


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
