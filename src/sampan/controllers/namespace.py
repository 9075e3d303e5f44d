"""Namespaces that are being deleted: everything in them goes, pods first, and then they may go themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.cache import NAMESPACE
from sampan.client.client import Client
from sampan.client.effects import Effect, Plan, RemoveAll, Update, UpdateStatus
from sampan.client.executor import Failure
from sampan.client.resources import Partial, Resource, resource_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, everything
from sampan.schema import api

FINALIZER: Final = "kubernetes"
# How soon to look again where nothing tells us: after deleting what is not watched, while discovery fails,
# and to say anew what is left.
UNWATCHED_S: Final = 0.1
DISCOVERY_S: Final = 5.0
REMAINING_S: Final = 5.0
_PODS: Final = ("", "pods")


class Content(msgspec.Struct, frozen=True):
    """Objects of one resource that are left in the namespace."""

    resource: Resource[Any]
    objects: tuple[Partial, ...]


class View(msgspec.Struct, frozen=True):
    """A namespace that is being deleted, and what is left in it: as cached, or else as listed."""

    namespace: api.Namespace
    resources: tuple[Resource[Any], ...] = ()
    failed: tuple[str, ...] = ()
    content: tuple[Content, ...] = ()
    failure: Failure | None = None


def gather(caches: Caches, key: Key) -> View | None:
    """The namespace, where it is being deleted and still has our finalizer."""
    namespace = caches.of(api.Namespace).get("", key.name)
    if namespace is None or namespace.metadata.deletionTimestamp is None:
        return None
    if FINALIZER not in namespace.spec.finalizers:
        return None
    graph = caches.everything
    served = tuple(resource for resource in graph.resources if resource.namespaced)
    content = []
    for resource in served:
        cache = graph.of(resource)
        objects = cache.by_namespace(key.name) if cache is not None else []
        if objects:
            content.append(Content(resource, tuple(objects)))
    return View(namespace, (*served, _events()), graph.failed, tuple(content), caches.failure(key))


async def survey(client: Client, view: View) -> View:
    """List what is left where the caches show nothing: only the server knows for certain."""
    if view.content:
        return view
    name = view.namespace.metadata.name or ""
    listed = await asyncio.gather(*(client.list(_as_partial(r), name) for r in view.resources))
    content = tuple(
        Content(resource, tuple(found.items))
        for resource, found in zip(view.resources, listed, strict=True)
        if found.items
    )
    return msgspec.structs.replace(view, content=content)


def plan(view: View, now: datetime) -> Plan:
    """Delete the pods; when none is left, everything else; when nothing is left, let the namespace go."""
    namespace = view.namespace
    status = msgspec.structs.replace(namespace.status, phase="Terminating", conditions=_conditions(view, now))
    if view.failed or view.content:
        removed = [_remove(one, namespace.metadata.name or "") for one in _next(view.content)]
        statuses: list[Effect] = []
        if status != namespace.status:
            statuses.append(UpdateStatus(msgspec.structs.replace(namespace, status=status)))
        # What failed is said before it is tried, and fails, again.
        effects = [*statuses, *removed] if view.failure is not None else [*removed, *statuses]
        unwatched = any(one.resource.kind == "Event" for one in view.content)
        again_s = UNWATCHED_S if unwatched else DISCOVERY_S if view.failed else REMAINING_S
        return Plan(tuple(effects), _waiting(view), again_s)
    finalizers = [one for one in namespace.spec.finalizers if one != FINALIZER]
    spec = msgspec.structs.replace(namespace.spec, finalizers=finalizers)
    return Plan((Update(msgspec.structs.replace(namespace, spec=spec), subresource="finalize"),))


def _events() -> Resource[Any]:
    return _as_partial(resource_of(api.Event))


def _as_partial(resource: Resource[Any]) -> Resource[Any]:
    return msgspec.structs.replace(resource, type=Partial)


def _next(content: Iterable[Content]) -> list[Content]:
    """What is to be deleted now: pods before anything else."""
    found = list(content)
    pods = [one for one in found if one.resource.id == _PODS]
    return [
        one for one in pods or found if any(obj.metadata.deletionTimestamp is None for obj in one.objects)
    ]


def _remove(content: Content, namespace: str) -> RemoveAll:
    resource = content.resource
    return RemoveAll(resource.api_version, resource.kind, namespace, propagation="Background")


def _waiting(view: View) -> str:
    if view.failed:
        return f"discovery of {', '.join(view.failed)}"
    left = ", ".join(f"{len(c.objects)} {c.resource.plural}" for c in view.content)
    return f"its content to be removed: {left}"


def _conditions(view: View, now: datetime) -> list[api.NamespaceCondition]:
    """The five conditions of a namespace that is going away, as kube-controller-manager words them."""
    failed = ", ".join(view.failed)
    finalizers = Counter(
        finalizer for c in view.content for obj in c.objects for finalizer in obj.metadata.finalizers
    )
    remaining = ", ".join(
        f"{c.resource.plural}.{c.resource.group} has {len(c.objects)} resource instances"
        for c in view.content
    )
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    wanted = (
        (
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", f"Discovery failed for some groups, {len(view.failed)} failing: {failed}"),
            ("ResourcesDiscovered", "All resources successfully discovered"),
            bool(view.failed),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("GroupVersionParsingFailed", ""),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            False,
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeletionFailed", f"Failed to delete all resource types, 1 remaining: {_why(view)}"),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            bool(_why(view)),
        ),
        (
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", f"Some resources are remaining: {remaining}"),
            ("ContentRemoved", "All content successfully removed"),
            bool(view.content),
        ),
        (
            "NamespaceFinalizersRemaining",
            ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {held}"),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            bool(finalizers),
        ),
    )
    before = {c.type: c for c in view.namespace.status.conditions}
    ours = [
        _condition(before.pop(type, None), type, bad if is_bad else good, is_bad, now)
        for type, bad, good, is_bad in wanted
    ]
    return [*before.values(), *ours]


def _why(view: View) -> str:
    failure = view.failure
    return str(failure.error) if failure is not None and isinstance(failure.effect, RemoveAll) else ""


def _condition(
    old: api.NamespaceCondition | None, type: str, words: tuple[str, str], is_bad: bool, now: datetime
) -> api.NamespaceCondition:
    reason, message = words
    status = "True" if is_bad else "False"
    if old is not None and (old.status, old.reason, old.message) == (status, reason, message):
        return old
    same = old is not None and old.status == status
    return api.NamespaceCondition(
        type=type,
        status=status,
        reason=reason,
        message=message,
        lastTransitionTime=old.lastTransitionTime if same and old is not None else kube_time(now),
    )


def _namespace_of(caches: Caches, obj: Any) -> Iterable[Key]:
    """For each object that comes and the last of a kind that goes, not for each that goes."""
    name = obj.metadata.namespace
    if not name:
        return
    namespace = caches.of(api.Namespace).get("", name)
    if namespace is None or namespace.metadata.deletionTimestamp is None:
        return
    graph = caches.everything
    resource = graph.resource(obj.apiVersion or "", obj.kind or "")
    cache = graph.of(resource) if resource is not None else None
    held = cache.get(name, obj.metadata.name or "") if cache is not None else None
    is_new = held is not None and held.metadata.deletionTimestamp is None
    if cache is None or is_new or not cache.count(NAMESPACE, name):
        yield Key("", name)


CONTROLLER: Final = Controller(
    name="namespace",
    kind=api.Namespace,
    watches=(everything(_namespace_of),),
    gather=gather,
    survey=survey,
    plan=plan,
)
