"""PodDisruptionBudgets: how many of their pods may be evicted now. The eviction API spends what is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.cache import controller_of
from sampan.client.client import Client
from sampan.client.discovery import Discovery, UnknownKind
from sampan.client.effects import Effect, Emit, Plan, UpdateStatus
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import ref_of
from sampan.controllers.deployment.view import scaled
from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Controller, Key, cached, mapped
from sampan.machinery import selectors
from sampan.schema import api

# An evicted pod that is not being deleted after so long counts as healthy again.
DELETION_TIMEOUT: Final = timedelta(minutes=2)
# Nothing tells when a kind of another API comes to be, or can be scaled.
RETRY_S: Final = 60.0
ALLOWED: Final = "DisruptionAllowed"
_UNMANAGED: Final = (
    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. "
    "As a result, the status of the PDB cannot be calculated correctly, "
    "which may result in undefined behavior. "
    'To account for these pods please set ".spec.minAvailable" field to an integer value.'
)


class View(msgspec.Struct, frozen=True):
    """A budget and its pods; where it is about shares, also how many pods their controllers want.

    `scales` holds the wanted replicas by the controller's uid. Controllers of other kinds are in `foreign`
    until their scale has been asked for; `error` says why one could not be found out.
    """

    budget: api.PodDisruptionBudget
    pods: tuple[api.Pod, ...]
    scales: Mapping[str, int] = msgspec.field(default_factory=dict)
    foreign: tuple[api.OwnerReference, ...] = ()
    unmanaged: int = 0
    error: str = ""


class Expected(msgspec.Struct, frozen=True):
    """How many pods there should be, and how many of them have to be healthy."""

    pods: int
    healthy: int


def gather(caches: Caches, key: Key) -> View | None:
    """The budget with the pods that it selects; None where it is gone."""
    budget = caches.of(api.PodDisruptionBudget).get(*key)
    if budget is None:
        return None
    selector = selectors.from_label_selector(budget.spec.selector)
    pods = tuple(
        p for p in caches.of(api.Pod).by_namespace(key.namespace) if selector.matches(p.metadata.labels)
    )
    if not _needs_scale(budget):
        return View(budget, pods)
    owners = [controller_of(pod) for pod in pods]
    scales: dict[str, int] = {}
    foreign: dict[str, api.OwnerReference] = {}
    for owner in {one.uid: one for one in owners if one is not None}.values():
        known = _scale_of(caches, key.namespace, owner)
        if known is not None:
            scales[known[0]] = known[1]
        else:
            foreign[owner.uid] = owner
    return View(budget, pods, scales, tuple(foreign.values()), owners.count(None))


def _needs_scale(budget: api.PodDisruptionBudget) -> bool:
    return budget.spec.maxUnavailable is not None or isinstance(budget.spec.minAvailable, str)


def _scale_of(caches: Caches, namespace: str, owner: Any) -> tuple[str, int] | None:
    """`(uid, replicas)` of what scales the pods in the end; None where no cache knows."""
    found: Any = None
    if owner.kind == "ReplicaSet" and owner.apiVersion.startswith("apps/"):
        found = caches.of(api.ReplicaSet).get(namespace, owner.name)
        above = controller_of(found) if found is not None else None
        if above is not None and above.kind == "Deployment":
            deployment = caches.of(api.Deployment).get(namespace, above.name)
            if deployment is not None and deployment.metadata.uid == above.uid:
                return above.uid, _replicas(deployment)
    elif owner.kind == "StatefulSet" and owner.apiVersion.startswith("apps/"):
        found = caches.of(api.StatefulSet).get(namespace, owner.name)
    elif owner.kind == "ReplicationController" and owner.apiVersion == "v1":
        found = caches.of(api.ReplicationController).get(namespace, owner.name)
    if found is None or found.metadata.uid != owner.uid:
        return None
    return owner.uid, _replicas(found)


def _replicas(obj: Any) -> int:
    return 1 if obj.spec.replicas is None else int(obj.spec.replicas)


async def survey(client: Client, view: View) -> View:
    """Ask the scale subresource of controllers of other kinds."""
    scales = dict(view.scales)
    namespace = view.budget.metadata.namespace or ""
    discovery = Discovery(client)
    for owner in view.foreign:
        try:
            resource = await discovery.resource(owner.apiVersion, owner.kind)
            scale = await client.read(resource.path(namespace, owner.name, "scale"), api.Scale)
        except UnknownKind as error:
            return msgspec.structs.replace(view, error=str(error))
        except ApiError as error:
            if not is_not_found(error):
                raise
            what = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            why = f"{what} does not implement the scale subresource, or {owner.name} is gone"
            return msgspec.structs.replace(view, error=why)
        scales[owner.uid] = scale.spec.replicas or 0
    return msgspec.structs.replace(view, scales=scales, foreign=())


def plan(view: View, now: datetime) -> Plan:
    """Write the status, where it has changed."""
    budget = view.budget
    if budget.metadata.deletionTimestamp is not None:
        return Plan()
    if view.error:
        message = f"Failed to calculate the number of expected pods: {view.error}"
        emit = Emit(ref_of(budget), "Warning", "CalculateExpectedPodCountFailed", message)
        status = _with_condition(
            msgspec.structs.replace(budget.status, disruptionsAllowed=0), "SyncFailed", view.error, now
        )
        written = _write(budget, status)
        return Plan((*written, emit) if written else (), "controllers that can be scaled", RETRY_S)
    expected = expect(view)
    disrupted = _disrupted(view, now)
    healthy = sum(
        podutil.is_ready(pod)
        for pod in view.pods
        if pod.metadata.deletionTimestamp is None and pod.metadata.name not in disrupted
    )
    allowed = max(healthy - expected.healthy, 0) if expected.pods > 0 else 0
    status = msgspec.structs.replace(
        budget.status,
        currentHealthy=healthy,
        desiredHealthy=expected.healthy,
        expectedPods=expected.pods,
        disruptionsAllowed=allowed,
        disruptedPods=disrupted,
        observedGeneration=budget.metadata.generation,
    )
    reason = "SufficientPods" if allowed > 0 else "InsufficientPods"
    effects = _write(budget, _with_condition(status, reason, "", now))
    if effects:
        effects += _events(view, disrupted)
    until = [at + DELETION_TIMEOUT for at in disrupted.values() if at is not None]
    again_s = max((min(until) - now).total_seconds(), 0.0) + 0.001 if until else None
    waiting = f"healthy pods: {healthy} of at least {expected.healthy}" if healthy < expected.healthy else ""
    return Plan(tuple(effects), waiting, again_s)


def expect(view: View) -> Expected:
    """What the budget asks for, in pods; percentages are of what controllers want, rounded up."""
    spec, wanted = view.budget.spec, sum(view.scales.values())
    if spec.maxUnavailable is not None:
        return Expected(wanted, max(wanted - scaled(spec.maxUnavailable, wanted, round_up=True), 0))
    if isinstance(spec.minAvailable, str):
        return Expected(wanted, scaled(spec.minAvailable, wanted, round_up=True))
    return Expected(len(view.pods), spec.minAvailable or 0)


def _disrupted(view: View, now: datetime) -> dict[str, datetime | None]:
    """Evictions that were granted and whose pods are still to be deleted; those that never were time out."""
    pods = {pod.metadata.name: pod for pod in view.pods}
    return {
        name: at
        for name, at in view.budget.status.disruptedPods.items()
        if name in pods
        and pods[name].metadata.deletionTimestamp is None
        and at is not None
        and at + DELETION_TIMEOUT > now
    }


def _events(view: View, disrupted: Mapping[str, datetime | None]) -> list[Effect]:
    budget = view.budget
    events: list[Effect] = []
    about = ref_of(budget)
    if not view.pods:
        events.append(Emit(about, "Normal", "NoPods", "No matching pods found"))
    if view.unmanaged:
        selector = str(selectors.from_label_selector(budget.spec.selector))
        message = _UNMANAGED.replace("{selector}", selector)
        events.append(Emit(about, "Warning", "UnmanagedPods", message))
    where = f"{budget.metadata.namespace}/{budget.metadata.name}"
    for pod in view.pods:
        name, leaving = pod.metadata.name or "", pod.metadata.deletionTimestamp is not None
        if name in budget.status.disruptedPods and name not in disrupted and not leaving:
            message = f"Pod was expected by PDB {where} to be deleted but it wasn't"
            events.append(Emit(ref_of(pod), "Warning", "NotDeleted", message))
    return events


def _write(budget: api.PodDisruptionBudget, status: api.PodDisruptionBudgetStatus) -> list[Effect]:
    if status == budget.status:
        return []
    return [UpdateStatus(msgspec.structs.replace(budget, status=status))]


def _with_condition(
    status: api.PodDisruptionBudgetStatus, reason: str, message: str, now: datetime
) -> api.PodDisruptionBudgetStatus:
    wanted = "True" if reason == "SufficientPods" else "False"
    known = next((c for c in status.conditions if c.type == ALLOWED), None)
    since = known.lastTransitionTime if known is not None and known.status == wanted else kube_time(now)
    condition = api.Condition(
        type=ALLOWED,
        status=wanted,
        reason=reason,
        message=message,
        lastTransitionTime=since,
        observedGeneration=status.observedGeneration,
    )
    others = [c for c in status.conditions if c.type != ALLOWED]
    return msgspec.structs.replace(status, conditions=[*others, condition])


def _budgets_of(caches: Caches, pod: api.Pod) -> Iterable[Key]:
    namespace = pod.metadata.namespace or ""
    for budget in caches.of(api.PodDisruptionBudget).by_namespace(namespace):
        if selectors.from_label_selector(budget.spec.selector).matches(pod.metadata.labels):
            yield Key(namespace, budget.metadata.name or "")


def _pod_matters(old: api.Pod, new: api.Pod) -> bool:
    return _state(old) != _state(new)


def _state(pod: api.Pod) -> tuple[Any, ...]:
    meta = pod.metadata
    return podutil.is_ready(pod), meta.labels, meta.deletionTimestamp, meta.ownerReferences


CONTROLLER: Final = Controller(
    name="disruption",
    reporter="controllermanager",
    kind=api.PodDisruptionBudget,
    watches=(
        mapped(api.Pod, _budgets_of, _pod_matters),
        cached(api.Deployment),
        cached(api.ReplicaSet),
        cached(api.ReplicationController),
        cached(api.StatefulSet),
    ),
    gather=gather,
    survey=survey,
    plan=plan,
)
