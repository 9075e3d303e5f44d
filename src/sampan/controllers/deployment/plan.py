"""One step of a Deployment: claim its ReplicaSets, find or make the new one, size them all, say how it is."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Create, Effect, Emit, Patch, Plan, Ref, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import ref_of
from sampan.controllers.deployment import revisions, scaling
from sampan.controllers.deployment import status as states
from sampan.controllers.deployment.draft import Draft
from sampan.controllers.deployment.view import (
    REVISION,
    View,
    deadline_s,
    is_rolling,
    revision,
    selector,
    wanted,
)
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped, owned
from sampan.controllers.runtime.owners import FREE, claim, free
from sampan.schema import api


def gather(caches: Caches, key: Key) -> View | None:
    """The Deployment with its ReplicaSets and their pods; None where it is gone."""
    deployment = caches.of(api.Deployment).get(*key)
    if deployment is None:
        return None
    sets = caches.of(api.ReplicaSet)
    selected = selector(deployment)
    adoptable = [one for one in sets.by_index(FREE, key.namespace) if selected.matches(one.metadata.labels)]
    candidates = (*sets.controlled_by(deployment.metadata.uid or ""), *adoptable)
    pods: list[api.Pod] = []
    if not is_rolling(deployment):  # only Recreate waits for pods themselves
        for one in candidates:
            pods += caches.of(api.Pod).controlled_by(one.metadata.uid or "")
    return View(deployment, candidates, tuple(pods), caches.failure(key))


def plan(view: View, now: datetime) -> Plan:
    """The next step."""
    deployment = view.deployment
    selected = selector(deployment)
    if selected.empty:
        return _selects_all(deployment)
    claimed = claim(deployment, selected, view.candidates)
    if claimed.patches:
        return Plan(tuple(claimed.patches), "its ReplicaSets to be claimed")
    draft = Draft(deployment, list(claimed.objects))
    new = revisions.find_new(deployment, draft.all)
    draft.new_name = (new.metadata.name or "") if new is not None else ""
    if deployment.metadata.deletionTimestamp is not None:
        status = states.counted(draft, deployment.status.conditions, deployment.status.collisionCount, now)
        return Plan(tuple(_status_effects(deployment, status)), "the garbage collector")
    return _step(view, draft, now)


def _step(view: View, draft: Draft, now: datetime) -> Plan:
    deployment = draft.deployment
    collisions = _collisions(view, draft)
    conditions = states.paused_conditions(deployment, deployment.status.conditions, now)
    if draft.new is not None:
        revisions.refresh_new(deployment, draft)
        if states.find(conditions, states.PROGRESSING) is None and deadline_s(deployment) is not None:
            message = f'Found new replica set "{draft.new_name}"'
            found = states.condition(states.PROGRESSING, "True", "FoundNewReplicaSet", message, now)
            conditions = states.with_(conditions, found)
    is_sizing = bool(deployment.spec.paused) or scaling.is_scaling(deployment, draft.all)
    if is_sizing:
        scaling.scale(draft)
    else:
        conditions = _roll_out(view, draft, conditions, collisions, now)
    status = states.counted(draft, conditions, collisions, now)
    if not is_sizing:
        if states.is_complete(deployment, status):
            revisions.clean_up(deployment, draft)
        status = states.rolled(draft, status, now)
    elif deployment.spec.paused:
        revisions.clean_up(deployment, draft)
    return Plan(
        tuple(_order(view, draft, status)), _waiting(draft, status), states.check_again_s(draft, status, now)
    )


def _roll_out(
    view: View, draft: Draft, conditions: states.Conditions, collisions: int | None, now: datetime
) -> states.Conditions:
    deployment = draft.deployment
    if is_rolling(deployment):
        if draft.new is None:
            conditions = _create(view, draft, conditions, collisions, now)
        else:
            scaling.roll(draft)
        return conditions
    if scaling.recreate_old(draft) or _old_pods_run(view, draft):
        return conditions
    if draft.new is None:
        return _create(view, draft, conditions, collisions, now)
    if draft.new.spec.replicas != wanted(deployment):
        draft.scale(draft.new, wanted(deployment))
    return conditions


def _create(
    view: View, draft: Draft, conditions: states.Conditions, collisions: int | None, now: datetime
) -> states.Conditions:
    draft.create(revisions.make_new(draft.deployment, draft, collisions))
    failure = view.failure
    if failure is not None and isinstance(failure.effect, Create) and not _is_taken(failure):
        draft.refusal = f'Failed to create new replica set "{draft.new_name}": {failure.error}'
    if deadline_s(draft.deployment) is None:
        return conditions
    if draft.refusal:
        new = states.condition(states.PROGRESSING, "False", "ReplicaSetCreateError", draft.refusal, now)
    else:
        message = f'Created new replica set "{draft.new_name}"'
        new = states.condition(states.PROGRESSING, "True", "NewReplicaSetCreated", message, now)
    return states.with_(conditions, new)


def _collisions(view: View, draft: Draft) -> int | None:
    """One more than before where the name of the new ReplicaSet is taken by one of another template."""
    collisions = view.deployment.status.collisionCount
    if draft.new is not None:
        return collisions
    name = revisions.make_new(view.deployment, draft, collisions).metadata.name
    taken = next((one for one in draft.all if one.metadata.name == name), None)
    failure = view.failure
    refused = (
        failure is not None
        and isinstance(failure.effect, Create)
        and failure.effect.obj.metadata.name == name
    )
    exists = refused and failure is not None and _is_taken(failure)
    return (collisions or 0) + 1 if taken is not None or exists else collisions


def _is_taken(failure: Failure) -> bool:
    return getattr(failure.error, "reason", "") == "AlreadyExists"


def _old_pods_run(view: View, draft: Draft) -> bool:
    new_uid = draft.new.metadata.uid if draft.new is not None else None
    for pod in view.pods:
        owner = controller_of(pod)
        if owner is not None and owner.uid != new_uid and not podutil.is_finished(pod):
            return True
    return False


def _order(view: View, draft: Draft, status: api.DeploymentStatus) -> list[Effect]:
    """Status last, for what was done; but first where creating failed, since it may fail again."""
    deployment = draft.deployment
    effects = draft.finish()
    statuses = _status_effects(deployment, status)
    failed = view.failure is not None and isinstance(view.failure.effect, Create)
    effects = [*statuses, *effects] if failed else [*effects, *statuses]
    if draft.refusal:
        effects.insert(0, Emit(ref_of(deployment), "Warning", "ReplicaSetCreateError", draft.refusal))
    number = revision(draft.new) if draft.new is not None else 0
    if number and revision(deployment) != number:
        # By patch and without a version, since the status before it has made a new version.
        annotations = {"uid": deployment.metadata.uid, "annotations": {REVISION: str(number)}}
        effects.append(Patch(_unversioned(deployment), {"metadata": annotations}))
    return effects


def _status_effects(deployment: api.Deployment, status: api.DeploymentStatus) -> list[Effect]:
    if status == deployment.status:
        return []
    return [UpdateStatus(msgspec.structs.replace(deployment, status=status))]


def _selects_all(deployment: api.Deployment) -> Plan:
    message = "This deployment is selecting all pods. A non-empty selector is required."
    if deployment.status.observedGeneration == deployment.metadata.generation:
        return Plan(waiting_for="a selector that is not empty")
    status = msgspec.structs.replace(deployment.status, observedGeneration=deployment.metadata.generation)
    emit = Emit(ref_of(deployment), "Warning", "SelectingAll", message)
    return Plan((emit, *_status_effects(deployment, status)), "a selector that is not empty")


def _unversioned(deployment: api.Deployment) -> Ref:
    return msgspec.structs.replace(ref_of(deployment), resource_version="")


def _waiting(draft: Draft, status: api.DeploymentStatus) -> str:
    deployment = draft.deployment
    if deployment.spec.paused:
        return "the rollout to be resumed"
    if states.is_complete(deployment, status):
        return ""
    done = status.updatedReplicas or 0
    usable = status.availableReplicas or 0
    return f"its ReplicaSets: {done} of {wanted(deployment)} replicas are updated, {usable} available"


def _pod_owner(caches: Caches, pod: api.Pod) -> list[Key]:
    """A pod that goes away may be what a Recreate rollout waits for."""
    owner = controller_of(pod)
    if owner is None or owner.kind != "ReplicaSet":
        return []
    owning = caches.of(api.ReplicaSet).by_uid(owner.uid)
    deployment = controller_of(owning) if owning is not None else None
    if deployment is None or deployment.kind != "Deployment":
        return []
    found = caches.of(api.Deployment).get(pod.metadata.namespace or "", deployment.name)
    return [Key(pod.metadata.namespace or "", deployment.name)] if found and not is_rolling(found) else []


def _finishes(old: api.Pod, new: api.Pod) -> bool:
    return podutil.is_finished(new) and not podutil.is_finished(old)


CONTROLLER: Final = Controller(
    name="deployment",
    kind=api.Deployment,
    watches=(owned(api.ReplicaSet, adopt=True), mapped(api.Pod, _pod_owner, _finishes)),
    indexes={api.ReplicaSet: {FREE: free}},
    gather=gather,
    plan=plan,
)
