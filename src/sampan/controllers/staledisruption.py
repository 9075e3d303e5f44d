"""Pods that were announced to be disrupted and were not: the condition DisruptionTarget is taken back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Plan
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key
from sampan.controllers.runtime.disruption import conditions_with, patch_status
from sampan.schema import api

STALE_AFTER: Final = timedelta(minutes=2)
TYPE: Final = "DisruptionTarget"
# The node agent announces long before it deletes.
_BY_NODE: Final = "TerminationByKubelet"


class View(msgspec.Struct, frozen=True):
    """A pod that is to be disrupted, and nobody deletes it."""

    pod: api.Pod


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    return View(pod) if pod is not None and _is_announced(pod) else None


def plan(view: View, now: datetime) -> Plan:
    """Take the condition back two minutes after it was set."""
    found = podutil.condition(view.pod, TYPE)
    assert found is not None
    # Of one that does not say since when nobody can tell how long it may last: as in Kubernetes, it is over.
    since = found.lastTransitionTime
    left_s = (since + STALE_AFTER - now).total_seconds() if since is not None else 0.0
    if left_s > 0:
        return Plan(waiting_for="the pod to be deleted", requeue_after_s=left_s)
    new = msgspec.structs.replace(found, status="False", lastTransitionTime=kube_time(now))
    return Plan((patch_status(view.pod, {"conditions": conditions_with(view.pod, new)}),))


def _is_announced(pod: api.Pod) -> bool:
    if pod.metadata.deletionTimestamp is not None or podutil.is_finished(pod):
        return False
    found = podutil.condition(pod, TYPE)
    return found is not None and found.status == "True" and found.reason != _BY_NODE


def _matters(old: Any, new: Any) -> bool:
    return _is_announced(old) != _is_announced(new)


CONTROLLER: Final = Controller(
    name="stale-disruption",
    kind=api.Pod,
    matters=_matters,
    wants=lambda _caches, pod: _is_announced(pod),
    gather=gather,
    plan=plan,
    workers=1,
)
