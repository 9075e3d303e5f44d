"""Pods leave nodes whose NoExecute taints they do not tolerate, or no longer tolerate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.client.effects import Emit, Plan, Remove
from sampan.client.resources import ref_of
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.runtime.disruption import disrupt
from sampan.controllers.taints import NO_EXECUTE, tolerated_s
from sampan.schema import api

_MESSAGE: Final = "Taint manager: deleting due to NoExecute taint"


class View(msgspec.Struct, frozen=True):
    """A pod that is bound to a node with NoExecute taints."""

    pod: api.Pod
    taints: tuple[api.Taint, ...]


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    if pod is None or not pod.spec.nodeName or pod.metadata.deletionTimestamp is not None:
        return None
    taints = _taints_on(caches, pod.spec.nodeName)
    return View(pod, taints) if taints else None


def plan(view: View, now: datetime) -> Plan:
    """Delete the pod once one of the taints is not tolerated, or has been for long enough."""
    due = min((end for taint in view.taints if (end := _tolerated_until(view.pod, taint, now))), default=None)
    if due is None:
        return Plan()
    if due > now:
        wait_s = (due - now).total_seconds()
        return Plan(waiting_for=f"its tolerations to run out in {wait_s:.0f} s", requeue_after_s=wait_s)
    pod = view.pod
    about = ref_of(pod)
    message = f"Marking for deletion Pod {about.namespace}/{about.name}"
    return Plan(
        (
            Emit(about, "Normal", "TaintManagerEviction", message),
            disrupt(pod, "DeletionByTaintManager", _MESSAGE, now),
            Remove(msgspec.structs.replace(about, resource_version="")),
        )
    )


def _taints_on(caches: Caches, node_name: str) -> tuple[api.Taint, ...]:
    node = caches.of(api.Node).get("", node_name)
    if node is None or not node.spec.taints:
        return ()
    return tuple(t for t in node.spec.taints if t.effect == NO_EXECUTE)


def _is_on_tainted(caches: Caches, pod: api.Pod) -> bool:
    """Pods on other nodes concern nobody until the node's taints change, which is watched."""
    node = pod.spec.nodeName
    return bool(node and _taints_on(caches, node))


def _tolerated_until(pod: api.Pod, taint: api.Taint, now: datetime) -> datetime | None:
    limit_s = tolerated_s(taint, pod.spec.tolerations)
    if limit_s is None:
        return None
    if limit_s == 0:
        return now
    # Who came after the taint has tolerated it only since then. One without a time is new: it gets one soon.
    since = taint.timeAdded or now
    return max(since, _bound_at(pod) or since) + timedelta(seconds=limit_s)


def _bound_at(pod: api.Pod) -> datetime | None:
    scheduled = podutil.condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "True" and scheduled.lastTransitionTime is not None:
        return scheduled.lastTransitionTime
    return pod.metadata.creationTimestamp


def _pods_of(caches: Caches, node: api.Node) -> Iterable[Key]:
    for pod in caches.of(api.Pod).by_index(podutil.ON_NODE, node.metadata.name or ""):
        yield Key(pod.metadata.namespace or "", pod.metadata.name or "")


def _taints_change(old: Any, new: Any) -> bool:
    return bool(old.spec.taints != new.spec.taints)


def _pod_matters(old: Any, new: Any) -> bool:
    return (old.spec.nodeName, old.spec.tolerations) != (new.spec.nodeName, new.spec.tolerations)


CONTROLLER: Final = Controller(
    name="taint-eviction",
    kind=api.Pod,
    matters=_pod_matters,
    wants=_is_on_tainted,
    watches=(mapped(api.Node, _pods_of, _taints_change),),
    indexes={api.Pod: {podutil.ON_NODE: podutil.on_node}},
    gather=gather,
    plan=plan,
)
