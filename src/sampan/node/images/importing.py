"""Archives into containerd's image store through its own API: no `ctr`, and unpacked at the first use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from sampan.base.clock import Clock, SystemClock
from sampan.node.images import archive
from sampan.node.images.oci import Blob, ImageContent
from sampan.node.images.reference import parse
from sampan.node.runtimes.cri import messages
from sampan.node.runtimes.cri.client import (
    CONTENT,
    IMAGE_STORE,
    IMAGES,
    AlreadyExists,
    CriClient,
)
from sampan.node.runtimes.cri.leases import leased
from sampan.node.runtimes.runtime import RuntimeFailure

_CHUNK_BYTES = 1024 * 1024
_STAT, _WRITE, _COMMIT = 0, 1, 2
# CRI hears of a new image by an event; it follows within milliseconds.
_SEEN_ATTEMPTS = 200
_SEEN_DELAY_S = 0.01


async def import_image(
    socket_path: str, path: Path, *, references: Iterable[str] = (), clock: Clock | None = None
) -> list[str]:
    """Load an OCI or docker-save archive into containerd; returns the full references it has there.

    `references` replace the archive's own names. Raises ImageError where the archive is no good, and
    RuntimeFailure where containerd refuses.
    """
    clock = clock or SystemClock()
    images = await asyncio.to_thread(archive.read_archive, path)
    client = CriClient(socket_path)
    try:
        names = []
        for own_reference, content in images:
            for reference in tuple(references) or (own_reference,):
                names.append(await load(client, str(parse(reference)), content, clock))
        for name in names:
            await _seen(client, name, clock)
        return names
    finally:
        await client.close()


async def load(client: CriClient, name: str, content: ImageContent, clock: Clock) -> str:
    """Store one image's blobs and name it; an image of that name is replaced."""
    async with leased(client, clock, "import") as lease:
        for blob in (*content.layers, content.config):
            await _write(client, blob, {}, lease)
        await _write(client, content.manifest, _references(content), lease)
        image = {
            "name": name,
            "labels": {"io.cri-containerd.image": "managed"},
            "target": {
                "media_type": content.manifest.media_type,
                "digest": content.manifest.digest,
                "size": len(content.manifest.data),
            },
        }
        try:
            await client.call(IMAGE_STORE, "Create", image=image)
        except AlreadyExists:
            await client.call(IMAGE_STORE, "Update", image=image)
    return name


def _references(content: ImageContent) -> dict[str, str]:
    """The labels by which the garbage collector finds from the manifest what it needs."""
    labels = {
        f"containerd.io/gc.ref.content.l.{index}": layer.digest for index, layer in enumerate(content.layers)
    }
    return labels | {"containerd.io/gc.ref.content.config": content.config.digest}


async def _write(client: CriClient, blob: Blob, labels: dict[str, str], lease: str) -> None:
    """Store one blob under the lease; one that is there already (a layer that images share) is only leased.

    Nothing is sent until containerd has answered the first message: it ends the call at once where it has the
    blob, and what we would send into a call that has ended hides that answer.
    """
    request = messages.message("containerd.services.content.v1.WriteContentRequest")
    digest, total = blob.digest, len(blob.data)
    wanted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def requests() -> AsyncIterator[Any]:
        common = {"ref": f"{lease}-{digest}", "total": total, "expected": digest}
        yield request(action=_STAT, **common)
        if not await wanted:
            return
        for offset in range(0, total, _CHUNK_BYTES):
            yield request(
                action=_WRITE, offset=offset, data=blob.data[offset : offset + _CHUNK_BYTES], **common
            )
        yield request(action=_COMMIT, offset=total, labels=labels, **common)

    try:
        async for _ in client.exchange(CONTENT, "Write", requests(), lease):
            if not wanted.done():
                wanted.set_result(True)
    except AlreadyExists:
        return
    finally:
        if not wanted.done():
            wanted.set_result(False)


async def _seen(client: CriClient, name: str, clock: Clock) -> None:
    """Return once CRI knows the image."""
    for _ in range(_SEEN_ATTEMPTS):
        answer = await client.call(IMAGES, "ImageStatus", image={"image": name})
        if answer.HasField("image"):
            return
        await clock.sleep(_SEEN_DELAY_S)
    raise RuntimeFailure(
        "ImageInspectError", f"The container runtime stored {name} but its CRI plugin does not see it."
    )
