"""The finalizers that keep storage objects while somebody uses them."""

from __future__ import annotations

from typing import Final

CLAIM_PROTECTION: Final = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION: Final = "kubernetes.io/pv-protection"
ATTRIBUTES_PROTECTION: Final = "kubernetes.io/vac-protection"
# By kind.
PROTECTION: Final = {
    "PersistentVolumeClaim": CLAIM_PROTECTION,
    "PersistentVolume": VOLUME_PROTECTION,
    "VolumeAttributesClass": ATTRIBUTES_PROTECTION,
}
