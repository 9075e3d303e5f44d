"""How many pods each ReplicaSet of a Deployment may have next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sampan.controllers.deployment.draft import Draft
from sampan.controllers.deployment.view import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    active,
    created,
    fenceposts,
    is_rolling,
    max_replicas,
    number,
    size,
    total,
    wanted,
)
from sampan.schema import api


def new_size(deployment: api.Deployment, everything: Iterable[api.ReplicaSet], new: api.ReplicaSet) -> int:
    """The size to which the new ReplicaSet may grow now, within maxSurge."""
    if not is_rolling(deployment):
        return wanted(deployment)
    room = max_replicas(deployment) - total(everything)
    if room <= 0:
        return size(new)
    return size(new) + min(room, wanted(deployment) - size(new))


def available(replicasets: Iterable[api.ReplicaSet]) -> int:
    return sum(one.status.availableReplicas or 0 for one in replicasets)


def is_scaling(deployment: api.Deployment, replicasets: Iterable[api.ReplicaSet]) -> bool:
    """Whether the Deployment was scaled since its ReplicaSets were sized last."""
    marks = (number(one, DESIRED_REPLICAS) for one in active(replicasets))
    return any(mark is not None and mark != wanted(deployment) for mark in marks)


def scale(draft: Draft) -> None:
    """Size all ReplicaSets for a Deployment that was scaled (or is paused), in proportion while it rolls."""
    deployment, new = draft.deployment, draft.new
    only = _active_or_latest(draft)
    if only is not None:
        if size(only) != wanted(deployment) or number(only, DESIRED_REPLICAS) != wanted(deployment):
            draft.scale(only, wanted(deployment))
        return
    if new is not None and _is_saturated(deployment, new):
        for one in active(draft.old):
            draft.scale(one, 0)
        return
    if is_rolling(deployment):
        _scale_in_proportion(draft)


def roll(draft: Draft) -> bool:
    """One step of a rolling update: the new ReplicaSet first, then the old ones; whether there was any."""
    return _roll_new(draft) or _roll_old(draft)


def recreate_old(draft: Draft) -> bool:
    """Scale every old ReplicaSet to nothing; whether there was any."""
    changed = [draft.scale(one, 0) for one in active(draft.old)]
    return any(changed)


def _active_or_latest(draft: Draft) -> api.ReplicaSet | None:
    """The one ReplicaSet that has replicas; where none has, the new or newest; None where several have."""
    busy = active(draft.all)
    if len(busy) > 1:
        return None
    if busy:
        return busy[0]
    return draft.new or (draft.old[-1] if draft.old else None)


def _is_saturated(deployment: api.Deployment, new: api.ReplicaSet) -> bool:
    full = wanted(deployment)
    return number(new, DESIRED_REPLICAS) == size(new) == (new.status.availableReplicas or 0) == full


def _scale_in_proportion(draft: Draft) -> None:
    deployment = draft.deployment
    busy = active(draft.all)
    allowed = max_replicas(deployment) if wanted(deployment) > 0 else 0
    to_add = allowed - total(busy)
    busy.sort(key=created, reverse=to_add > 0)
    busy.sort(key=size, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for one in busy:
        part = _proportion(deployment, one, to_add, added)
        sizes[one.metadata.name or ""] = size(one) + part
        added += part
    for position, one in enumerate(busy):
        # What rounding left over goes to the largest.
        leftover = to_add - added if position == 0 else 0
        draft.scale(one, max(sizes[one.metadata.name or ""] + leftover, 0))


def _proportion(deployment: api.Deployment, one: api.ReplicaSet, to_add: int, added: int) -> int:
    if to_add in (0, added):
        return 0
    part, left = _fraction(deployment, one), to_add - added
    return min(part, left) if to_add > 0 else max(part, left)


def _fraction(deployment: api.Deployment, one: api.ReplicaSet) -> int:
    if wanted(deployment) == 0:
        return -size(one)
    before = number(one, MAX_REPLICAS) or deployment.status.replicas or 0
    if before == 0:
        return 0
    # Go's math.Round: halves away from zero; sizes are never negative.
    return (size(one) * max_replicas(deployment) * 2 + before) // (2 * before) - size(one)


def _roll_new(draft: Draft) -> bool:
    deployment, new = draft.deployment, draft.new
    assert new is not None
    if size(new) == wanted(deployment):
        return False
    if size(new) > wanted(deployment):
        return draft.scale(new, wanted(deployment))
    grown = new_size(deployment, draft.all, new)
    return grown != size(new) and draft.scale(new, grown)


def _roll_old(draft: Draft) -> bool:
    deployment, new = draft.deployment, draft.new
    assert new is not None
    if not total(draft.old):
        return False
    least = wanted(deployment) - fenceposts(deployment)[1]
    new_unavailable = size(new) - (new.status.availableReplicas or 0)
    most = total(draft.all) - least - new_unavailable
    if most <= 0:
        return False
    unhealthy = _remove_unhealthy(draft, most)
    return _remove_available(draft, least) or unhealthy


def _remove_unhealthy(draft: Draft, most: int) -> bool:
    """Pods that were never available can go first, at no cost."""
    removed = 0
    for one in active(draft.old):
        if removed >= most:
            break
        count = min(most - removed, size(one) - (one.status.availableReplicas or 0))
        if count > 0:
            draft.scale(one, size(one) - count)
            removed += count
    return removed > 0


def _remove_available(draft: Draft, least: int) -> bool:
    old: Sequence[api.ReplicaSet] = active(draft.old)
    spare = available(draft.all) - least
    removed = 0
    for one in old:
        if removed >= spare:
            break
        count = min(size(one), spare - removed)
        draft.scale(one, size(one) - count)
        removed += count
    return removed > 0
