"""Which images to remove when their file system fills up: pure, by kubelet's rules.

Above the high threshold, images that no container uses go, those used longest ago first, until the low
threshold is reached. An image that has only just appeared is left alone: somebody pulled it for something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from sampan.node.runtimes.runtime import Image

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Limits(msgspec.Struct, frozen=True):
    """Percentages of the file system in use, and how old an image must be."""

    high_percent: int
    low_percent: int
    least_age_s: float


class Disk(msgspec.Struct, frozen=True):
    """A file system; `available_bytes` is what unprivileged programs may still use."""

    capacity_bytes: int
    available_bytes: int

    @property
    def used_percent(self) -> int:
        if not self.capacity_bytes:
            return 0
        return 100 - self.available_bytes * 100 // self.capacity_bytes


class Seen(msgspec.Struct, frozen=True):
    """When an image was first seen (for those that were there before us: long ago) and last used."""

    first: datetime
    used: datetime = _LONG_AGO


def look(
    before: Mapping[str, Seen] | None, images: Iterable[Image], in_use: Iterable[str], now: datetime
) -> dict[str, Seen]:
    """What is known of the images after a look at them, by id; `before` is None at the first look.

    `in_use` are ids, tags or digests that containers run from. An image in use has `used` equal to `now`.
    """
    known, used = before or {}, set(in_use)
    found = {}
    for image in images:
        seen = known.get(image.id) or Seen(_LONG_AGO if before is None else now)
        if used & names(image):
            seen = Seen(seen.first, now)
        found[image.id] = seen
    return found


def bytes_to_free(disk: Disk, limits: Limits) -> int:
    """How much must go; 0 below the high threshold."""
    if disk.used_percent < limits.high_percent:
        return 0
    return max(0, disk.capacity_bytes * (100 - limits.low_percent) // 100 - disk.available_bytes)


def victims(
    images: Iterable[Image],
    seen: Mapping[str, Seen],
    pinned: Iterable[str],
    goal_bytes: int,
    least_age_s: float,
    now: datetime,
) -> tuple[Image, ...]:
    """The images to remove, in order, so that `goal_bytes` come free; all that may go where that is less."""
    kept, born_before = set(pinned), now - timedelta(seconds=least_age_s)
    may_go = [
        image
        for image in images
        if not (image.pinned or kept & names(image))
        and seen[image.id].used < now
        and seen[image.id].first <= born_before
    ]
    chosen, freed_bytes = [], 0
    for image in sorted(may_go, key=lambda i: (seen[i.id].used, seen[i.id].first, i.id)):
        if freed_bytes >= goal_bytes:
            break
        chosen.append(image)
        freed_bytes += image.size_bytes
    return tuple(chosen)


def names(image: Image) -> set[str]:
    """Every name that containers may know the image by."""
    return {image.id, *image.tags, *image.digests}
