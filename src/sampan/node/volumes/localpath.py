"""The node's part of local-path volumes: removes their data when they are deleted, and lets them go then."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sampan.base.clock import Clock
from sampan.client.client import Client
from sampan.client.effects import Ref
from sampan.client.errors import ApiError, is_lost
from sampan.client.informer import Informer
from sampan.client.queue import WorkQueue
from sampan.kinds import localpath
from sampan.schema import api

RETRY_FIRST_S: Final = 1.0
RETRY_MOST_S: Final = 300.0

# Records an Event about a volume, as `client.events.Recorder.event` does.
Record = Callable[[Ref, str, str, str], None]

_log = logging.getLogger(__name__)


def directory_of(root: str, volume: api.PersistentVolume) -> Path | None:
    """The directory of a volume, if it lies directly below `root`: nothing else may be made or removed."""
    source = volume.spec.local
    if not root or source is None:
        return None
    place = Path(source.path)
    return place if place.parent == Path(root) and place.name not in ("", ".", "..") else None


class LocalPathKeeper:
    """Watches the local-path volumes of some nodes. `directories` maps nodes to where their volumes are ("":
    there is no disk, as on simulated nodes).
    """

    def __init__(
        self, client: Client, clock: Clock, directories: Mapping[str, str], *, record: Record
    ) -> None:
        self._client = client
        self._directories = directories
        self._record = record
        self._informer = Informer(client, api.PersistentVolume, clock, labels=localpath.VOLUME_LABEL)
        self._queue: WorkQueue[str] = WorkQueue(clock, first_s=RETRY_FIRST_S, most_s=RETRY_MOST_S)
        self._informer.on_change(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            tasks.create_task(self._queue.run())
            tasks.create_task(self._work())

    def _changed(self, _old: api.PersistentVolume | None, new: api.PersistentVolume | None) -> None:
        if new is not None and self._is_due(new):
            self._queue.add(new.metadata.name or "")

    def _is_due(self, volume: api.PersistentVolume) -> bool:
        """Whether it is to be deleted, is ours, and nobody else holds it any more."""
        meta = volume.metadata
        return (
            meta.deletionTimestamp is not None
            and meta.finalizers == [localpath.FINALIZER]
            and meta.annotations.get(localpath.VOLUME_NODE) in self._directories
        )

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            volume = self._informer.cache.get("", name)
            try:
                if volume is not None and self._is_due(volume):
                    await self._remove(volume)
                self._queue.forget(name)
            except (ApiError, OSError, TimeoutError) as error:
                _log.warning("the data of volume %s was not removed: %s", name, error)
                self._tell(volume, str(error))
                self._queue.retry(name)
            except Exception as error:
                # One volume that is not understood must not end the node's agent.
                _log.exception("the data of volume %s was not removed", name)
                self._tell(volume, f"{type(error).__name__}: {error}")
                self._queue.retry(name)
            finally:
                self._queue.done(name)

    async def _remove(self, volume: api.PersistentVolume) -> None:
        meta = volume.metadata
        root = self._directories[meta.annotations[localpath.VOLUME_NODE]]
        place = directory_of(root, volume)
        if volume.spec.persistentVolumeReclaimPolicy == "Delete" and place is not None and place.exists():
            await asyncio.to_thread(shutil.rmtree, place)
        patch = {"uid": meta.uid, "resourceVersion": meta.resourceVersion, "finalizers": None}
        try:
            await self._client.patch(api.PersistentVolume, meta.name or "", "", {"metadata": patch})
        except ApiError as error:
            if not is_lost(error):
                raise

    def _tell(self, volume: api.PersistentVolume | None, why: str) -> None:
        if volume is not None:
            about = Ref("v1", "PersistentVolume", "", volume.metadata.name or "", volume.metadata.uid or "")
            self._record(about, "Warning", "VolumeFailedDelete", why)
