"""CSI volumes that must be attached to a node before its pods can mount them: VolumeAttachments of a node.

The driver's external-attacher attaches and detaches; this controller says what should be attached where, and
tells the node in its status. Follows kube-controller-manager's attach-detach controller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Emit, Patch, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, cached, mapped
from sampan.controllers.storage.names import USES, claims_of, is_bound_to, used_claims, where
from sampan.schema import api

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
# On an attachment: since when nobody wants it, while its node still uses the volume.
UNWANTED_SINCE: Final = "sampan.io/detach-requested"
# A node that is not healthy and still claims to use a volume is not believed for longer.
FORCE_AFTER: Final = timedelta(minutes=6)
ON_NODE: Final = "attachments-on-node"
OF_VOLUME: Final = "attachments-of-volume"
# What this controller names (`attachment_name`): others' attachments are theirs to remove.
_OURS: Final = re.compile("csi-[0-9a-f]{64}")
_SHARED: Final = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_EXCLUSIVE: Final = "Volume is already exclusively attached to one node and can't be attached to another"


class Wish(msgspec.Struct, frozen=True):
    """A volume that pods of the node need, those pods, and where else it is attached and used."""

    volume: api.PersistentVolume
    pods: tuple[api.Pod, ...]
    elsewhere: tuple[str, ...] = ()
    users_elsewhere: tuple[str, ...] = ()

    @property
    def source(self) -> api.CSIPersistentVolumeSource:
        assert self.volume.spec.csi is not None
        return self.volume.spec.csi


class View(msgspec.Struct, frozen=True):
    """A node (None: it is gone), what its pods need, and what is attached to it, by attachment name."""

    name: str
    node: api.Node | None
    wishes: Mapping[str, Wish] = msgspec.field(default_factory=dict)
    attachments: Mapping[str, api.VolumeAttachment] = msgspec.field(default_factory=dict)
    # The unique volume name of each attachment.
    volumes: Mapping[str, str] = msgspec.field(default_factory=dict)


def attachment_name(source: api.CSIPersistentVolumeSource, node: str) -> str:
    """The name that every party computes alike."""
    digest = hashlib.sha256(f"{source.volumeHandle}{source.driver}{node}".encode()).hexdigest()
    return f"csi-{digest}"


def unique_name(source: api.CSIPersistentVolumeSource) -> str:
    """How a node's status names the volume."""
    return f"kubernetes.io/csi/{source.driver}^{source.volumeHandle}"


def gather(caches: Caches, name: str) -> View | None:
    attachments = {
        one.metadata.name or "": one for one in caches.of(api.VolumeAttachment).by_index(ON_NODE, name)
    }
    wishes = _wishes(caches, name)
    node = caches.of(api.Node).get("", name)
    if not wishes and not attachments and (node is None or not node.status.volumesAttached):
        return None
    volumes: dict[str, str] = {}
    for attachment, one in attachments.items():
        volume = caches.of(api.PersistentVolume).get("", _volume_of(one))
        if volume is not None and volume.spec.csi is not None:
            volumes[attachment] = unique_name(volume.spec.csi)
    return View(name, node, wishes, attachments, volumes)


def _wishes(caches: Caches, node: str) -> dict[str, Wish]:
    found: dict[str, Wish] = {}
    for pod in caches.of(api.Pod).by_index(podutil.ON_NODE, node):
        if podutil.is_finished(pod):
            continue
        for name in claims_of(pod):
            volume = _csi_volume(caches, pod, name)
            if volume is None or volume.spec.csi is None:
                continue
            key = attachment_name(volume.spec.csi, node)
            held = found.get(key)
            if held is not None:
                found[key] = msgspec.structs.replace(held, pods=(*held.pods, pod))
            else:
                found[key] = _wish(caches, volume, pod, node)
    return found


def _csi_volume(caches: Caches, pod: api.Pod, claim_name: str) -> api.PersistentVolume | None:
    """The volume behind the claim, if it is a CSI driver's that attaches."""
    claim = caches.of(api.PersistentVolumeClaim).get(pod.metadata.namespace or "", claim_name)
    if claim is None or not claim.spec.volumeName:
        return None
    volume = caches.of(api.PersistentVolume).get("", claim.spec.volumeName)
    if volume is None or volume.spec.csi is None or not is_bound_to(volume, claim):
        return None
    driver = caches.of(api.CSIDriver).get("", volume.spec.csi.driver)
    return None if driver is not None and driver.spec.attachRequired is False else volume


def _wish(caches: Caches, volume: api.PersistentVolume, pod: api.Pod, node: str) -> Wish:
    if _SHARED & set(volume.spec.accessModes):
        return Wish(volume, (pod,))
    others = caches.of(api.VolumeAttachment).by_index(OF_VOLUME, volume.metadata.name or "")
    elsewhere = sorted(one.spec.nodeName for one in others if one.spec.nodeName != node)
    ref = volume.spec.claimRef
    users = caches.of(api.Pod).by_index(USES, where(ref.namespace or "", ref.name or "")) if ref else []
    names = sorted(p.metadata.name or "" for p in users if p.spec.nodeName in elsewhere)
    return Wish(volume, (pod,), tuple(elsewhere), tuple(names))


def _volume_of(attachment: api.VolumeAttachment) -> str:
    source = attachment.spec.source
    return (source.persistentVolumeName if source is not None else None) or ""


def plan(view: View, now: datetime) -> Plan:
    """Attach what is needed, detach what is not, and write what is attached into the node's status."""
    effects: list[Effect] = []
    notices: list[Emit] = []
    waits: list[float] = []
    for name, attachment in sorted(view.attachments.items()):
        unwanted = name not in view.wishes and _OURS.fullmatch(name) is not None
        if unwanted and attachment.metadata.deletionTimestamp is None:
            more, left_s = _detach(view, attachment, now)
            effects += more
            waits += [left_s] if left_s is not None else []
    for name, wish in sorted(view.wishes.items()):
        _attach(view, name, wish, effects, notices)
    effects += _tell_node(view)
    return Plan(tuple(effects), requeue_after_s=min(waits, default=None), notices=tuple(notices))


def _attach(view: View, name: str, wish: Wish, effects: list[Effect], notices: list[Emit]) -> None:
    volume, held = wish.volume.metadata.name, view.attachments.get(name)
    if held is None:
        if wish.elsewhere:
            users = ", ".join(wish.users_elsewhere)
            why = f"Volume is already used by pod(s) {users}" if users else _EXCLUSIVE
            notices += _about(wish, f'Multi-Attach error for volume "{volume}" {why}')
        elif view.node is not None:
            effects.append(Create(_made(view.name, name, wish), expect_exists=True))
        return
    if held.metadata.annotations.get(UNWANTED_SINCE) and held.metadata.deletionTimestamp is None:
        meta = {"uid": held.metadata.uid, "annotations": {UNWANTED_SINCE: None}}
        effects.append(Patch(ref_of(held), {"metadata": meta}))
    if held.status.attachError is not None and not held.status.attached:
        why = held.status.attachError.message or ""
        notices += _about(wish, f'AttachVolume.Attach failed for volume "{volume}" : {why}')


def _about(wish: Wish, message: str) -> list[Emit]:
    return [Emit(ref_of(pod), "Warning", "FailedAttachVolume", message) for pod in wish.pods]


def _made(node: str, name: str, wish: Wish) -> api.VolumeAttachment:
    return api.VolumeAttachment(
        apiVersion="storage.k8s.io/v1",
        kind="VolumeAttachment",
        metadata=api.ObjectMeta(name=name),
        spec=api.VolumeAttachmentSpec(
            attacher=wish.source.driver,
            nodeName=node,
            source=api.VolumeAttachmentSource(persistentVolumeName=wish.volume.metadata.name),
        ),
    )


def _detach(view: View, attachment: api.VolumeAttachment, now: datetime) -> tuple[list[Effect], float | None]:
    """Detach once the node no longer uses the volume, or cannot be asked; else when to look again."""
    node, unique = view.node, view.volumes.get(attachment.metadata.name or "", "")
    gone = [Remove(msgspec.structs.replace(ref_of(attachment), resource_version=""))]
    if node is None or unique not in node.status.volumesInUse:
        return [*gone], None
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    if not ready and any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
        return [*gone], None
    since = attachment.metadata.annotations.get(UNWANTED_SINCE)
    if since is None:
        stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"uid": attachment.metadata.uid, "annotations": {UNWANTED_SINCE: stamp}}
        return [Patch(ref_of(attachment), {"metadata": meta})], FORCE_AFTER.total_seconds()
    left_s = (datetime.fromisoformat(since.replace("Z", "+00:00")) + FORCE_AFTER - now).total_seconds()
    if left_s > 0:
        return [], left_s
    return ([], None) if ready else ([*gone], None)


def _tell_node(view: View) -> list[Effect]:
    """status.volumesAttached, and events for the pods of what is new in it."""
    if view.node is None:
        return []
    attached = {
        view.volumes[name]: one.status.attachmentMetadata.get("devicePath", "")
        for name, one in view.attachments.items()
        if name in view.volumes and one.status.attached and one.metadata.deletionTimestamp is None
    }
    held = {one.name: one.devicePath for one in view.node.status.volumesAttached}
    if attached == held:
        return []
    listed = [{"name": name, "devicePath": path} for name, path in sorted(attached.items())]
    meta = {"uid": view.node.metadata.uid}
    patch = {"metadata": meta, "status": {"volumesAttached": listed or None}}
    effects: list[Effect] = [Patch(ref_of(view.node), patch, subresource="status")]
    for wish in view.wishes.values():
        if unique_name(wish.source) in attached.keys() - held.keys():
            message = f'AttachVolume.Attach succeeded for volume "{wish.volume.metadata.name}" '
            effects += [Emit(ref_of(pod), "Normal", "SuccessfulAttachVolume", message) for pod in wish.pods]
    return effects


def _node_of_pod(_caches: Caches, pod: api.Pod) -> Iterable[str]:
    return (pod.spec.nodeName,) if pod.spec.nodeName and any(claims_of(pod)) else ()


def _pod_matters(old: api.Pod, new: api.Pod) -> bool:
    return (old.spec.nodeName, podutil.is_finished(old)) != (new.spec.nodeName, podutil.is_finished(new))


def _nodes_of_claim(caches: Caches, claim: api.PersistentVolumeClaim) -> Iterable[str]:
    meta = claim.metadata
    for pod in caches.of(api.Pod).by_index(USES, where(meta.namespace or "", meta.name or "")):
        if pod.spec.nodeName:
            yield pod.spec.nodeName


def _nodes_of_attachment(caches: Caches, attachment: api.VolumeAttachment) -> Iterable[str]:
    yield attachment.spec.nodeName
    # Pods elsewhere may wait for the volume to be free.
    volume = caches.of(api.PersistentVolume).get("", _volume_of(attachment))
    ref = volume.spec.claimRef if volume is not None else None
    if ref is not None:
        for pod in caches.of(api.Pod).by_index(USES, where(ref.namespace or "", ref.name or "")):
            if pod.spec.nodeName:
                yield pod.spec.nodeName


def _told(node: api.Node) -> tuple[Any, ...]:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    return ready, node.spec.taints, node.status.volumesInUse, node.status.volumesAttached


CONTROLLER: Final = Controller(
    name="attachdetach",
    watches=(
        mapped(api.Pod, _node_of_pod, _pod_matters),
        mapped(
            api.PersistentVolumeClaim,
            _nodes_of_claim,
            lambda old, new: old.spec.volumeName != new.spec.volumeName,
        ),
        mapped(api.VolumeAttachment, _nodes_of_attachment),
        mapped(
            api.Node,
            lambda _caches, node: (node.metadata.name or "",),
            lambda old, new: _told(old) != _told(new),
        ),
        cached(api.PersistentVolume),
        cached(api.CSIDriver),
    ),
    indexes={
        api.Pod: {podutil.ON_NODE: podutil.on_node, USES: used_claims},
        api.VolumeAttachment: {
            ON_NODE: lambda one: (one.spec.nodeName,),
            OF_VOLUME: lambda one: (_volume_of(one),),
        },
    },
    gather=gather,
    plan=plan,
)
