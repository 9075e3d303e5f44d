"""The kinds of storage.k8s.io/v1."""

from __future__ import annotations

from typing import Final

from sampan.kinds.groups.storage import classes, csi, volumeattachment
from sampan.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    csi.DRIVER,
    csi.NODE,
    csi.CAPACITY,
    classes.STORAGE_CLASS,
    volumeattachment.KIND,
    classes.VOLUME_ATTRIBUTES_CLASS,
)
