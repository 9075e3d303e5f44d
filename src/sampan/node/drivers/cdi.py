"""Container Device Interface: what a device of a CDI file wants done to a container. Pure.

containerd knows CDI since 1.7 only, so the agent applies it itself, whatever the runtime. What no runtime can
be asked for through CRI (hooks, network devices) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sampan.base.errors import SampanError
from sampan.node.drivers.edits import Edits, merged
from sampan.node.runtimes.runtime import DeviceNode, Mount


class CdiError(SampanError):
    """A CDI device that cannot be had; the text says why."""


class _Node(msgspec.Struct, rename="camel", frozen=True):
    path: str
    host_path: str = ""
    permissions: str = ""


class _Mount(msgspec.Struct, rename="camel", frozen=True):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class _ContainerEdits(msgspec.Struct, rename="camel", frozen=True):
    env: tuple[str, ...] = ()
    device_nodes: tuple[_Node, ...] = ()
    mounts: tuple[_Mount, ...] = ()
    hooks: tuple[Any, ...] = ()
    net_devices: tuple[Any, ...] = ()
    additional_gids: tuple[int, ...] = ()


class _Device(msgspec.Struct, rename="camel", frozen=True):
    name: str
    container_edits: _ContainerEdits = _ContainerEdits()


class Spec(msgspec.Struct, rename="camel", frozen=True):
    """One CDI file: devices of one kind (`vendor.com/class`)."""

    kind: str
    devices: tuple[_Device, ...] = ()
    container_edits: _ContainerEdits = _ContainerEdits()


class File(msgspec.Struct, frozen=True):
    """A spec, where it was read, and how much it counts: those of higher rank hide others."""

    path: str
    rank: int
    spec: Spec


def parse(document: Any, path: str) -> Spec:
    """The spec of a parsed file. Raises CdiError."""
    try:
        return msgspec.convert(document, Spec)
    except msgspec.ValidationError as problem:
        raise CdiError(f"the CDI file {path} cannot be used: {problem}") from None


def edits_of(names: Iterable[str], files: Sequence[File]) -> Edits:
    """What the devices (`vendor.com/class=name`) want done, and their files in common. Raises CdiError."""
    found: list[Edits] = []
    used: dict[str, None] = {}
    for name in dict.fromkeys(names):
        file, device = _device(name, files)
        if file.path not in used:
            used[file.path] = None
            found.append(_edits(file.spec.container_edits, name))
        found.append(_edits(device.container_edits, name))
    return merged(found)


def _device(name: str, files: Sequence[File]) -> tuple[File, _Device]:
    kind, _, wanted = name.partition("=")
    hits = [(f, d) for f in files if f.spec.kind == kind for d in f.spec.devices if d.name == wanted]
    if not hits:
        raise CdiError(f"unresolvable CDI device {name}: no CDI file has it")
    rank = max(file.rank for file, _ in hits)
    best = [(file, device) for file, device in hits if file.rank == rank]
    if len(best) > 1:
        where = " and ".join(sorted(file.path for file, _ in best))
        raise CdiError(f"unresolvable CDI device {name}: it is both in {where}")
    return best[0]


def _edits(wanted: _ContainerEdits, name: str) -> Edits:
    if wanted.hooks:
        raise CdiError(f"the CDI device {name} wants hooks run, which this node cannot do")
    if wanted.net_devices:
        raise CdiError(f"the CDI device {name} wants network devices moved, which this node cannot do")
    odd = next((mount for mount in wanted.mounts if mount.type not in ("", "bind", "none")), None)
    if odd is not None:
        raise CdiError(f"the CDI device {name} wants a mount of type {odd.type}; this node binds only")
    pairs = (text.partition("=") for text in wanted.env)
    return Edits(
        env={key: value for key, _, value in pairs},
        mounts=tuple(Mount(m.host_path, m.container_path, "ro" in m.options) for m in wanted.mounts),
        devices=tuple(
            DeviceNode(node.host_path or node.path, node.path, node.permissions or "rwm")
            for node in wanted.device_nodes
        ),
        groups=wanted.additional_gids,
    )
