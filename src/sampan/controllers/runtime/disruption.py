"""Marking pods that are removed through no fault of their own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sampan.base.clock import kube_time
from sampan.client.effects import Patch
from sampan.client.resources import ref_of
from sampan.schema import api, codec


def disrupt(pod: api.Pod, reason: str, message: str, now: datetime, *, phase: str = "") -> Patch:
    """A patch of the status that sets the condition DisruptionTarget, and the phase where one is given."""
    condition = api.PodCondition(
        type="DisruptionTarget",
        status="True",
        reason=reason,
        message=message,
        lastTransitionTime=kube_time(now),
    )
    status: dict[str, Any] = {"conditions": conditions_with(pod, condition)}
    if phase:
        status["phase"] = phase
    return patch_status(pod, status)


def patch_status(pod: api.Pod, status: dict[str, Any]) -> Patch:
    """A patch of these fields of the status, for exactly the version that was planned with."""
    meta = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resourceVersion}
    return Patch(ref_of(pod), {"metadata": meta, "status": status}, subresource="status")


def conditions_with(pod: api.Pod, new: api.PodCondition) -> Any:
    """The pod's conditions with `new` in place of the one of its type."""
    others = [c for c in pod.status.conditions if c.type != new.type]
    return codec.to_builtins([*others, new])
