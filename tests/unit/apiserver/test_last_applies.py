from __future__ import annotations

from typing import Any

from sampan.apiserver.core import applying
from sampan.apiserver.core.applying import LastApplies
from sampan.machinery.patch.apply import again
from sampan.machinery.patch.apply.fieldset import EMPTY
from sampan.machinery.schema_node import UNKNOWN


def last(text: str = "v") -> again.Last:
    config: dict[str, Any] = {"data": {"k": text}}
    return again.last(config, UNKNOWN, EMPTY, config)


def key(number: int) -> tuple[str, str, str, str]:
    return (f"/registry/core/configmaps/default/{number}", "v1", "", "m")


def test_the_applies_that_came_last_are_remembered() -> None:
    applies = LastApplies()
    for number in range(applying.MAX_LAST):
        applies.put(key(number), last())
    applies.put(key(0), last())
    applies.put(key(applying.MAX_LAST), last())
    assert applies.get(key(0)) is not None
    assert applies.get(key(1)) is None
    assert applies.get(key(2)) is not None


def test_what_names_too_much_is_not_remembered_nor_what_was_before_it() -> None:
    applies = LastApplies()
    applies.put(key(0), last())
    applies.put(key(0), last("v" * applying.MAX_LAST_BYTES))
    assert applies.get(key(0)) is None
