"""Objects as they would be stored: defaults, validation, and what admission adds that scheduling sees. Pure.

Quotas, Pod Security, webhooks and policies are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sampan.apiserver.core.admission import limitranges
from sampan.client.effects import Create
from sampan.controllers.storage import ephemeral
from sampan.kinds import registry
from sampan.kinds.groups.storage.classes import default_class
from sampan.schema import api, codec
from sampan.simulation.workloads import SimulationError

# What of a bad object is told.
_MOST_ERRORS: Final = 3
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
Others = Mapping[type[Any], Sequence[Any]]


def checked(obj: Any) -> Any:
    """The object with its kind's defaults. Raises SimulationError for what the API server would refuse."""
    kind = registry.by_type(type(obj))
    obj = codec.copy(obj)
    kind.default(obj)
    errors = [str(error) for error in (*kind.validate(obj), *kind.validate_create(obj))]
    if errors:
        more = f"; and {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
        raise SimulationError(
            f"the {kind.kind} {obj.metadata.name!r} is not valid: {'; '.join(errors[:_MOST_ERRORS])}{more}"
        )
    return obj


def admit(pod: api.Pod, others: Others, number: int) -> list[Any]:
    """Give the pod, in place, what the API server would; what is made for it beside it comes back.

    Raises SimulationError where it would be refused.
    """
    pod.metadata.uid = f"simulated-{number}"
    kind = registry.by_type(api.Pod)
    kind.default(pod)
    namespace = pod.metadata.namespace or "default"
    known = {each.metadata.name for each in others.get(api.Namespace, ())}
    if known and namespace not in known:
        raise SimulationError(
            f"there is no namespace {namespace!r}, neither in the cluster nor in what is given"
        )
    for limits in _of_namespace(others.get(api.LimitRange, ()), namespace):
        limitranges.give_defaults(pod, limits)
        wrong = next(limitranges.pod_errors(pod, limits), "")
        if wrong:
            raise SimulationError(
                f"the LimitRange {limits.metadata.name} refuses the pod {_name(pod)}: {wrong}"
            )
    kind.default(pod)  # requests that follow from what the limit ranges gave
    _prioritize(pod, others.get(api.PriorityClass, ()))
    _in_runtime_class(pod, others.get(api.RuntimeClass, ()))
    return [*_volume_claims(pod), *_device_claims(pod, others.get(api.ResourceClaimTemplate, ()))]


def with_class(claim: api.PersistentVolumeClaim, classes: Iterable[api.StorageClass]) -> None:
    """Give a claim that names no class the default one, in place."""
    if claim.spec.storageClassName is not None:
        return
    found = default_class(classes)
    if found is not None:
        claim.spec.storageClassName = found.metadata.name


def _prioritize(pod: api.Pod, classes: Iterable[api.PriorityClass]) -> None:
    name = pod.spec.priorityClassName
    if name:
        found = next((c for c in classes if c.metadata.name == name), None)
        if found is None:
            raise SimulationError(f"there is no PriorityClass {name!r}, which the pod {_name(pod)} names")
    else:
        found = min((c for c in classes if c.globalDefault), key=lambda c: c.value or 0, default=None)
    pod.spec.priority = found.value if found is not None else 0
    pod.spec.preemptionPolicy = (
        found.preemptionPolicy if found is not None else None
    ) or "PreemptLowerPriority"


def _in_runtime_class(pod: api.Pod, classes: Iterable[api.RuntimeClass]) -> None:
    name = pod.spec.runtimeClassName
    if not name:
        return
    found = next((c for c in classes if c.metadata.name == name), None)
    if found is None:
        raise SimulationError(f"there is no RuntimeClass {name!r}, which the pod {_name(pod)} names")
    if found.overhead is not None:
        pod.spec.overhead = dict(found.overhead.podFixed)
    if found.scheduling is not None:
        pod.spec.nodeSelector = {**found.scheduling.nodeSelector, **pod.spec.nodeSelector}
        pod.spec.tolerations = [*pod.spec.tolerations, *found.scheduling.tolerations]


def _volume_claims(pod: api.Pod) -> list[Any]:
    """Claims of generic ephemeral volumes."""
    effects = ephemeral.plan(ephemeral.View(pod), _NEVER).effects
    return [each.obj for each in effects if isinstance(each, Create)]


def _device_claims(pod: api.Pod, templates: Iterable[api.ResourceClaimTemplate]) -> list[api.ResourceClaim]:
    """Claims from templates, which the pod's status then names."""
    by_name = {t.metadata.name: t for t in _of_namespace(templates, pod.metadata.namespace or "default")}
    made = []
    for wanted in pod.spec.resourceClaims:
        template = by_name.get(wanted.resourceClaimTemplateName)
        if template is None:
            continue
        name = f"{pod.metadata.name}-{wanted.name}"
        owner = api.OwnerReference(
            apiVersion="v1",
            kind="Pod",
            name=pod.metadata.name or "",
            uid=pod.metadata.uid or "",
            controller=True,
        )
        meta = api.ObjectMeta(
            name=name,
            namespace=pod.metadata.namespace,
            uid=f"{pod.metadata.uid}-{wanted.name}",
            ownerReferences=[owner],
        )
        made.append(api.ResourceClaim(metadata=meta, spec=codec.copy(template.spec.spec)))
        named = api.PodResourceClaimStatus(name=wanted.name, resourceClaimName=name)
        pod.status.resourceClaimStatuses = [*pod.status.resourceClaimStatuses, named]
    return made


def _of_namespace(objects: Iterable[Any], namespace: str) -> list[Any]:
    return [each for each in objects if each.metadata.namespace == namespace]


def _name(pod: api.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
