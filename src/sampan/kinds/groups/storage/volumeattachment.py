"""VolumeAttachment."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.persistentvolume import validate_volume_spec
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateVolumeAttachment."""
    spec = obj.spec
    errors = driver_name_errors(spec.attacher, SPEC["attacher"])
    errors += checks.required_name(spec.nodeName, names.dns1123_subdomain, SPEC["nodeName"])
    return errors + _source_errors(spec.source)


def _source_errors(source: Any) -> list[FieldError]:
    inline = source.inlineVolumeSpec if source is not None else None
    volume = source.persistentVolumeName if source is not None else None
    path = SPEC["source"]
    if inline is None and volume is None:
        return [field.required(path, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")]
    if inline is not None and volume is not None:
        return [
            field.forbidden(path, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        ]
    if volume is None and inline is not None:
        return validate_volume_spec(inline, path["inlineVolumeSpec"], inline=True)
    at = path["persistentVolumeName"]
    if not volume:
        return [field.required(at, "must specify non empty persistentVolumeName")]
    return checks.named(volume, names.dns1123_subdomain(volume), at)


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """One attachment is for one volume and one node."""
    return checks.fixed(new.spec, old.spec, SPEC)


def _volume(obj: Any) -> str:
    source = obj.spec.source
    return (source.persistentVolumeName if source is not None else None) or ""


KIND: Final = Kind(
    api_version="storage.k8s.io/v1",
    kind="VolumeAttachment",
    plural="volumeattachments",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    validate=validate,
    validate_update=validate_update,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Attacher", lambda va: va.spec.attacher, format="name"),
        column("PV", _volume),
        column("Node", lambda va: va.spec.nodeName),
        column("Attached", lambda va: va.status.attached, type="boolean"),
        AGE,
    ),
)
