"""What drivers have done to a container: environment, mounts, devices, groups, annotations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from sampan.node.runtimes.runtime import ContainerSpec, DeviceNode, Mount


class Edits(msgspec.Struct, frozen=True):
    """Empty where no driver has anything to do with the container."""

    env: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    devices: tuple[DeviceNode, ...] = ()
    groups: tuple[int, ...] = ()
    annotations: Mapping[str, str] = {}


NONE: Final = Edits()


def merged(edits: Iterable[Edits]) -> Edits:
    """All of them, the later ones winning where two set the same."""
    env: dict[str, str] = {}
    annotations: dict[str, str] = {}
    mounts: dict[str, Mount] = {}
    devices: dict[str, DeviceNode] = {}
    groups: dict[int, None] = {}
    for each in edits:
        env |= each.env
        annotations |= each.annotations
        mounts |= {mount.container_path: mount for mount in each.mounts}
        devices |= {device.container_path: device for device in each.devices}
        groups |= dict.fromkeys(each.groups)
    return Edits(env, tuple(mounts.values()), tuple(devices.values()), tuple(groups), annotations)


def edited(spec: ContainerSpec, edits: Edits) -> ContainerSpec:
    """The container with the edits. What the pod says itself wins, as with kubelet."""
    if edits == NONE:
        return spec
    env = {**edits.env, **dict(spec.env)}
    taken = {mount.container_path for mount in spec.mounts}
    groups = (*spec.security.supplemental_groups, *edits.groups)
    return replace(
        spec,
        env=tuple(env.items()),
        mounts=(*spec.mounts, *(m for m in edits.mounts if m.container_path not in taken)),
        devices=edits.devices,
        annotations={**edits.annotations, **spec.annotations},
        security=replace(spec.security, supplemental_groups=tuple(dict.fromkeys(groups))),
    )
