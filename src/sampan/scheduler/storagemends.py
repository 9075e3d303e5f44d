"""What of volumes and devices would have to change for a node to take a pod. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sampan.kinds.core.node_selection import term_matches
from sampan.scheduler.framework import Rejected
from sampan.scheduler.needed import DEVICE, VOLUME, Change, amount_text
from sampan.scheduler.plugins.dynamic_resources import DynamicResources, claim_names
from sampan.scheduler.plugins.volume_binding import WAITS
from sampan.scheduler.plugins.volume_rules import ONE_POD, NodeVolumeLimits, wrong_zone
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.volume_matching import candidates, reaches, serve
from sampan.scheduler.volume_use import asked_of, class_name, is_bound
from sampan.scheduler.world import World
from sampan.schema import api


def bind_volumes(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """Claims that are missing, and volumes that are, or that the node does not reach."""
    name = node.metadata.name or ""
    texts: list[str] = []
    for claim_name, ephemeral in pod.claims:
        claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, claim_name)
        if claim is None and ephemeral:
            return None  # a controller makes it
        texts += _for_claim(world, pod, node, claim_name, claim)
    return tuple(Change(VOLUME, name, text) for text in texts) or None


def _for_claim(
    world: World, pod: PodInfo, node: api.Node, name: str, claim: api.PersistentVolumeClaim | None
) -> Iterator[str]:
    whole = f"PersistentVolumeClaim {pod.namespace}/{name}"
    if claim is None:
        yield f"create {whole}"
    elif claim.metadata.deletionTimestamp is not None or claim.status.phase == "Lost":
        yield f"make {whole} anew, which {_state(claim)}"
    elif is_bound(claim):
        volume = world.cache(api.PersistentVolume).get("", claim.spec.volumeName or "")
        if volume is None:
            yield f"make PersistentVolume {claim.spec.volumeName} anew, or {whole}, which is bound to it"
        elif not reaches(volume, node):
            where, instead = node.metadata.name, claim.spec.volumeName
            yield f"a volume that node {where} reaches for {whole}, in place of {instead}"
    else:
        yield from _unbound(world, node, whole, claim)


def _unbound(world: World, node: api.Node, whole: str, claim: api.PersistentVolumeClaim) -> Iterator[str]:
    size, wanted = amount_text("storage", asked_of(claim)), class_name(claim)
    of = f" of StorageClass {wanted}" if wanted else " without a StorageClass"
    storage_class = world.cache(api.StorageClass).get("", wanted)
    if claim.spec.volumeName:
        yield f"PersistentVolume {claim.spec.volumeName}, which {whole} asks for and is not bound to yet"
    elif wanted and storage_class is None:
        yield f"create StorageClass {wanted}, which {whole} asks for"
    elif storage_class is None or storage_class.volumeBindingMode != WAITS:
        yield f"a PersistentVolume of {size}{of} for {whole}, which is not bound yet"
    else:
        row = world.table.rows[node.metadata.name or ""]
        served = serve([(claim, storage_class)], world)
        if served.full[row]:
            yield f"{size} more storage{of} on node {node.metadata.name} for {whole}"
        elif served.unmatched[row] or not any(reaches(o.volume, node) for o in candidates(claim, world)):
            yield f"a PersistentVolume of {size}{of} that node {node.metadata.name} reaches for {whole}"


def _state(claim: api.PersistentVolumeClaim) -> str:
    if claim.metadata.deletionTimestamp is not None:
        return "is being deleted"
    return f"has lost its volume {claim.spec.volumeName}"


def free_volumes(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """The pods that use what one pod at a time may use."""
    name = node.metadata.name or ""
    found: dict[tuple[str, str], str] = {}
    for claim_name, _ in pod.claims:
        claim = world.cache(api.PersistentVolumeClaim).get(pod.namespace, claim_name)
        if claim is not None and ONE_POD in claim.spec.accessModes:
            for user in world.volumes.users_of((pod.namespace, claim_name)).keys() - {pod.key}:
                found[user] = f"PersistentVolumeClaim {claim_name} ({ONE_POD})"
    for disk, only_reads in pod.shape.mounts.disks:
        for user, (where, reads) in world.volumes.disks.get(disk, {}).items():
            if where == name and not (only_reads and reads):
                found[user] = f"disk {' '.join(disk)}"
    return (
        tuple(
            Change(VOLUME, name, f"delete pod {'/'.join(user)}, which uses {what}")
            for user, what in sorted(found.items())
        )
        or None
    )


def attach_fewer(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """How many volumes too many there would be, by driver."""
    name = node.metadata.name or ""
    found = []
    for driver, handles in (NodeVolumeLimits().prepare(pod, world) or {}).items():
        most = world.volumes.limits.get(driver, {}).get(name)
        held = world.volumes.held(name, driver)
        more = sum(handle not in held for handle in handles)
        if most is not None and more and len(held) + more > most:
            over = len(held) + more - most
            volumes = f"{over} more volume{'s' if over > 1 else ''}"
            text = f"room for {volumes} of {driver} on {name} (it takes {most})"
            found.append(Change(VOLUME, name, text, over / max(most, 1)))
    return tuple(found) or None


def zones(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """Volumes that are labelled with other zones or regions than the node's."""
    name = node.metadata.name or ""
    return (
        tuple(
            Change(
                VOLUME,
                name,
                f"a volume for PersistentVolumeClaim {pod.namespace}/{claim} that is where node "
                f"{name} is, in place of {volume} ({key} is {value})",
            )
            for claim, volume, key, value in wrong_zone(pod, world, node.metadata.labels)
        )
        or None
    )


def give_devices(world: World, pod: PodInfo, node: api.Node) -> tuple[Change, ...] | None:
    """Claims that are missing or have their devices elsewhere, and devices that are not free."""
    name = node.metadata.name or ""
    state = DynamicResources().prepare(pod, world)
    if state is None:
        return None
    if isinstance(state, Rejected):
        return _for_missing(world, pod, name)
    texts = []
    for claim in state.allocated:
        selector = claim.status.allocation.nodeSelector if claim.status.allocation else None
        if selector is not None and not _selects(selector, node):
            texts.append(f"a ResourceClaim with devices on node {name} in place of {_named(claim)}")
    for claim in state.open:
        wanted = ", ".join(_wanted(claim)) or "devices"
        texts.append(f"free on node {name} for ResourceClaim {_named(claim)}: {wanted}")
    for resource, device_class in state.extended:
        amount = amount_text(resource, pod.demand.amounts.get(resource, 0))
        texts.append(f"{amount} free of class {device_class} on node {name} for {resource}")
    return tuple(Change(DEVICE, name, text) for text in texts) or None


def _for_missing(world: World, pod: PodInfo, node: str) -> tuple[Change, ...] | None:
    claims = world.cache(api.ResourceClaim)
    gone = [
        name for name, own in claim_names(pod.pod)[0] if not own and claims.get(pod.namespace, name) is None
    ]
    texts = [f"create ResourceClaim {pod.namespace}/{name}" for name in gone]
    for name, _ in claim_names(pod.pod)[0]:
        claim = claims.get(pod.namespace, name)
        for each in _classes(claim) if claim is not None else ():
            if each not in world.devices.classes:
                texts.append(
                    f"create DeviceClass {each}, which ResourceClaim {pod.namespace}/{name} asks for"
                )
    return tuple(Change(DEVICE, node, text) for text in dict.fromkeys(texts)) or None


def _selects(selector: api.NodeSelector, node: api.Node) -> bool:
    name, labels = node.metadata.name or "", node.metadata.labels
    return any(term_matches(term)(name, labels) for term in selector.nodeSelectorTerms)


def _requests(claim: api.ResourceClaim) -> Iterator[Any]:
    """What is asked for exactly, or would be liked best."""
    for request in claim.spec.devices.requests if claim.spec.devices else ():
        if request.exactly is not None:
            yield request.exactly
        elif request.firstAvailable:
            yield request.firstAvailable[-1]  # the least that will do


def _wanted(claim: api.ResourceClaim) -> Iterator[str]:
    for part in _requests(claim):
        if part.allocationMode == "All":
            yield f"all devices of class {part.deviceClassName}"
        else:
            count = part.count or 1
            yield f"{count} device{'s' if count > 1 else ''} of class {part.deviceClassName}"


def _classes(claim: api.ResourceClaim) -> Iterator[str]:
    for part in _requests(claim):
        yield part.deviceClassName


def _named(claim: api.ResourceClaim) -> str:
    return f"{claim.metadata.namespace}/{claim.metadata.name}"
