"""What makes the volume sources valid that pods and PersistentVolumes share.

Follows k8s.io/kubernetes/pkg/apis/core/validation, down to the paths that differ from the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

MORE_THAN_ONE: Final = "may not specify more than 1 volume type"
# What kube-apiserver calls some sources where it finds a second one.
SPELT: Final = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
NO_SOURCE: Final = "must specify a volume type"

_MODE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES: Final = frozenset(
    {"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"}
)
_CACHING_MODES: Final = frozenset({"None", "ReadOnly", "ReadWrite"})
_DISK_KINDS: Final = frozenset({"Shared", "Dedicated", "Managed"})
_MANAGED_DISK: Final = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
)
_BLOB_DISK: Final = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
_HOST_PORT: Final = "must be a host:port pair or multiple pairs separated by commas"
_ISCSI_NAMES: Final = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9.-]+)(:[^,;*&$|\s]+)"),
    "eui": re.compile(r"eui.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa.[A-Za-z0-9]{32}"),
}
# Where Kubernetes reports the errors of a source under another name than the field's.
_REPORTED_AS: Final = {"gcePersistentDisk": "persistentDisk"}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal",),
    "local": ("path",),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}


def validate_source(name: str, source: Any, path: Path) -> list[FieldError]:
    """The errors of the source that the field `name` of a volume or PersistentVolume holds."""
    here = path[_REPORTED_AS.get(name, name)]
    errors = [field.required(here[f]) for f in _REQUIRED.get(name, ()) if not getattr(source, f)]
    check = _CHECKS.get(name)
    return errors + check(source, here) if check is not None else errors


def validate_mode(mode: int | None, path: Path) -> list[FieldError]:
    """File modes are 0 to 0777."""
    return [] if mode is None or 0 <= mode <= 0o777 else [field.invalid(path, mode, _MODE)]


def validate_no_backsteps(text: str, path: Path) -> list[FieldError]:
    """No part of the path is `..`."""
    return [field.invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def validate_descending(text: str, path: Path) -> list[FieldError]:
    """A relative path that stays below its start."""
    errors = [field.invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return errors + validate_no_backsteps(text, path)


def validate_not_reserved(text: str, path: Path) -> list[FieldError]:
    """A descending path that does not look like the files a volume keeps for itself."""
    errors = validate_descending(text, path)
    if text.startswith("..") and not text.startswith("../"):
        errors.append(field.invalid(path, text, "must not start with '..'"))
    return errors


def validate_key_to_path(item: api.KeyToPath, path: Path) -> list[FieldError]:
    """A key of a ConfigMap or Secret and the file it becomes."""
    errors = [field.required(path[name]) for name in ("key", "path") if not getattr(item, name)]
    errors += validate_not_reserved(item.path, path["path"])
    return errors + validate_mode(item.mode, path["mode"])


def validate_driver_name(name: str, path: Path) -> list[FieldError]:
    """The name of a CSI driver."""
    errors = [] if name else [field.required(path)]
    if len(name) > names.LABEL_MAX_BYTES:
        errors.append(field.too_long(path, names.LABEL_MAX_BYTES))
    return errors + [field.invalid(path, name, m) for m in names.dns1123_subdomain(name.lower())]


def _host_path(source: api.HostPathVolumeSource, path: Path) -> list[FieldError]:
    if not source.path:
        return [field.required(path["path"])]
    errors = validate_no_backsteps(source.path, path["path"])
    if source.type is not None and source.type not in _HOST_PATH_TYPES:
        errors.append(field.not_supported(path["type"], source.type, _HOST_PATH_TYPES))
    return errors


def _git_repo(source: api.GitRepoVolumeSource, path: Path) -> list[FieldError]:
    return validate_descending(source.directory or "", path["directory"])


def _disk(source: Any, path: Path) -> list[FieldError]:
    partition = source.partition or 0
    return [field.invalid(path["partition"], partition, m) for m in names.in_range(partition, 0, 255)]


def _nfs(source: api.NFSVolumeSource, path: Path) -> list[FieldError]:
    if source.path.startswith("/"):
        return []
    return [field.invalid(path["path"], source.path, "must be an absolute path")]


def _local(source: api.LocalVolumeSource, path: Path) -> list[FieldError]:
    return validate_no_backsteps(source.path, path["path"])


def _iscsi(source: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not source.iqn:
        errors.append(field.required(path["iqn"]))
    else:
        errors += _iscsi_name(source.iqn, path["iqn"])
    errors += [field.invalid(path["lun"], source.lun, m) for m in names.in_range(source.lun, 0, 255)]
    if (source.chapAuthDiscovery or source.chapAuthSession) and source.secretRef is None:
        errors.append(field.required(path["secretRef"]))
    if source.initiatorName is not None:
        errors += _iscsi_name(source.initiatorName, path["initiatorname"])
    return errors


def _iscsi_name(name: str, path: Path) -> list[FieldError]:
    form = _ISCSI_NAMES.get(name[:3])
    if form is None:
        return [field.invalid(path, name, "must be valid format starting with iqn, eui, or naa")]
    return [] if form.fullmatch(name) else [field.invalid(path, name, "must be valid format")]


def _fc(source: api.FCVolumeSource, path: Path) -> list[FieldError]:
    here = path["targetWWNs"]
    if not source.targetWWNs and not source.wwids:
        return [field.required(here, "must specify either targetWWNs or wwids, but not both")]
    errors: list[FieldError] = []
    if source.targetWWNs and source.wwids:
        detail = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(field.invalid(here, source.targetWWNs, detail))
    if source.targetWWNs:
        if source.lun is None:
            errors.append(field.required(path["lun"], "lun is required if targetWWNs is specified"))
        else:
            errors += [field.invalid(path["lun"], source.lun, m) for m in names.in_range(source.lun, 0, 255)]
    return errors


def _flocker(source: api.FlockerVolumeSource, path: Path) -> list[FieldError]:
    name = source.datasetName or ""
    errors: list[FieldError] = []
    if not name and not source.datasetUUID:
        errors.append(field.required(path, "one of datasetName and datasetUUID is required"))
    if name and source.datasetUUID:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(field.invalid(path, "resource", detail))
    if "/" in name:
        errors.append(field.invalid(path["datasetName"], name, "must not contain '/'"))
    return errors


def _quobyte(source: api.QuobyteVolumeSource, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not source.registry:
        errors.append(field.required(path["registry"], _HOST_PORT))
    elif len(source.tenant or "") >= 65:
        detail = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(field.required(path["tenant"], detail))
    else:
        pairs = source.registry.split(",")
        errors += [
            field.invalid(path["registry"], source.registry, _HOST_PORT) for pair in pairs if ":" not in pair
        ]
    return errors if source.volume else [*errors, field.required(path["volume"])]


def _secret_ref(source: Any, path: Path) -> list[FieldError]:
    reference = source.secretRef
    if reference is None:
        return []
    wanted = [name for name in ("name", "namespace") if hasattr(reference, name)]
    return [field.required(path["secretRef"][name]) for name in wanted if not getattr(reference, name)]


def _storage_os(source: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("volumeName", "volumeNamespace"):
        value = getattr(source, name)
        if value:
            errors += [field.invalid(path[name], value, message) for message in names.dns1123_label(value)]
    if source.secretRef is not None and not source.secretRef.name:
        errors.append(field.required(path["secretRef"]["name"]))
    return errors


def _flex(source: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for key in source.options:
        domain = f".{key.partition('/')[0].lower()}"
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(field.invalid(path["options"].key(key), key, detail))
    return errors


def _azure_disk(source: api.AzureDiskVolumeSource, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if source.cachingMode is not None and source.cachingMode not in _CACHING_MODES:
        errors.append(field.not_supported(path["cachingMode"], source.cachingMode, _CACHING_MODES))
    if source.kind is None:
        return errors
    if source.kind not in _DISK_KINDS:
        errors.append(field.not_supported(path["kind"], source.kind, _DISK_KINDS))
    start, form = ("/subscriptions/", _MANAGED_DISK) if source.kind == "Managed" else ("https://", _BLOB_DISK)
    if not source.diskURI.startswith(start):
        errors.append(field.not_supported(path["diskURI"], source.diskURI, (form,)))
    return errors


_CHECKS: Final[Mapping[str, Callable[[Any, Path], list[FieldError]]]] = {
    "awsElasticBlockStore": _disk,
    "azureDisk": _azure_disk,
    "cinder": _secret_ref,
    "fc": _fc,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _disk,
    "gitRepo": _git_repo,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "quobyte": _quobyte,
    "storageos": _storage_os,
}
