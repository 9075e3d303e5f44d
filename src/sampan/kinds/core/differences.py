"""How two values differ in what they mean to Kubernetes, for fields that may not change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from sampan.schema import codec

_ABSENT: Final = object()
# Where Go has a pointer, an empty text is not the same as none.
_EMPTY_MEANS: Final = frozenset(
    {"apiGroup", "runtimeClassName", "storageClassName", "volumeAttributesClassName"}
)
# Where Go has a plain value, `false` and 0 are the same as none.
_ZERO_MEANS_NOTHING: Final = frozenset(
    {
        "hostIPC",
        "hostNetwork",
        "hostPID",
        "hostPort",
        "initialDelaySeconds",
        "publishNotReadyAddresses",
        "readOnly",
        "stdin",
        "stdinOnce",
        "tty",
    }
)


def difference(old: Any, new: Any) -> str:
    """A line for each field that changed, with `-` and its old or `+` and its new value; "" if none did.

    A client may write out what another leaves empty; that is no change.
    """
    return "" if old == new else "\n".join(_lines(codec.to_builtins(old), codec.to_builtins(new), ""))


def _lines(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else key
            yield from _lines(_value(old, key), _value(new, key), below)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for position, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _lines(was, now, f"{path}[{position}]")
    else:
        if old is not _ABSENT:
            yield f"- {path}: {json.dumps(old)}"
        if new is not _ABSENT:
            yield f"+ {path}: {json.dumps(new)}"


def _value(holder: dict[str, Any], key: str) -> Any:
    value = holder.get(key, _ABSENT)
    if isinstance(value, str) and not value and key not in _EMPTY_MEANS:
        return _ABSENT
    return _ABSENT if key in _ZERO_MEANS_NOTHING and not value else value
