"""OCI images from directories: the same directory always gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sampan.base.errors import SampanError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
REF_ANNOTATION = "org.opencontainers.image.ref.name"
NAME_ANNOTATION = "io.containerd.image.name"

# Read from the directory that an image is built from; not part of the image.
CONFIG_FILE = "image.json"

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class ImageError(SampanError):
    """A directory or archive that no image can be made from."""


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How containers of the image start: `image.json`."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    user: str = ""
    workdir: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    stop_signal: str = ""


class Blob(msgspec.Struct, frozen=True):
    """Content with the media type that manifests name it by."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


class ImageContent(msgspec.Struct, frozen=True):
    """One image for one platform: everything that a registry or a runtime stores of it."""

    config: Blob
    layers: tuple[Blob, ...]
    manifest: Blob


def architecture(machine: str = "") -> str:
    """The OCI name of a machine named as in `uname -m`; this machine's by default."""
    machine = machine or platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def build_image(
    directory: Path, reference: str, config: ImageConfig | None = None, output: Path | None = None
) -> Path:
    """Write an OCI archive of `directory` named `reference`; returns its path.

    Without `config`, the directory's `image.json` says how containers start. The archive lies beside the
    directory unless `output` names another place. Raises ImageError where the directory or its
    image.json is no good.
    """
    if not directory.is_dir():
        raise ImageError(f"{directory} is not a directory; name the one that holds the image's files.")
    content = image_content([layer_of(directory)], config or read_config(directory))
    path = output or directory.with_name(directory.name + ".tar")
    path.write_bytes(archive(content, (reference,)))
    return path


def read_config(directory: Path) -> ImageConfig:
    """The `image.json` of a directory, or the defaults. Raises ImageError where it is malformed."""
    path = directory / CONFIG_FILE
    if not path.exists():
        return ImageConfig()
    try:
        return msgspec.json.decode(path.read_bytes(), type=ImageConfig)
    except msgspec.DecodeError as error:
        raise ImageError(f"{path} is not a valid image configuration: {error}.") from None


def layer_of(directory: Path) -> bytes:
    """The directory's files as a layer: sorted, owned by root, dated 1970."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory).as_posix()
            if name == CONFIG_FILE:
                continue
            info = tar.gettarinfo(str(path), arcname=name)
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            info.pax_headers = {}
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    return buffer.getvalue()


def image_content(layers: list[bytes], config: ImageConfig, machine: str = "") -> ImageContent:
    """Config and manifest around layers (tar bytes, lowest first)."""
    started: dict[str, Any] = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": [f"{name}={value}" for name, value in sorted(config.env.items())],
        "User": config.user,
        "WorkingDir": config.workdir,
        "Labels": dict(sorted(config.labels.items())),
        "StopSignal": config.stop_signal,
    }
    if not config.env:
        started["Env"] = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    blobs = tuple(Blob(LAYER_TYPE, layer) for layer in layers)
    document = {
        "architecture": architecture(machine),
        "os": "linux",
        "config": {key: value for key, value in started.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
        "history": [{"created_by": "sampan image build"} for _ in blobs],
    }
    return with_manifest(Blob(CONFIG_TYPE, _json(document)), blobs)


def with_manifest(config: Blob, layers: tuple[Blob, ...]) -> ImageContent:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return ImageContent(config, layers, Blob(MANIFEST_TYPE, _json(document)))


def archive(content: ImageContent, references: tuple[str, ...]) -> bytes:
    """An OCI image layout as a tar, with one index entry for each reference."""
    entries = [
        content.manifest.descriptor()
        | {
            "annotations": {NAME_ANNOTATION: reference, REF_ANNOTATION: reference},
            "platform": {
                "architecture": msgspec.json.decode(content.config.data)["architecture"],
                "os": "linux",
            },
        }
        for reference in references
    ]
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}),
    }
    for blob in (content.manifest, content.config, *content.layers):
        files["blobs/sha256/" + blob.digest.removeprefix("sha256:")] = blob.data
    return tar_of(files)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A tar of files by name, in the given order, all the same on every machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def plain(layer: bytes) -> bytes:
    """A layer's tar, gunzipped where it is gzipped."""
    return gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer
