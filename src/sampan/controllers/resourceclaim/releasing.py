"""Claims whose pods end: no longer reserved, then no longer allocated; those made for one pod go with it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.client import Client
from sampan.client.effects import Effect, Patch, Plan, Remove, UpdateStatus
from sampan.client.errors import ApiError
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.kinds.groups.resource.claims import claim_names
from sampan.schema import api, codec

PROTECTION: Final = "resource.kubernetes.io/delete-protection"


class View(msgspec.Struct, frozen=True):
    """A claim, which of its users (by uid) are done with it, and which of these the cache does not know."""

    claim: api.ResourceClaim
    done: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    owner_finished: bool = False


def gather(caches: Caches, key: Key) -> View | None:
    claim = caches.of(api.ResourceClaim).get(*key)
    if claim is None:
        return None
    pods, done, unknown = caches.of(api.Pod), set[str](), set[str]()
    for user in claim.status.reservedFor:
        if user.resource != "pods" or user.apiGroup:
            continue
        pod = pods.get(key.namespace, user.name)
        if pod is None or pod.metadata.uid != user.uid:
            unknown.add(user.uid)
        elif _is_done(pod):
            done.add(user.uid)
    owner = _owning_pod(claim)
    owning = pods.get(key.namespace, owner.name) if owner is not None else None
    finished = (
        owning is not None and owner is not None and owning.metadata.uid == owner.uid and _is_done(owning)
    )
    return View(claim, frozenset(done), frozenset(unknown), finished)


async def survey(client: Client, view: View) -> View:
    """Ask the server for pods that the cache does not know: it may not have seen them yet."""
    done = set(view.done)
    for user in view.claim.status.reservedFor:
        if user.uid not in view.unknown:
            continue
        try:
            pod = await client.get(api.Pod, user.name, view.claim.metadata.namespace or "")
        except ApiError as problem:
            if problem.code != 404:
                raise
            done.add(user.uid)
        else:
            if pod.metadata.uid != user.uid or _is_done(pod):
                done.add(user.uid)
    return msgspec.structs.replace(view, done=frozenset(done), unknown=frozenset())


def plan(view: View, now: datetime) -> Plan:
    """Give back what nobody uses; delete a claim whose pod has ended; let go of one that is being deleted."""
    claim, effects = view.claim, list[Effect]()
    meta, status = claim.metadata, claim.status
    left = [user for user in status.reservedFor if user.uid not in view.done]
    is_going = meta.deletionTimestamp is not None
    frees = status.allocation is not None and not left and (bool(status.reservedFor) or is_going)
    if len(left) != len(status.reservedFor) or frees:
        changed = codec.copy(claim)
        changed.status.reservedFor = left
        if not left:
            changed.status.allocation = None
            changed.status.devices = []
        effects.append(UpdateStatus(changed))
    elif is_going and PROTECTION in meta.finalizers and status.allocation is None:
        others = [name for name in meta.finalizers if name != PROTECTION]
        patch = {"uid": meta.uid, "resourceVersion": meta.resourceVersion, "finalizers": others or None}
        effects.append(Patch(ref_of(claim), {"metadata": patch}))
    if not left and view.owner_finished and not is_going:
        effects.append(Remove(ref_of(claim)))
    waits = f"{left[0].name} to use it no longer" if is_going and left else ""
    return Plan(tuple(effects), waits)


def _is_done(pod: api.Pod) -> bool:
    """Whether a pod will not use its claims any more: it has ended, or goes and never had a node."""
    return podutil.is_finished(pod) or (pod.metadata.deletionTimestamp is not None and not pod.spec.nodeName)


def _owning_pod(claim: Any) -> Any | None:
    owner = controller_of(claim)
    return owner if owner is not None and owner.kind == "Pod" and owner.apiVersion == "v1" else None


def _claims(caches: Caches, pod: api.Pod) -> Iterable[Key]:
    return [Key(pod.metadata.namespace or "", name) for name in dict.fromkeys(claim_names(pod))]


CONTROLLER: Final = Controller(
    name="resource-claim-release",
    kind=api.ResourceClaim,
    watches=(mapped(api.Pod, _claims, lambda old, new: _is_done(old) != _is_done(new)),),
    gather=gather,
    survey=survey,
    plan=plan,
)
