"""What makes the volume mounts and devices of a container valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sampan.kinds.core.volume_sources import validate_descending
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

if TYPE_CHECKING:
    AnyContainer = api.Container | api.EphemeralContainer

_PROPAGATIONS: Final = frozenset({"Bidirectional", "HostToContainer", "None"})
_RECURSIVE: Final = frozenset({"Disabled", "Enabled", "IfPossible"})
_UNIQUE: Final = "must be unique"


def validate_mounts(
    container: AnyContainer, volumes: Mapping[str, api.Volume], path: Path
) -> list[FieldError]:
    """Each mounts a volume of the pod at a path of its own."""
    devices = {device.name: device.devicePath for device in container.volumeDevices}
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, mount in enumerate(container.volumeMounts):
        name, at = mount.name, mount.mountPath
        if not name:
            errors.append(field.required(path.index(position)["name"]))
        if name not in volumes:
            errors.append(field.not_found(path.index(position)["name"], name))
        if not at:
            errors.append(field.required(path.index(position)["mountPath"]))
        if at in seen:
            errors.append(field.invalid(path.index(position)["mountPath"], at, _UNIQUE))
        seen.add(at)
        if devices:
            errors += _validate_beside_devices(mount, devices, path.index(position))
        if mount.subPath or mount.subPathExpr:
            errors += _validate_sub_path(mount, volumes.get(name), path, path.index(position))
        if mount.mountPropagation is not None:
            errors += _validate_propagation(mount.mountPropagation, container, path["mountPropagation"])
        if mount.recursiveReadOnly is not None:
            errors += _validate_recursive(mount, mount.recursiveReadOnly, path["recursiveReadOnly"])
    return errors


def _validate_beside_devices(
    mount: api.VolumeMount, devices: Mapping[str, str], path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    if mount.name in devices:
        detail = "must not already exist in volumeDevices"
        errors.append(field.invalid(path["name"], mount.name, detail))
    if mount.mountPath in devices.values():
        detail = "must not already exist as a path in volumeDevices"
        errors.append(field.invalid(path["mountPath"], mount.mountPath, detail))
    return errors


def _validate_sub_path(
    mount: api.VolumeMount, volume: api.Volume | None, path: Path, here: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    if mount.subPath:
        errors += validate_descending(mount.subPath, path["subPath"])
    if mount.subPathExpr:
        if mount.subPath:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(field.invalid(here["subPathExpr"], mount.subPathExpr, detail))
        errors += validate_descending(mount.subPathExpr, path["subPathExpr"])
    return errors


def _validate_propagation(mode: str, container: AnyContainer, path: Path) -> list[FieldError]:
    if mode not in _PROPAGATIONS:
        return [field.not_supported(path, mode, _PROPAGATIONS)]
    privileged = container.securityContext is not None and container.securityContext.privileged
    if mode == "Bidirectional" and not privileged:
        detail = "Bidirectional mount propagation is available only to privileged containers"
        return [field.forbidden(path, detail)]
    return []


def _validate_recursive(mount: api.VolumeMount, mode: str, path: Path) -> list[FieldError]:
    if mode not in _RECURSIVE:
        return [field.not_supported(path, mode, _RECURSIVE)]
    errors: list[FieldError] = []
    if mode != "Disabled":
        if not mount.readOnly:
            errors.append(field.forbidden(path, "may only be specified when readOnly is true"))
        if mount.mountPropagation not in (None, "None"):
            detail = "may only be specified when mountPropagation is None or not specified"
            errors.append(field.forbidden(path, detail))
    return errors


def validate_devices(
    container: AnyContainer, volumes: Mapping[str, api.Volume], path: Path
) -> list[FieldError]:
    """Each hands the block device of a claim to the container."""
    mounts = {mount.name: mount.mountPath for mount in container.volumeMounts}
    errors: list[FieldError] = []
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for position, device in enumerate(container.volumeDevices):
        here, name, at = path.index(position), device.name, device.devicePath
        if not name:
            errors.append(field.required(here["name"]))
        if name in seen_names:
            errors.append(field.invalid(here["name"], name, _UNIQUE))
        errors += _validate_device_volume(name, volumes.get(name), here["name"])
        if not at:
            errors.append(field.required(here["devicePath"]))
        if at in seen_paths:
            errors.append(field.invalid(here["devicePath"], at, _UNIQUE))
        if ".." in at.split("/"):
            errors.append(field.invalid(here["devicePath"], at, "can not contain backsteps ('..')"))
        seen_paths.add(at)
        if name in mounts:
            errors.append(field.invalid(here["name"], name, "must not already exist in volumeMounts"))
        if at in mounts.values():
            detail = "must not already exist as a path in volumeMounts"
            errors.append(field.invalid(here["devicePath"], at, detail))
        if name:
            seen_names.add(name)
    return errors


def _validate_device_volume(name: str, volume: api.Volume | None, path: Path) -> list[FieldError]:
    if volume is None:
        return [field.not_found(path, name)]
    if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
        return []
    detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
    return [field.invalid(path, name, detail)]
