"""CSI volumes on a node: names, paths and what drivers are asked, as kubelet has them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from sampan.machinery.quantity import Quantity
from sampan.schema import api, codec

NODE_IDS: Final = "csi.volume.kubernetes.io/nodeid"
# Node service capabilities.
STAGE: Final = 1
EXPAND: Final = 3
SINGLE_NODE_MULTI_WRITER: Final = 5
MOUNT_GROUP: Final = 6
_MODES: Final = {"ReadWriteOnce": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5, "ReadWriteOncePod": 1}
_MODES_BY_WRITER: Final = {"ReadWriteOnce": 7, "ReadOnlyMany": 3, "ReadWriteMany": 5, "ReadWriteOncePod": 6}
_RESIZING: Final = ("Resizing", "FileSystemResizePending", "NodeResizeError")
_POD: Final = "csi.storage.k8s.io/"
TOKENS: Final = f"{_POD}serviceAccount.tokens"


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One CSI volume as a pod mounts it: a PersistentVolume's, or one that the pod names itself."""

    driver: str
    handle: str
    spec_name: str  # the PersistentVolume's name, or the pod's for the volume
    ephemeral: bool = False
    readonly: bool = False
    fs_type: str = ""
    attributes: Mapping[str, str] = {}
    access_modes: tuple[str, ...] = ("ReadWriteOnce",)
    mount_options: tuple[str, ...] = ()
    stage_secret: tuple[str, str] | None = None  # namespace and name
    publish_secret: tuple[str, str] | None = None
    claim: tuple[str, str] | None = None  # namespace and name

    @property
    def unique_name(self) -> str:
        """How a node's status names the volume."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"


def of_persistent(volume: api.PersistentVolume, readonly: bool) -> Volume | None:
    """The CSI volume behind a PersistentVolume; None where it is another kind."""
    source = volume.spec.csi
    if source is None:
        return None
    return Volume(
        driver=source.driver,
        handle=source.volumeHandle,
        spec_name=volume.metadata.name or "",
        readonly=readonly or bool(source.readOnly),
        fs_type=source.fsType or "",
        attributes=source.volumeAttributes,
        access_modes=tuple(volume.spec.accessModes),
        mount_options=tuple(volume.spec.mountOptions),
        stage_secret=_secret(source.nodeStageSecretRef),
        publish_secret=_secret(source.nodePublishSecretRef),
        claim=_claim(volume.spec.claimRef),
    )


def of_pod(pod: api.Pod, volume: api.Volume) -> Volume | None:
    """A volume that the driver makes for the pod alone (`volumes[].csi`)."""
    source = volume.csi
    if source is None:
        return None
    digest = hashlib.sha256(f"{pod.metadata.uid}{volume.name}".encode()).hexdigest()
    secret = source.nodePublishSecretRef
    return Volume(
        driver=source.driver,
        handle=f"csi-{digest}",
        spec_name=volume.name,
        ephemeral=True,
        readonly=bool(source.readOnly),
        fs_type=source.fsType or "",
        attributes=source.volumeAttributes,
        publish_secret=(pod.metadata.namespace or "", secret.name or "") if secret is not None else None,
    )


def _claim(ref: api.ObjectReference | None) -> tuple[str, str] | None:
    return (ref.namespace or "", ref.name or "") if ref is not None else None


def _secret(ref: api.SecretReference | None) -> tuple[str, str] | None:
    return (ref.namespace or "", ref.name or "") if ref is not None else None


def attachment_name(volume: Volume, node: str) -> str:
    """The name that every party computes alike."""
    return "csi-" + hashlib.sha256(f"{volume.handle}{volume.driver}{node}".encode()).hexdigest()


def staging_path(volume: Volume) -> str:
    """Below kubelet's directory."""
    digest = hashlib.sha256(volume.handle.encode()).hexdigest()
    return f"plugins/kubernetes.io/csi/{volume.driver}/{digest}/globalmount"


def target_path(pod_uid: str, volume: Volume) -> str:
    """Below kubelet's directory."""
    return f"pods/{pod_uid}/volumes/kubernetes.io~csi/{volume.spec_name}/mount"


def capability(volume: Volume, capabilities: frozenset[int], fs_group: int | None) -> dict[str, Any]:
    """The VolumeCapability of the volume."""
    modes = _MODES_BY_WRITER if SINGLE_NODE_MULTI_WRITER in capabilities else _MODES
    mount: dict[str, Any] = {"fs_type": volume.fs_type, "mount_flags": list(volume.mount_options)}
    if fs_group is not None and MOUNT_GROUP in capabilities:
        mount["volume_mount_group"] = str(fs_group)
    first = volume.access_modes[0] if volume.access_modes else ""
    return {"mount": mount, "access_mode": {"mode": modes.get(first, 1)}}


def context(volume: Volume, pod: api.Pod, wants_pod: bool) -> dict[str, str]:
    """The volume's attributes, with the pod's where the driver asks for these."""
    found = dict(volume.attributes)
    if wants_pod:
        found |= {
            f"{_POD}pod.name": pod.metadata.name or "",
            f"{_POD}pod.namespace": pod.metadata.namespace or "",
            f"{_POD}pod.uid": pod.metadata.uid or "",
            f"{_POD}serviceAccount.name": pod.spec.serviceAccountName or "",
            f"{_POD}ephemeral": "true" if volume.ephemeral else "false",
        }
    return found


def growth(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> Quantity | None:
    """How large the volume has become, where its claim still has less; None where there is nothing to do."""
    has, may = claim.status.capacity.get("storage"), volume.spec.capacity.get("storage")
    return may if has is not None and may is not None and has < may else None


def grown(claim: api.PersistentVolumeClaim, size: Quantity) -> dict[str, Any]:
    """What is changed of a claim whose volume its node has grown: the size, and that nothing is pending."""
    left = [c for c in claim.status.conditions if c.type not in _RESIZING]
    return {
        "metadata": {"uid": claim.metadata.uid},
        "status": {
            "capacity": {"storage": str(size)},
            "conditions": codec.to_builtins(left) or None,
            "allocatedResourceStatuses": None,
        },
    }


def token_text(tokens: Mapping[str, tuple[str, str]]) -> str:
    """Tokens and when they end, by audience, as drivers read them."""
    found = {audience: {"token": t, "expirationTimestamp": end} for audience, (t, end) in tokens.items()}
    return msgspec.json.encode(found).decode()


def gets_group(volume: Volume, policy: str) -> bool:
    """Whether the files of the volume are given to the pod's fsGroup, by the driver's fsGroupPolicy."""
    if policy == "File":
        return True
    return (
        policy != "None"
        and bool(volume.fs_type)
        and volume.access_modes
        in (
            ("ReadWriteOnce",),
            ("ReadWriteOncePod",),
        )
    )


def with_driver(held: api.CSINode, driver: api.CSINodeDriver | None, name: str) -> api.CSINode:
    """The CSINode with the driver (None: without the one of this name)."""
    spec = held.spec if held.spec is not None else api.CSINodeSpec()
    others = [each for each in spec.drivers if each.name != name]
    return replace(held, spec=api.CSINodeSpec(drivers=[*others, driver] if driver is not None else others))


def best_version(versions: Sequence[str]) -> str:
    """The highest version of CSI 1 among them; "" for none."""
    found = []
    for version in versions:
        parts = version.removeprefix("v").split(".")
        if parts[0] == "1" and all(part.isdigit() for part in parts):
            found.append((tuple(int(part) for part in parts), version))
    return max(found)[1] if found else ""
