"""Carries decisions out: binds pods to their nodes, many at once, and finds out what became of each."""

from __future__ import annotations

import logging

from sampan.base.clock import Clock, kube_time
from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError
from sampan.kinds import registry
from sampan.scheduler.podinfo import PodInfo
from sampan.scheduler.queue import FIRST_BACKOFF_S, MAX_BACKOFF_S, Key
from sampan.schema import api

_log = logging.getLogger(__name__)


async def post_binding(client: Client, key: Key, uid: str, node: str) -> Exception | None:
    """Bind the pod; gives what went wrong, if anything."""
    namespace, name = key
    binding = api.Binding(
        apiVersion="v1",
        kind="Binding",
        metadata=api.ObjectMeta(name=name, namespace=namespace, uid=uid),
        target=api.ObjectReference(kind="Node", name=node),
    )
    path = registry.path(registry.by_type(api.Pod), namespace, name, "binding")
    try:
        await client.post(path, binding, api.Status)
    except Exception as problem:  # whatever it is, the room must not stay taken for good
        return problem
    return None


async def preempt(client: Client, clock: Clock, victim: PodInfo, scheduler: str) -> None:
    """Mark a victim as preempted and delete it. One that is gone already is no error. Raises ApiError."""
    namespace, name = victim.key
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{scheduler}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": kube_time(clock.now()).isoformat().replace("+00:00", "Z"),
    }
    patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
    try:
        await client.patch(api.Pod, name, namespace, patch, patch_type=STRATEGIC, subresource="status")
        await client.delete(api.Pod, name, namespace, uid=victim.uid)
    except ApiError as problem:
        if problem.code not in (404, 409):
            raise


async def is_bound(client: Client, clock: Clock, key: Key, uid: str, node: str, problem: Exception) -> bool:
    """Whether a binding that failed was made all the same, as where its answer was lost.

    The room stays taken until that is certain: a pod that is bound takes it, whoever knows.
    """
    if isinstance(problem, ApiError) and problem.code < 500 and problem.code not in (408, 409):
        return False
    delay_s = FIRST_BACKOFF_S
    while True:
        try:
            pod = await client.get(api.Pod, key[1], key[0])
        except ApiError as unread:
            if unread.code < 500 and unread.code not in (408, 429):
                return False
        except Exception:
            _log.debug("reading %s/%s failed", *key, exc_info=True)
        else:
            return pod.metadata.uid == uid and pod.spec.nodeName == node
        await clock.sleep(delay_s)
        delay_s = min(delay_s * 2, MAX_BACKOFF_S)
