"""Pods whose Job is gone: nobody will count them any more, so the finalizer must not hold them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.cache import controller_of
from sampan.client.client import Client
from sampan.client.effects import Plan
from sampan.client.errors import ApiError, is_not_found
from sampan.controllers.job.facts import is_tracked
from sampan.controllers.job.tracking import let_go
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.machinery import selectors
from sampan.schema import api


class View(msgspec.Struct, frozen=True):
    """A pod with the finalizer for which no Job is known."""

    pod: api.Pod


def gather(caches: Caches, key: Key) -> View | None:
    pod = caches.of(api.Pod).get(*key)
    return View(pod) if pod is not None and _is_orphan(caches, pod) else None


async def survey(client: Client, view: View) -> View | None:
    """Ask the server itself: a pod may be younger than what we know of Jobs."""
    owner = controller_of(view.pod)
    if owner is None or owner.kind != "Job":
        return view
    try:
        job = await client.get(api.Job, owner.name, view.pod.metadata.namespace or "")
    except ApiError as error:
        if is_not_found(error):
            return view
        raise
    return None if job.metadata.uid == owner.uid else view


def plan(view: View, now: datetime) -> Plan:
    return Plan((let_go(view.pod),))


def _is_orphan(caches: Caches, pod: api.Pod) -> bool:
    if not is_tracked(pod):
        return False
    owner = controller_of(pod)
    if owner is None:
        return not any(
            _adopts(job, pod) for job in caches.of(api.Job).by_namespace(pod.metadata.namespace or "")
        )
    return owner.kind != "Job" or caches.of(api.Job).by_uid(owner.uid) is None


def _adopts(job: api.Job, pod: api.Pod) -> bool:
    """Whether the Job is about to take the pod, which then has to keep its finalizer."""
    if job.metadata.deletionTimestamp is not None or pod.metadata.deletionTimestamp is not None:
        return False
    return selectors.from_label_selector(job.spec.selector).matches(pod.metadata.labels)


def _itself(caches: Caches, pod: api.Pod) -> Iterable[Key]:
    if _is_orphan(caches, pod):
        yield Key(pod.metadata.namespace or "", pod.metadata.name or "")


def _pods_of(caches: Caches, job: api.Job) -> Iterable[Key]:
    if caches.of(api.Job).by_uid(job.metadata.uid or "") is None:
        for pod in caches.of(api.Pod).controlled_by(job.metadata.uid or ""):
            yield from _itself(caches, pod)


def _never(_old: Any, _new: Any) -> bool:
    return False


CONTROLLER: Final = Controller(
    name="job-orphans",
    watches=(mapped(api.Pod, _itself), mapped(api.Job, _pods_of, _never)),
    gather=gather,
    survey=survey,
    plan=plan,
    workers=1,
)
