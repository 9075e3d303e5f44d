"""What the agent must know again after a restart, in a file that is replaced as a whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")

_log = logging.getLogger(__name__)


def load(path: Path, kind: type[T], default: T) -> T:
    """What was saved; `default` where nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return default
    except (OSError, msgspec.DecodeError) as problem:
        _log.error("%s cannot be read, and what it says is not known any more: %s", path, problem)
        return default


def save(path: Path, value: object) -> None:
    """Replace the file. Raises OSError; then the old one is still there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(value))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
