"""Image archives as others write them: OCI layouts, and what `docker save` gives."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sampan.node.images import oci
from sampan.node.images.oci import Blob, ImageContent, ImageError

_INDEX_TYPES = (oci.INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
# A level of index inside an index is allowed by the specification; deeper ones are nobody's.
_MAX_INDEX_DEPTH = 3

Read = Callable[[str], bytes]


def read_archive(path: Path, machine: str = "") -> list[tuple[str, ImageContent]]:
    """The (reference, image) pairs of an archive; of several platforms, this machine's.

    Raises ImageError where the file is no image archive, or has no image for this machine.
    """
    try:
        with tarfile.open(path) as tar:
            members = {member.name.removeprefix("./"): member for member in tar.getmembers()}

            def read(name: str) -> bytes:
                file = tar.extractfile(members[name]) if name in members else None
                if file is None:
                    raise ImageError(f"{path} lacks {name}; was it written completely?")
                return file.read()

            if "index.json" in members:
                return _oci_images(read, oci.architecture(machine), path)
            if "manifest.json" in members:
                return _docker_images(read)
    except tarfile.TarError as error:
        raise ImageError(f"{path} is not a tar archive: {error}.") from None
    raise ImageError(f"{path} is neither an OCI image archive nor one that `docker save` wrote.")


def _oci_images(read: Read, architecture: str, path: Path) -> list[tuple[str, ImageContent]]:
    found = []
    for entry in msgspec.json.decode(read("index.json"))["manifests"]:
        annotations = entry.get("annotations") or {}
        reference = annotations.get(oci.NAME_ANNOTATION) or annotations.get(oci.REF_ANNOTATION)
        manifest = _manifest(read, entry, architecture, _MAX_INDEX_DEPTH)
        if reference and manifest is not None:
            found.append((reference, _content(read, manifest)))
    if not found:
        raise ImageError(f"{path} has no named image for linux/{architecture}.")
    return found


def _manifest(read: Read, entry: Any, architecture: str, depth: int) -> Blob | None:
    """The manifest that a descriptor leads to on this platform."""
    platform = entry.get("platform") or {}
    if platform.get("architecture", architecture) != architecture or platform.get("os", "linux") != "linux":
        return None
    data = read(_blob_path(entry["digest"]))
    if entry["mediaType"] not in _INDEX_TYPES:
        return Blob(entry["mediaType"], data)
    if depth == 0:
        return None
    inner = (
        _manifest(read, each, architecture, depth - 1) for each in msgspec.json.decode(data)["manifests"]
    )
    return next((manifest for manifest in inner if manifest is not None), None)


def _content(read: Read, manifest: Blob) -> ImageContent:
    document = msgspec.json.decode(manifest.data)
    blobs = [
        Blob(each["mediaType"], read(_blob_path(each["digest"])))
        for each in (document["config"], *document["layers"])
    ]
    return ImageContent(blobs[0], tuple(blobs[1:]), manifest)


def _docker_images(read: Read) -> list[tuple[str, ImageContent]]:
    found: list[tuple[str, ImageContent]] = []
    for entry in msgspec.json.decode(read("manifest.json")):
        config = Blob(oci.CONFIG_TYPE, read(entry["Config"]))
        layers = tuple(Blob(oci.LAYER_TYPE, oci.plain(read(layer))) for layer in entry["Layers"])
        content = oci.with_manifest(config, layers)
        found.extend((tag, content) for tag in entry.get("RepoTags") or ())
    return found


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
