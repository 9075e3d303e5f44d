"""Reads CDI files from where drivers leave them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from sampan.node.drivers.cdi import CdiError, File, parse

# As the CDI specification has them: files of the second hide those of the first.
DIRECTORIES: Final = ("/etc/cdi", "/var/run/cdi")
MOST_BYTES: Final = 4 * 1024 * 1024

_log = logging.getLogger(__name__)


def read(directories: Iterable[str] | None = None) -> Sequence[File]:
    """Every file that can be used, of DIRECTORIES unless told otherwise; others are told of in the log."""
    found = []
    for rank, directory in enumerate(DIRECTORIES if directories is None else directories):
        place = Path(directory)
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix not in (".json", ".yaml", ".yml"):
                continue
            try:
                found.append(File(str(path), rank, parse(_document(path), str(path))))
            except (CdiError, OSError, ValueError) as problem:
                _log.warning("%s", problem)
    return found


def _document(path: Path) -> Any:
    if path.stat().st_size > MOST_BYTES:
        raise CdiError(f"the CDI file {path} is larger than {MOST_BYTES} bytes")
    text = path.read_bytes()
    if path.suffix == ".json":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as problem:
            raise CdiError(f"the CDI file {path} cannot be read: {problem}") from None
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise CdiError(f"the CDI file {path} cannot be read: {problem}") from None
