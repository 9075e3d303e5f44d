"""How two values differ in what they mean to Kubernetes, for fields that may not change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from sampan.schema import codec
from sampan.schema.semantic import changes, same

_ABSENT: Final = object()


def difference(old: Any, new: Any) -> str:
    """A line for each field that changed, with `-` and its old or `+` and its new value; "" if none did.

    A client may write out what another leaves empty; that is no change.
    """
    return "" if old == new else "\n".join(_lines(old, new, ""))


def _lines(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, msgspec.Struct) and type(old) is type(new):
        for name, was, now in sorted(changes(old, new)):
            yield from _lines(was, now, f"{path}.{name}" if path else name)
    elif isinstance(old, dict) and isinstance(new, dict) and old and new:
        for key in sorted(old.keys() | new.keys()):
            yield from _lines(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _lines(was, now, f"{path}[{position}]")
    elif not same(old, new):
        for sign, value in (("-", old), ("+", new)):
            if value is not _ABSENT and value not in (None, [], {}):
                yield f"{sign} {path}: {json.dumps(codec.to_builtins(value))}"
