"""JSON values: copying and comparing them as JSON does, not as Python does."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]


class _Absent:
    """What stands for a value that is not there, where null is a value of its own."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


def copy(value: Json) -> Json:
    """A deep copy: faster than copy.deepcopy, as JSON holds no cycles and nothing shared."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value


def equal(left: Json, right: Json) -> bool:
    """Whether both are the same JSON; `true` is not `1` there."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(equal(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)
