"""What a volume of a pod, and the source of a PersistentVolume, gets where its author left a field out."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.images import pull_policy
from sampan.machinery.quantity import Quantity
from sampan.schema import api

FILE_MODE: Final = 0o644
TOKEN_EXPIRATION_S: Final = 3600
# Go has no absent quantity here and writes the zero one.
NO_DIVISOR: Final = Quantity("0")

# Fields of volume sources that have plain defaults, in pods and PersistentVolumes alike.
_SOURCE_DEFAULTS: Final = (
    ("iscsi", (("iscsiInterface", "default"),)),
    ("rbd", (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring"))),
    (
        "azureDisk",
        (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)),
    ),
    ("scaleIO", (("storageMode", "ThinProvisioned"), ("fsType", "xfs"))),
    ("hostPath", (("type", ""),)),
)
_MODES: Final = ("secret", "configMap", "projected", "downwardAPI")
# Sources to which an empty string is the same as none.
_BY_VALUE: Final = frozenset({"iscsi", "rbd", "scaleIO"})
# What most pods use comes first: the look for a source ends at the first one found.
_COMMON: Final = ("projected", "configMap", "secret", "emptyDir")
_SOURCES: Final = (*_COMMON, *(f for f in api.Volume.__struct_fields__ if f not in ("name", *_COMMON)))


def default_volume(volume: api.Volume) -> None:
    """Fill in a volume of a pod; one without a source becomes an emptyDir."""
    if not any(getattr(volume, source) is not None for source in _SOURCES):
        volume.emptyDir = api.EmptyDirVolumeSource()
        return
    default_source(volume)
    for name in _MODES:
        source = getattr(volume, name)
        if source is not None:
            if source.defaultMode is None:
                source.defaultMode = FILE_MODE
            source.defaultUser = None  # as all users of files: alpha, and off
    if volume.downwardAPI is not None:
        _default_downward_files(volume.downwardAPI.items)
    if volume.projected is not None:
        for projection in volume.projected.sources:
            _default_projection(projection)
    else:
        _forget_users(volume.configMap)
        _forget_users(volume.secret)
    if volume.emptyDir is not None:
        volume.emptyDir.mode = None  # alpha, and off
    if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
        default_claim_spec(volume.ephemeral.volumeClaimTemplate.spec)
    if volume.image is not None and not volume.image.pullPolicy:
        volume.image.pullPolicy = pull_policy(volume.image.reference or "")


def default_source(holder: Any) -> None:
    """Fill in the volume sources that pods and PersistentVolumes share."""
    for name, defaults in _SOURCE_DEFAULTS:
        source = getattr(holder, name)
        if source is None:
            continue
        for attribute, value in defaults:
            given = getattr(source, attribute)
            if given is None or (not given and name in _BY_VALUE):
                setattr(source, attribute, value)


def default_claim_spec(spec: api.PersistentVolumeClaimSpec) -> None:
    """Fill in the spec of a claim, or of a claim template."""
    if spec.volumeMode is None:
        spec.volumeMode = "Filesystem"


def _default_projection(projection: api.VolumeProjection) -> None:
    token = projection.serviceAccountToken
    if token is not None:
        if token.expirationSeconds is None:
            token.expirationSeconds = TOKEN_EXPIRATION_S
        token.user = None
    if projection.downwardAPI is not None:
        _default_downward_files(projection.downwardAPI.items)
    _forget_users(projection.configMap)
    _forget_users(projection.secret)
    for source in (projection.clusterTrustBundle, projection.podCertificate):
        if source is not None:
            source.user = None


def _forget_users(source: Any) -> None:
    if source is not None:
        for item in source.items:
            item.user = None


def _default_downward_files(files: list[api.DownwardAPIVolumeFile]) -> None:
    for file in files:
        file.user = None
        if file.fieldRef is not None and not file.fieldRef.apiVersion:
            file.fieldRef.apiVersion = "v1"
        if file.resourceFieldRef is not None and file.resourceFieldRef.divisor is None:
            file.resourceFieldRef.divisor = NO_DIVISOR
