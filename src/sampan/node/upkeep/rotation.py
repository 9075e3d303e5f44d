"""Which log files of a container to remove, compress and rename: pure, by kubelet's rules and names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

COMPRESSED: Final = ".gz"
# A compression that has not ended; left behind by an agent that was killed.
UNFINISHED: Final = ".tmp"
_LOG: Final = re.compile(r"(\d+)\.log(\..*)?")


class Rotation(msgspec.Struct, frozen=True):
    """File names: remove these, compress those, then move the current log to `moved_to`."""

    moved_to: str
    remove: tuple[str, ...] = ()
    compress: tuple[str, ...] = ()


def rotation(log: str, present: Iterable[str], now: datetime, files: int) -> Rotation | None:
    """How to rotate `log` among the files `present` in its directory, where `files` logs may be kept in all.

    The newest rotated log stays as it is, so that who follows it can read it to its end; older ones are
    compressed. None where a log was rotated within this very second: names have no finer time.
    """
    rotated = sorted(name for name in present if name.startswith(f"{log}."))
    moved_to = f"{log}.{now:%Y%m%d-%H%M%S}"
    if moved_to in rotated or moved_to + COMPRESSED in rotated:
        return None
    useless = [n for n in rotated if n.endswith(UNFINISHED) or n + COMPRESSED in rotated]
    kept = [n for n in rotated if n not in useless]
    # One place is the current log's, one that of the log that is being moved away.
    excess = kept[: max(0, len(kept) - max(0, files - 2))]
    compress = [n for n in kept[len(excess) :] if not n.endswith(COMPRESSED)]
    return Rotation(moved_to, (*useless, *excess), tuple(compress))


def outlived(present: Iterable[str], oldest_attempt: int) -> tuple[str, ...]:
    """The logs, rotated ones too, of instances before `oldest_attempt`, whose containers are gone."""
    found = []
    for name in sorted(present):
        match = _LOG.fullmatch(name)
        if match is not None and int(match[1]) < oldest_attempt:
            found.append(name)
    return tuple(found)
