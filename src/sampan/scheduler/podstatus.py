"""Writes what the scheduler has to say into a pod's status: conditions, and the node that it was promised."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from sampan.client.client import STRATEGIC, Client
from sampan.schema import api, codec


async def write_status(
    client: Client, pod: api.Pod, conditions: Sequence[api.PodCondition], nominated: str | None = None
) -> None:
    """Set these conditions of the pod, and the nominated node ("" takes it back, None leaves it).

    Refused with 409 where the name belongs to another pod by now. Raises ApiError.
    """
    metadata = pod.metadata
    uid, name, namespace = metadata.uid or "", metadata.name or "", metadata.namespace or ""
    make = partial(with_words, uid, conditions, nominated)
    if await client.change(api.Pod, name, namespace, make, subresource="status"):
        return
    status: dict[str, Any] = {}
    if conditions:
        status["conditions"] = [codec.to_builtins(condition) for condition in conditions]
    if nominated is not None:
        status["nominatedNodeName"] = nominated or None
    patch = {"metadata": {"uid": uid}, "status": status}
    await client.patch(api.Pod, name, namespace, patch, patch_type=STRATEGIC, subresource="status")


def with_words(
    uid: str, conditions: Sequence[api.PodCondition], nominated: str | None, pod: api.Pod
) -> api.Pod:
    """The pod with these conditions, each in the place of the one of its type, and what it was promised.

    What the patch would make of it. The uid makes the server refuse where the pod is another one.
    """
    replace = msgspec.structs.replace
    ours = {condition.type: condition for condition in conditions}
    known = [ours.pop(condition.type, condition) for condition in pod.status.conditions]
    status = replace(pod.status, conditions=[*known, *ours.values()])
    if nominated is not None:
        status.nominatedNodeName = nominated or None
    return replace(pod, metadata=replace(pod.metadata, uid=uid), status=status)
