"""`sampan image`: images without a registry."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.cli.show import demand_cluster
from sampan.cluster import lifecycle
from sampan.cluster.config import Layout, Settings


def image(layout: Layout, options: argparse.Namespace) -> int:
    """Build, import or list."""
    if options.action == "ls":
        return asyncio.run(_list(layout, _containers(layout)))
    if options.action == "import":
        return asyncio.run(_import(layout, _containers(layout), options.file))
    return _build(layout, options)


def _containers(layout: Layout) -> Settings:
    """The settings of a running cluster with containers. Raises SampanError."""
    settings = demand_cluster(layout)
    if settings.runtime != "containerd":
        raise SampanError(f"The {settings.runtime} runtime holds no images; only containerd does.")
    if not lifecycle.is_up(layout):
        raise SampanError(f"The cluster in {layout.root} is down; start it with `sampan up`.")
    return settings


def _sockets(layout: Layout, settings: Settings) -> list[str]:
    from sampan.cluster.parts.containerd import config_of

    return [config_of(layout, settings, number).address for number in range(settings.nodes)]


async def _import(layout: Layout, settings: Settings, file: Path) -> int:
    from sampan.node.images.importing import import_image

    names: list[str] = []
    for socket in _sockets(layout, settings):
        names = await import_image(socket, file)
    for name in names:
        print(f"Imported {name}")
    return 0


async def _list(layout: Layout, settings: Settings) -> int:
    from sampan.node.runtimes.cri.runtime import CriRuntime

    seen: dict[str, tuple[str, int]] = {}
    for socket in _sockets(layout, settings):
        runtime = CriRuntime(socket)
        try:
            for found in await runtime.list_images():
                for tag in found.tags or found.digests or (found.id,):
                    seen[tag] = (found.id, found.size_bytes)
        finally:
            await runtime.close()
    print(f"{'IMAGE':<50} {'ID':<20} {'SIZE':>10}")
    for tag, (identity, size_bytes) in sorted(seen.items()):
        print(f"{tag:<50} {identity.removeprefix('sha256:')[:18]:<20} {_size(size_bytes):>10}")
    return 0


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _build(layout: Layout, options: argparse.Namespace) -> int:
    from sampan.node.images import builtin, oci

    if options.output is None:
        settings = _containers(layout)
    with tempfile.TemporaryDirectory(prefix="sampan-image-") as folder:
        target = options.output or Path(folder) / "image.tar"
        if options.source == "busybox":
            name = options.tag or builtin.BUSYBOX
            builtin.build_busybox(target, (name,))
        else:
            source = Path(options.source)
            if not source.is_dir():
                raise SampanError(
                    f"{source} is no directory; name the directory that becomes the image's root."
                )
            name = options.tag or f"sampan.local/{source.resolve().name.lower()}:latest"
            oci.build_image(source, name, output=target)
        if options.output is not None:
            print(f"Wrote {name} to {target}")
            return 0
        return asyncio.run(_import(layout, settings, target))
