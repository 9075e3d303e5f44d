"""The provisioner `sampan.io/local-path`: a volume is a directory of the node on which its first pod runs.

Only the objects are made here. The node makes the directory when a pod mounts it, and removes it when a
volume with reclaim policy Delete goes; a finalizer holds the volume until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Create, Effect, Emit, Patch, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped
from sampan.controllers.storage.names import (
    BIND_COMPLETED,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    class_of,
    size_of,
)
from sampan.kinds import localpath
from sampan.schema import api

HOSTNAME: Final = "kubernetes.io/hostname"
ON_NODE: Final = "local-path-node"
WAITING: Final = "local-path-waiting"


class ClaimView(msgspec.Struct, frozen=True):
    """A claim that waits for us. `node` is the selected one; `homes` maps nodes that may hold volumes to how
    many they hold already, for claims that do not wait for a pod.
    """

    claim: api.PersistentVolumeClaim
    storage_class: api.StorageClass
    node: api.Node | None = None
    homes: Mapping[str, int] = msgspec.field(default_factory=dict)
    nodes: Mapping[str, api.Node] = msgspec.field(default_factory=dict)


class VolumeView(msgspec.Struct, frozen=True):
    """A volume of ours, and whether its node is there."""

    volume: api.PersistentVolume
    has_node: bool


def volume_name(claim: api.PersistentVolumeClaim) -> str:
    return f"pvc-{claim.metadata.uid}"


def gather(caches: Caches, key: Key) -> ClaimView | None:
    claim = caches.of(api.PersistentVolumeClaim).get(*key)
    if claim is None or claim.metadata.deletionTimestamp is not None or claim.spec.volumeName:
        return None
    marks = claim.metadata.annotations
    if marks.get(PROVISIONER) != localpath.PROVISIONER or BIND_COMPLETED in marks:
        return None
    found = caches.of(api.StorageClass).get("", class_of(claim) or "")
    if found is None or found.provisioner != localpath.PROVISIONER:
        return None
    volumes, nodes = caches.of(api.PersistentVolume), caches.of(api.Node)
    if volumes.get("", volume_name(claim)) is not None:
        return None
    selected = marks.get(SELECTED_NODE)
    if selected is not None:
        return ClaimView(claim, found, nodes.get("", selected))
    usable = {node.metadata.name or "": node for node in nodes.items() if _is_usable(node)}
    return ClaimView(claim, found, None, {name: volumes.count(ON_NODE, name) for name in usable}, usable)


def _is_usable(node: api.Node) -> bool:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    return ready and not node.spec.unschedulable and localpath.NODE_DIRECTORY in node.metadata.annotations


def plan(view: ClaimView, now: datetime) -> Plan:
    """Make the volume, bound to its claim from the start; or say why that cannot be."""
    claim = view.claim
    why = _refusal(claim)
    if why:
        return _failed(view, why)
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    if selected is not None and view.node is None:
        # The scheduler selects again once the mark is gone.
        meta = {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: None}}
        told = _failed(view, f'node "{selected}" not found')
        return msgspec.structs.replace(told, effects=(Patch(ref_of(claim), {"metadata": meta}),))
    node = view.node
    if node is None:
        if not view.homes:
            return _failed(view, "no node that is ready has a directory for volumes")
        node = view.nodes[min(view.homes, key=lambda name: (view.homes[name], name))]
    if localpath.NODE_DIRECTORY not in node.metadata.annotations:
        return _failed(view, f'node "{node.metadata.name}" has no directory for volumes')
    about, name = ref_of(claim), volume_name(claim)
    where = f'"{claim.metadata.namespace}/{claim.metadata.name}"'
    begun = f"External provisioner is provisioning volume for claim {where}"
    done = Emit(about, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
    failed = Emit(about, "Warning", "ProvisioningFailed", _message(view, "{error}"))
    made = Create(_volume(view, node), expect_exists=True, done=done, failed=failed)
    return Plan((Emit(about, "Normal", "Provisioning", begun), made))


def _refusal(claim: api.PersistentVolumeClaim) -> str:
    if claim.spec.volumeMode == "Block":
        return "block volumes cannot be had from a directory; ask for volumeMode Filesystem"
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if claim.spec.dataSource is not None or claim.spec.dataSourceRef is not None:
        return "data sources are not supported"
    return ""


def _message(view: ClaimView, why: str) -> str:
    return f'failed to provision volume with StorageClass "{view.storage_class.metadata.name}": {why}'


def _failed(view: ClaimView, why: str) -> Plan:
    notice = Emit(ref_of(view.claim), "Warning", "ProvisioningFailed", _message(view, why))
    return Plan(waiting_for=why, notices=(notice,))


def _volume(view: ClaimView, node: api.Node) -> api.PersistentVolume:
    claim, name, of_class = view.claim, volume_name(view.claim), view.storage_class
    meta = claim.metadata
    directory = node.metadata.annotations[localpath.NODE_DIRECTORY]
    host = node.metadata.labels.get(HOSTNAME, node.metadata.name or "")
    expression = api.NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[host])
    terms = [api.NodeSelectorTerm(matchExpressions=[expression])]
    return api.PersistentVolume(
        apiVersion="v1",
        kind="PersistentVolume",
        metadata=api.ObjectMeta(
            name=name,
            labels={localpath.VOLUME_LABEL: "true"},
            annotations={
                PROVISIONED_BY: localpath.PROVISIONER,
                localpath.VOLUME_NODE: node.metadata.name or "",
            },
            finalizers=[localpath.FINALIZER],
        ),
        spec=api.PersistentVolumeSpec(
            accessModes=list(claim.spec.accessModes),
            capacity={"storage": size_of(claim)},
            claimRef=api.ObjectReference(
                apiVersion="v1",
                kind="PersistentVolumeClaim",
                namespace=meta.namespace,
                name=meta.name,
                uid=meta.uid,
                resourceVersion=meta.resourceVersion,
            ),
            local=api.LocalVolumeSource(path=f"{directory}/{name}_{meta.namespace}_{meta.name}"),
            nodeAffinity=api.VolumeNodeAffinity(required=api.NodeSelector(nodeSelectorTerms=terms)),
            persistentVolumeReclaimPolicy=of_class.reclaimPolicy or "Delete",
            storageClassName=of_class.metadata.name,
            volumeMode="Filesystem",
            mountOptions=list(of_class.mountOptions),
        ),
    )


def gather_volume(caches: Caches, key: Key) -> VolumeView | None:
    volume = caches.of(api.PersistentVolume).get(*key)
    if volume is None or not _is_ours(volume):
        return None
    node = volume.metadata.annotations.get(localpath.VOLUME_NODE, "")
    return VolumeView(volume, caches.of(api.Node).get("", node) is not None)


def _is_ours(volume: Any) -> bool:
    return bool(volume.metadata.annotations.get(PROVISIONED_BY) == localpath.PROVISIONER)


def plan_volume(view: VolumeView, now: datetime) -> Plan:
    """Delete what was released; let go of what was on a node that is gone."""
    volume = view.volume
    meta = volume.metadata
    if meta.deletionTimestamp is None:
        deletes = volume.spec.persistentVolumeReclaimPolicy == "Delete"
        released = volume.status.phase in ("Released", "Failed")
        return Plan((Remove(ref_of(volume)),)) if deletes and released else Plan()
    if meta.finalizers != [localpath.FINALIZER]:
        return Plan()
    node = meta.annotations.get(localpath.VOLUME_NODE, "")
    if view.has_node:
        return Plan(waiting_for=f"node {node} to remove the data")
    patch = {"uid": meta.uid, "resourceVersion": meta.resourceVersion, "finalizers": None}
    why = f"Node {node} is gone: the volume was deleted, its data was left where the node kept it"
    effects: tuple[Effect, ...] = (
        Emit(ref_of(volume), "Warning", "VolumeDataLeft", why),
        Patch(ref_of(volume), {"metadata": patch}),
    )
    return Plan(effects)


def _claims_of_class(caches: Caches, found: api.StorageClass) -> Iterable[Key]:
    if found.provisioner != localpath.PROVISIONER:
        return
    for claim in caches.of(api.PersistentVolumeClaim).items():
        if class_of(claim) == found.metadata.name and not claim.spec.volumeName:
            yield Key(claim.metadata.namespace or "", claim.metadata.name or "")


def _claims_for_node(caches: Caches, _node: api.Node) -> Iterable[Key]:
    for claim in caches.of(api.PersistentVolumeClaim).by_index(WAITING, "yes"):
        yield Key(claim.metadata.namespace or "", claim.metadata.name or "")


def _waits(claim: api.PersistentVolumeClaim) -> Iterable[str]:
    """For the index `WAITING`: whether a volume of ours is still to be made for it."""
    if not claim.spec.volumeName and claim.metadata.annotations.get(PROVISIONER) == localpath.PROVISIONER:
        yield "yes"


def _node_matters(old: api.Node, new: api.Node) -> bool:
    return (_is_usable(old), _directory(old)) != (_is_usable(new), _directory(new))


def _directory(node: api.Node) -> str:
    return node.metadata.annotations.get(localpath.NODE_DIRECTORY, "")


def _home(volume: api.PersistentVolume) -> Iterable[str]:
    return (volume.metadata.annotations.get(localpath.VOLUME_NODE, ""),) if _is_ours(volume) else ()


def _volumes_of(caches: Caches, node: api.Node) -> Iterable[Key]:
    name = node.metadata.name or ""
    if caches.of(api.Node).get("", name) is None:
        for volume in caches.of(api.PersistentVolume).by_index(ON_NODE, name):
            yield Key("", volume.metadata.name or "")


PROVISION: Final = Controller(
    name="local-path-provisioner",
    kind=api.PersistentVolumeClaim,
    watches=(
        mapped(api.StorageClass, _claims_of_class),
        mapped(api.Node, _claims_for_node, _node_matters),
        cached(api.PersistentVolume),
    ),
    indexes={api.PersistentVolume: {ON_NODE: _home}, api.PersistentVolumeClaim: {WAITING: _waits}},
    gather=gather,
    plan=plan,
)

DELETE: Final = Controller(
    name="local-path-deleter",
    kind=api.PersistentVolume,
    watches=(mapped(api.Node, _volumes_of, lambda _old, _new: False),),
    indexes={api.PersistentVolume: {ON_NODE: _home}},
    gather=gather_volume,
    plan=plan_volume,
    workers=1,
)
