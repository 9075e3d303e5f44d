"""Collects unused images every few minutes, as kubelet's image garbage collection does."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence

from sampan.base.clock import Clock
from sampan.node.config import AgentConfig
from sampan.node.runtimes.runtime import Image, Runtime, RuntimeFailure
from sampan.node.upkeep.images import Disk, Limits, Seen, bytes_to_free, look, victims

_log = logging.getLogger(__name__)


def disk_at(directory: str) -> Disk:
    """The file system of a directory. Raises OSError."""
    found = os.statvfs(directory)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


class ImageManager:
    """Knows when each image was last used.

    `wanted` gives the images that pods are about to start from; `warn` takes an event's reason and message.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        config: AgentConfig,
        *,
        wanted: Callable[[], Iterable[str]] = tuple,
        warn: Callable[[str, str], None] = lambda reason, message: None,
        disk: Callable[[str], Disk] = disk_at,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._config = config
        self._limits = Limits(
            config.image_gc_high_percent, config.image_gc_low_percent, config.image_least_age_s
        )
        self._wanted = wanted
        self._warn = warn
        self._disk = disk
        self._seen: dict[str, Seen] | None = None

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again in the next round."""
        while True:
            try:
                await self.collect()
            except (RuntimeFailure, OSError) as error:
                _log.warning("unused images could not be collected: %s", error)
            await self._clock.sleep(self._config.image_gc_period_s)

    async def collect(self) -> None:
        """One round. Raises RuntimeFailure or OSError where the runtime or the disk does not answer."""
        directory = await self._runtime.image_directory()
        if not directory:
            return
        images, seen = await self._look()
        disk = self._disk(directory)
        goal_bytes = bytes_to_free(disk, self._limits)
        if not goal_bytes:
            return
        chosen = self._victims(images, seen, goal_bytes)
        _log.info("the image file system is %d %% full: %d images go", disk.used_percent, len(chosen))
        freed_bytes = await self._remove(chosen)
        if freed_bytes < goal_bytes:
            self._warn(
                "FreeDiskSpaceFailed",
                "Failed to garbage collect required amount of images. "
                f"Attempted to free {goal_bytes} bytes, but only found {freed_bytes} bytes eligible to free.",
            )

    async def remove_unused(self) -> None:
        """Remove every image that nothing uses, but for pinned and very new ones. Raises RuntimeFailure."""
        images, seen = await self._look()
        await self._remove(self._victims(images, seen, sum(image.size_bytes for image in images)))

    async def _look(self) -> tuple[list[Image], dict[str, Seen]]:
        images = list(await self._runtime.list_images())
        containers = (await self._runtime.list()).containers
        in_use = {name for c in containers for name in (c.image, c.image_ref)} | set(self._wanted())
        self._seen = look(self._seen, images, in_use, self._clock.now())
        return images, self._seen

    def _victims(self, images: Iterable[Image], seen: dict[str, Seen], goal_bytes: int) -> Sequence[Image]:
        pinned = self._config.pinned_images
        return victims(images, seen, pinned, goal_bytes, self._limits.least_age_s, self._clock.now())

    async def _remove(self, images: Iterable[Image]) -> int:
        freed_bytes = 0
        for image in images:
            try:
                await self._runtime.remove_image(image.id)
            except RuntimeFailure as error:
                _log.warning("the image %s could not be removed: %s", image.id, error)
                continue
            freed_bytes += image.size_bytes
        return freed_bytes
