"""A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.base.clock import kube_time
from sampan.controllers.deployment.draft import Draft
from sampan.controllers.deployment.scaling import available
from sampan.controllers.deployment.view import deadline_s, fenceposts, total, wanted
from sampan.schema import api

AVAILABLE: Final = "Available"
PROGRESSING: Final = "Progressing"
REPLICA_FAILURE: Final = "ReplicaFailure"
NEW_AVAILABLE: Final = "NewReplicaSetAvailable"
TIMED_OUT: Final = "ProgressDeadlineExceeded"
PAUSED: Final = "DeploymentPaused"
RESUMED: Final = "DeploymentResumed"

Conditions = list[api.DeploymentCondition]


def find(conditions: Conditions, type: str) -> api.DeploymentCondition | None:
    return next((c for c in conditions if c.type == type), None)


def without(conditions: Conditions, type: str) -> Conditions:
    return [c for c in conditions if c.type != type]


def condition(type: str, status: str, reason: str, message: str, now: datetime) -> api.DeploymentCondition:
    moment = kube_time(now)
    return api.DeploymentCondition(
        type=type,
        status=status,
        reason=reason,
        message=message,
        lastUpdateTime=moment,
        lastTransitionTime=moment,
    )


def with_(conditions: Conditions, new: api.DeploymentCondition) -> Conditions:
    """Set a condition; one of the same status and reason stays as it is, whatever its message."""
    current = find(conditions, new.type or "")
    if current is not None:
        if (current.status, current.reason) == (new.status, new.reason):
            return conditions
        if current.status == new.status:
            new = msgspec.structs.replace(new, lastTransitionTime=current.lastTransitionTime)
    return [*without(conditions, new.type or ""), new]


def paused_conditions(deployment: api.Deployment, conditions: Conditions, now: datetime) -> Conditions:
    """Progressing says when a rollout is paused, so that the pause does not count against the deadline."""
    if deadline_s(deployment) is None:
        return conditions
    current = find(conditions, PROGRESSING)
    if current is not None and current.reason == TIMED_OUT:
        return conditions
    is_noted = current is not None and current.reason == PAUSED
    if deployment.spec.paused and not is_noted:
        return with_(conditions, condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now))
    if not deployment.spec.paused and is_noted:
        return with_(conditions, condition(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now))
    return conditions


def counted(
    draft: Draft, conditions: Conditions, collisions: int | None, now: datetime
) -> api.DeploymentStatus:
    """The status with all counts and with Available; the other conditions as given."""
    deployment, everything = draft.deployment, draft.all
    ready = sum(one.status.readyReplicas or 0 for one in everything)
    usable = available(everything)
    least = wanted(deployment) - fenceposts(deployment)[1]
    if usable >= least:
        message = "Deployment has minimum availability."
        new = condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    else:
        message = "Deployment does not have minimum availability."
        new = condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    updated = draft.new.status.replicas if draft.new is not None else 0
    return api.DeploymentStatus(
        observedGeneration=deployment.metadata.generation,
        replicas=sum(one.status.replicas for one in everything) or None,
        updatedReplicas=updated or None,
        readyReplicas=ready or None,
        availableReplicas=usable or None,
        unavailableReplicas=max(total(everything) - usable, 0) or None,
        terminatingReplicas=sum(one.status.terminatingReplicas or 0 for one in everything),
        collisionCount=collisions,
        conditions=with_(conditions, new),
    )


def is_complete(deployment: api.Deployment, status: api.DeploymentStatus) -> bool:
    """Every replica is new and available, and there are no others."""
    counts = (status.updatedReplicas or 0, status.replicas or 0, status.availableReplicas or 0)
    seen = (status.observedGeneration or 0) >= (deployment.metadata.generation or 0)
    return seen and set(counts) == {wanted(deployment)}


def rolled(draft: Draft, status: api.DeploymentStatus, now: datetime) -> api.DeploymentStatus:
    """`status` with Progressing and ReplicaFailure as they are after a step of the rollout."""
    deployment = draft.deployment
    conditions = _progressing(draft, status, now)
    failure = _failure([draft.new] if draft.new is not None else []) or _failure(draft.all)
    conditions = with_(conditions, failure) if failure is not None else without(conditions, REPLICA_FAILURE)
    if deadline_s(deployment) is None:
        conditions = without(conditions, PROGRESSING)
    return msgspec.structs.replace(status, conditions=conditions)


def check_again_s(draft: Draft, status: api.DeploymentStatus, now: datetime) -> float | None:
    """When to look whether the rollout has passed its deadline; None where it cannot."""
    limit_s = deadline_s(draft.deployment)
    current = find(status.conditions, PROGRESSING)
    if limit_s is None or current is None or draft.deployment.spec.paused:
        return None
    if current.reason in (TIMED_OUT, NEW_AVAILABLE) or is_complete(draft.deployment, status):
        return None
    left = (current.lastUpdateTime or now) + timedelta(seconds=limit_s) - now
    return max(left.total_seconds(), 0.0) + 1.0


def _progressing(draft: Draft, status: api.DeploymentStatus, now: datetime) -> Conditions:
    deployment, conditions = draft.deployment, status.conditions
    current = find(conditions, PROGRESSING)
    is_done = current is not None and current.reason == NEW_AVAILABLE
    if deadline_s(deployment) is None or (is_done and status.replicas == status.updatedReplicas):
        return conditions
    subject = f'Deployment "{deployment.metadata.name}"'
    if draft.new is not None:
        subject = f'ReplicaSet "{draft.new.metadata.name}"'
    if is_complete(deployment, status):
        message = f"{subject} has successfully progressed."
        return with_(conditions, condition(PROGRESSING, "True", NEW_AVAILABLE, message, now))
    if _has_progressed(deployment.status, status):
        new = condition(PROGRESSING, "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if current is not None and current.status == "True":
            new = msgspec.structs.replace(new, lastTransitionTime=current.lastTransitionTime)
        # Replaced even where nothing but its time changes: the deadline counts from the last progress.
        return [*without(conditions, PROGRESSING), new]
    if _is_late(deployment, current, now):
        message = f"{subject} has timed out progressing."
        return with_(conditions, condition(PROGRESSING, "False", TIMED_OUT, message, now))
    return conditions


def _has_progressed(old: api.DeploymentStatus, new: api.DeploymentStatus) -> bool:
    old_updated, new_updated = old.updatedReplicas or 0, new.updatedReplicas or 0
    return (
        new_updated > old_updated
        or (new.replicas or 0) - new_updated < (old.replicas or 0) - old_updated
        or (new.readyReplicas or 0) > (old.readyReplicas or 0)
        or (new.availableReplicas or 0) > (old.availableReplicas or 0)
    )


def _is_late(deployment: api.Deployment, current: api.DeploymentCondition | None, now: datetime) -> bool:
    limit_s = deadline_s(deployment)
    if current is None or limit_s is None or current.reason == NEW_AVAILABLE:
        return False
    if current.reason == TIMED_OUT:
        return True
    return (current.lastUpdateTime or now) + timedelta(seconds=limit_s) < now


def _failure(replicasets: Sequence[api.ReplicaSet]) -> api.DeploymentCondition | None:
    for one in replicasets:
        for found in one.status.conditions:
            if found.type == REPLICA_FAILURE:
                return api.DeploymentCondition(
                    type=found.type,
                    status=found.status,
                    reason=found.reason,
                    message=found.message,
                    lastTransitionTime=found.lastTransitionTime,
                    lastUpdateTime=found.lastTransitionTime,
                )
    return None
