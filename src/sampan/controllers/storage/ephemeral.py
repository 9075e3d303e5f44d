"""Claims of generic ephemeral volumes: made for one pod, owned by it, gone with it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Create, Effect, Emit, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.owners import owner_reference
from sampan.controllers.storage.names import ephemeral_claim
from sampan.schema import api, codec


class View(msgspec.Struct, frozen=True):
    """A pod with ephemeral volumes, and the claims of their names that there are."""

    pod: api.Pod
    claims: tuple[api.PersistentVolumeClaim, ...] = ()


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    if pod is None or not _has_any(pod) or not podutil.is_active(pod):
        return None
    known = caches.of(api.PersistentVolumeClaim)
    found = [known.get(key.namespace, ephemeral_claim(pod, v.name)) for v in pod.spec.volumes if v.ephemeral]
    return View(pod, tuple(claim for claim in found if claim is not None))


def plan(view: View, now: datetime) -> Plan:
    """Make what is missing; a claim of the name that is somebody else's is never touched."""
    pod, effects, notices = view.pod, list[Effect](), list[Emit]()
    held = {claim.metadata.name: claim for claim in view.claims}
    for volume in pod.spec.volumes:
        if volume.ephemeral is None or volume.ephemeral.volumeClaimTemplate is None:
            continue
        claim = held.get(ephemeral_claim(pod, volume.name))
        if claim is None:
            made = _claim(pod, volume.name, volume.ephemeral.volumeClaimTemplate)
            failed = Emit(
                ref_of(pod), "Warning", "FailedBinding", f"ephemeral volume {volume.name}: {{error}}"
            )
            effects.append(Create(made, failed=failed))
            continue
        owner = controller_of(claim)
        if owner is None or owner.uid != pod.metadata.uid:
            namespace = pod.metadata.namespace
            why = (
                f'PVC "{namespace}/{claim.metadata.name}" was not created for pod '
                f'"{namespace}/{pod.metadata.name}" (pod is not owner)'
            )
            notices.append(
                Emit(ref_of(pod), "Warning", "FailedBinding", f"ephemeral volume {volume.name}: {why}")
            )
    return Plan(tuple(effects), notices[0].message if notices else "", notices=tuple(notices))


def _claim(
    pod: api.Pod, volume: str, template: api.PersistentVolumeClaimTemplate
) -> api.PersistentVolumeClaim:
    whole = codec.copy(template)
    meta = api.ObjectMeta(
        name=ephemeral_claim(pod, volume),
        namespace=pod.metadata.namespace,
        labels=whole.metadata.labels,
        annotations=whole.metadata.annotations,
        ownerReferences=[owner_reference(pod)],
    )
    return api.PersistentVolumeClaim(
        apiVersion="v1", kind="PersistentVolumeClaim", metadata=meta, spec=whole.spec
    )


def _has_any(pod: api.Pod) -> bool:
    volumes = pod.spec.volumes
    return bool(volumes) and any(volume.ephemeral is not None for volume in volumes)


def _pods(caches: Caches, claim: api.PersistentVolumeClaim) -> Iterable[Key]:
    """The owner of a claim that went: it may need another."""
    owner = controller_of(claim)
    namespace = claim.metadata.namespace or ""
    if owner is not None and owner.kind == "Pod" and owner.apiVersion == "v1":
        yield Key(namespace, owner.name)


CONTROLLER: Final = Controller(
    name="ephemeral-volume",
    reporter="ephemeral_volume",
    kind=api.Pod,
    matters=lambda old, new: podutil.is_active(old) != podutil.is_active(new),
    wants=lambda _caches, pod: _has_any(pod),
    watches=(mapped(api.PersistentVolumeClaim, _pods, lambda _old, _new: False),),
    gather=gather,
    plan=plan,
)
