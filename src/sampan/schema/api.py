"""Every published type of the newest Kubernetes version by its short name: `api.Pod`, `api.PodSpec`.

`make check` writes api.pyi beside this file from the same definitions, so that mypy knows every field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sampan.schema import codec
from sampan.schema.names import short_names


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return short_names(codec.types().definitions)


def __getattr__(name: str) -> Any:
    full = _names().get(name)
    if full is None:
        raise AttributeError(f"Kubernetes publishes no type {name!r}")
    value = globals()[name] = codec.types().of(full)
    return value


def __dir__() -> list[str]:
    return sorted(_names())
