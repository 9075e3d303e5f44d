"""An image's file system without a container, for image volumes: unpacked by containerd, mounted read-only.

CRI can mount images since containerd 2.1; here it is done through containerd's own snapshots, as its `ctr`
does, so that every containerd will do.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sampan.base.clock import Clock
from sampan.node.images import oci
from sampan.node.runtimes.cri.client import (
    CONTENT,
    DIFF,
    IMAGE_STORE,
    RUNTIME,
    SNAPSHOTS,
    AlreadyExists,
    CriClient,
    NotFound,
)
from sampan.node.runtimes.cri.leases import leased
from sampan.node.runtimes.runtime import Image, RuntimeFailure
from sampan.node.volumes.mounting import mount_read_only, mounts_below

# What a manifest or a configuration may weigh; registries refuse more than 4 MiB.
_DOCUMENT_MOST_BYTES = 4 * 1024 * 1024
_REASON = "CreateContainerError"


class ImageMounts:
    """The images that are mounted as volumes, each a view of its snapshot under the volume's own name."""

    def __init__(self, client: CriClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._snapshotter = ""

    async def mount(self, image: Image, name: str, directory: Path) -> None:
        """Make the files of the image appear at `directory`, where they do not yet."""
        # Not `is_mount`: that takes a bind mount of the same file system for none.
        if mounts_below(directory):
            return
        layers, parents = await self._layers(image)
        async with leased(self._client, self._clock, "unpack") as lease:
            await self._unpack(layers, parents, lease)
        mounts = await self._view(name, parents[-1] if parents else "")
        directory.mkdir(parents=True, exist_ok=True)
        try:
            for each in mounts:
                await asyncio.to_thread(mount_read_only, each.type, each.source, directory, each.options)
        except OSError as error:
            raise RuntimeFailure(_REASON, f"image {image.id} cannot be mounted: {error}") from error

    async def release(self, name: str) -> None:
        """Give up the view of that name; whoever mounted it has unmounted it. What is not there is fine."""
        try:
            await self._client.call(SNAPSHOTS, "Remove", snapshotter=await self._used(), key=name)
        except NotFound:
            return

    async def _used(self) -> str:
        """The snapshotter that CRI unpacks images with."""
        if not self._snapshotter:
            info = (await self._client.call(RUNTIME, "Status", verbose=True)).info
            try:
                self._snapshotter = msgspec.json.decode(info["config"])["containerd"]["snapshotter"]
            except (KeyError, TypeError, msgspec.DecodeError):
                what = "the container runtime does not tell its snapshotter, so it cannot mount images"
                raise RuntimeFailure(_REASON, what) from None
        return self._snapshotter

    async def _view(self, name: str, parent: str) -> Sequence[Any]:
        # Nothing else refers to the view: the label keeps containerd's garbage collector away.
        labels = {"containerd.io/gc.root": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        where: dict[str, Any] = {"snapshotter": await self._used(), "key": name}
        try:
            answer = await self._client.call(SNAPSHOTS, "View", parent=parent, labels=labels, **where)
        except AlreadyExists:
            answer = await self._client.call(SNAPSHOTS, "Mounts", **where)
        return list(answer.mounts)

    # --- unpacking: a pull has done it, an import has not ---------------------------------------------------

    async def _layers(self, image: Image) -> tuple[list[dict[str, Any]], list[str]]:
        """The layers' descriptors, and the name of the snapshot that holds all up to each."""
        manifest = await self._document(await self._target(image))
        if "manifests" in manifest:
            manifest = await self._document(_of_this_machine(image.id, manifest["manifests"]))
        config = await self._document(manifest["config"]["digest"])
        layers = [
            {"media_type": each["mediaType"], "digest": each["digest"], "size": each["size"]}
            for each in manifest["layers"]
        ]
        return layers, chain_ids(config["rootfs"]["diff_ids"])

    async def _target(self, image: Image) -> str:
        """The digest of the image's manifest, or of the index of those for several machines."""
        for name in (*image.tags, *image.digests, image.id):
            with suppress(NotFound):
                found = await self._client.call(IMAGE_STORE, "Get", name=name)
                return str(found.image.target.digest)
        raise RuntimeFailure(_REASON, f"image {image.id} was removed before it could be mounted")

    async def _document(self, digest: str) -> Any:
        data = bytearray()
        async for answer in self._client.stream(CONTENT, "Read", digest=digest):
            data += answer.data
            if len(data) > _DOCUMENT_MOST_BYTES:
                raise RuntimeFailure(_REASON, f"{digest} is too large for an image's manifest")
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise RuntimeFailure(_REASON, f"{digest} is not an image's manifest: {error}") from None

    async def _unpack(self, layers: list[dict[str, Any]], parents: list[str], lease: str) -> None:
        parent = ""
        for layer, name in zip(layers, parents, strict=True):
            if not await self._has(name):
                await self._apply(layer, name, parent, lease)
            parent = name

    async def _has(self, name: str) -> bool:
        try:
            await self._client.call(SNAPSHOTS, "Stat", snapshotter=await self._used(), key=name)
        except NotFound:
            return False
        return True

    async def _apply(self, layer: dict[str, Any], name: str, parent: str, lease: str) -> None:
        key = f"{lease}-{name}"
        where: dict[str, Any] = {"snapshotter": await self._used(), "key": key}
        made = await self._client.call(SNAPSHOTS, "Prepare", parent=parent, lease=lease, **where)
        try:
            await self._client.call(DIFF, "Apply", diff=layer, mounts=_plain(made.mounts), lease=lease)
            await self._client.call(SNAPSHOTS, "Commit", name=name, lease=lease, **where)
        except AlreadyExists:  # somebody else unpacked it meanwhile
            await self.release(key)
        except BaseException:
            await asyncio.shield(self.release(key))
            raise


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The names that OCI gives to a stack of layers, for each layer with all below it."""
    found: list[str] = []
    for diff_id in diff_ids:
        if not found:
            found.append(diff_id)
            continue
        digest = hashlib.sha256(f"{found[-1]} {diff_id}".encode()).hexdigest()
        found.append(f"sha256:{digest}")
    return found


def _plain(mounts: Iterable[Any]) -> list[dict[str, Any]]:
    """Mounts as one of containerd's services gives them, for another: each has a message type of its own."""
    return [{"type": m.type, "source": m.source, "options": list(m.options)} for m in mounts]


def _of_this_machine(image: str, manifests: Sequence[dict[str, Any]]) -> str:
    """The digest of the manifest for this machine's platform."""
    wanted = oci.architecture()
    for each in manifests:
        platform = each.get("platform", {})
        if platform.get("os", "linux") == "linux" and platform.get("architecture", wanted) == wanted:
            return str(each["digest"])
    raise RuntimeFailure(_REASON, f"image {image} has no variant for linux/{wanted}")
