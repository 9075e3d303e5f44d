"""One step of a StatefulSet: claim pods and revisions, count, then move on as far as its policy allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Effect, Plan, UpdateStatus
from sampan.controllers.runtime import revisions
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped, owned
from sampan.controllers.runtime.owners import FREE, claim, free
from sampan.controllers.statefulset import status
from sampan.controllers.statefulset.identity import claim_name, ordinal_of, ordinals, pod_name
from sampan.controllers.statefulset.rollout import Revisions, Step
from sampan.controllers.statefulset.view import View, revision_of
from sampan.machinery import selectors
from sampan.schema import api


def gather(caches: Caches, key: Key) -> View | None:
    """The StatefulSet with its pods, revisions and claims; None where it is gone."""
    owner = caches.of(api.StatefulSet).get(*key)
    if owner is None:
        return None
    uid = owner.metadata.uid or ""
    selector = selectors.from_label_selector(owner.spec.selector)
    pods, known = caches.of(api.Pod), caches.of(api.ControllerRevision)
    adoptable = [
        pod
        for pod in _selected(pods.by_index(FREE, key.namespace), selector)
        if ordinal_of(owner, pod) is not None  # a pod with another name can never be one of ours
    ]
    own = (*pods.controlled_by(uid), *adoptable)
    return View(
        owner,
        own,
        (*known.controlled_by(uid), *_selected(known.by_index(FREE, key.namespace), selector)),
        _claims(caches, owner, own),
        caches.failure(key),
    )


def plan(view: View, now: datetime) -> Plan:
    """The next step."""
    owner = view.owner
    selector = selectors.from_label_selector(owner.spec.selector)
    history = claim(owner, selector, view.revisions)
    if history.patches:
        return Plan(history.patches, "its revisions to be claimed")
    claimed = claim(owner, selector, view.pods)
    pods = [pod for pod in claimed.objects if ordinal_of(owner, pod) is not None]
    found = revisions.find(owner, history.objects, view.failure)
    known = (*found.others, found.current)
    current = next((r for r in known if r.metadata.name == owner.status.currentRevision), found.current)
    both = Revisions(current, found.current)
    counts = status.counted(owner, pods, both, found.collisions, now)
    step = Step(owner, pods, view.claims, both, now)
    if owner.metadata.deletionTimestamp is None:
        step.take()
    else:
        step.waiting_for = "the garbage collector to finish its deletion"
    live = frozenset([*map(revision_of, pods), current.metadata.name or ""])
    effects: list[Effect] = [*claimed.patches, *found.effects]
    if counts != owner.status:
        effects.append(UpdateStatus(msgspec.structs.replace(owner, status=counts)))
    effects += step.effects
    effects += revisions.surplus(found.others, live, owner.spec.revisionHistoryLimit)
    return Plan(tuple(effects), step.waiting_for, status.next_available_s(owner, pods, now))


def _selected(objects: Iterable[Any], selector: selectors.Selector) -> list[Any]:
    return [obj for obj in objects if selector.matches(obj.metadata.labels)]


def _claims(
    caches: Caches, owner: api.StatefulSet, pods: Sequence[api.Pod]
) -> dict[str, api.PersistentVolumeClaim]:
    templates = owner.spec.volumeClaimTemplates
    if not templates:
        return {}
    cache = caches.of(api.PersistentVolumeClaim)
    names = {pod.metadata.name or "" for pod in pods} | {pod_name(owner, n) for n in ordinals(owner)}
    wanted = [claim_name(template, name) for template in templates for name in names]
    found = [(name, cache.get(owner.metadata.namespace or "", name)) for name in wanted]
    return {name: one for name, one in found if one is not None}


def _sets_of_claim(caches: Caches, changed: api.PersistentVolumeClaim) -> list[Key]:
    """The sets that may wait for a claim to go: those with a template that can have named it."""
    namespace, name = changed.metadata.namespace or "", changed.metadata.name or ""
    if (
        caches.of(api.PersistentVolumeClaim).get(namespace, name) is not None
        and controller_of(changed) is None
    ):
        return []
    return [
        Key(namespace, one.metadata.name or "")
        for one in caches.of(api.StatefulSet).by_namespace(namespace)
        if any(
            name.startswith(claim_name(t, one.metadata.name or "") + "-")
            for t in one.spec.volumeClaimTemplates
        )
    ]


CONTROLLER: Final = Controller(
    name="statefulset",
    kind=api.StatefulSet,
    watches=(
        owned(api.Pod, adopt=True),
        cached(api.ControllerRevision),
        mapped(api.PersistentVolumeClaim, _sets_of_claim),
    ),
    indexes={api.Pod: {FREE: free}, api.ControllerRevision: {FREE: free}},
    gather=gather,
    plan=plan,
)
