"""Resource names and amounts: which are standard, what a container may ask for, what a pod asks for in all.

Follows k8s.io/kubernetes/pkg/apis/core/helper and k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.quantity import Quantity
from sampan.schema import api

HUGE_PAGES: Final = "hugepages-"
NEGATIVE: Final = "must be greater than or equal to 0"
NOT_INTEGER: Final = "must be an integer"
NOT_POSITIVE: Final = "must be greater than zero"

_CACHE_SIZE: Final = 2048
_HUGE_PAGES: Final = (HUGE_PAGES, f"requests.{HUGE_PAGES}")
_COMPUTE: Final = frozenset({"cpu", "memory"})
_CONTAINER: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTED: Final = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_QUOTA: Final = (
    _CONTAINER
    | _COUNTED
    | {f"{side}.{name}" for side in ("requests", "limits") for name in _CONTAINER}
    | {"requests.storage"}
)
_STANDARD: Final = _QUOTA | {"storage"}

NameCheck = Callable[[str], tuple[str, ...]]


def is_huge_page(name: str) -> bool:
    """Whether the resource is huge pages of some size."""
    return name.startswith(HUGE_PAGES)


def is_native(name: str) -> bool:
    """Whether the resource is Kubernetes' own rather than an extension."""
    return "/" not in name or "kubernetes.io/" in name


def is_overcommit_allowed(name: str) -> bool:
    """Whether requests may be below limits."""
    return is_native(name) and not is_huge_page(name)


def is_pod_level_resource(name: str) -> bool:
    """Whether spec.resources of a pod may name the resource."""
    return name in _COMPUTE or is_huge_page(name)


@lru_cache(maxsize=_CACHE_SIZE)
def is_extended(name: str) -> bool:
    """Whether the resource is an extension such as `example.com/gpu`."""
    return not (is_native(name) or name.startswith("requests.") or names.qualified_name(f"requests.{name}"))


def is_quota_resource(name: str) -> bool:
    """Whether a ResourceQuota knows the resource by this plain name."""
    return name in _QUOTA or name.startswith(_HUGE_PAGES)


@lru_cache(maxsize=_CACHE_SIZE)
def resource_name_errors(name: str) -> tuple[str, ...]:
    """What is wrong with `name` as the name of any resource."""
    messages = names.qualified_name(name)
    if not messages and "/" not in name and not (name in _STANDARD or name.startswith(_HUGE_PAGES)):
        messages.append("must be a standard resource type or fully qualified")
    return tuple(messages)


@lru_cache(maxsize=_CACHE_SIZE)
def container_resource_name_errors(name: str) -> tuple[str, ...]:
    """What is wrong with `name` as a resource that a container asks for."""
    messages = resource_name_errors(name)
    if "/" not in name:
        if name not in _CONTAINER and not is_huge_page(name):
            messages += ("must be a standard resource for containers",)
    elif not is_native(name) and not is_extended(name):
        messages += ("doesn't follow extended resource name standard",)
    return messages


@lru_cache(maxsize=_CACHE_SIZE)
def quota_resource_name_errors(name: str) -> tuple[str, ...]:
    """What is wrong with `name` as a resource that a ResourceQuota limits."""
    messages = resource_name_errors(name)
    if "/" not in name and not is_quota_resource(name):
        messages += ("must be a standard resource for quota",)
    return messages


def validate_amount(name: str, amount: Quantity, path: Path) -> list[FieldError]:
    """An amount is not negative, and whole where the resource is counted in pieces."""
    errors: list[FieldError] = []
    if amount.value < 0:
        errors.append(field.invalid(path, amount.text, NEGATIVE))
    if name not in _CONTAINER and (name in _COUNTED or is_extended(name)) and amount.milli() % 1000:
        errors.append(field.invalid(path, amount.text, NOT_INTEGER))
    return errors


def validate_amounts(amounts: Mapping[str, Quantity], check: NameCheck, path: Path) -> list[FieldError]:
    """The names and amounts of a resource list."""
    errors: list[FieldError] = []
    for name, amount in amounts.items():
        here = path.key(name)
        errors += [field.invalid(here, name, message) for message in check(name)]
        errors += validate_amount(name, amount, here)
    return errors


def validate_container_resources(
    requirements: api.ResourceRequirements, claims: Collection[str], path: Path
) -> list[FieldError]:
    """The requests, limits and claims of a container; `claims` names the pod's resourceClaims."""
    if not (requirements.limits or requirements.requests or requirements.claims):
        return []
    errors = _validate_lists(requirements, container_resource_name_errors, path)
    if requirements.claims:
        errors += _validate_claims(requirements.claims, claims, path["claims"])
    return errors


def validate_pod_resources(spec: api.PodSpec, path: Path) -> list[FieldError]:
    """spec.resources: it covers what the containers ask for."""
    requirements = spec.resources
    if requirements is None:
        return []
    errors: list[FieldError] = []
    if requirements.claims:
        errors.append(field.forbidden(path["claims"], "claims may not be set for Resources at pod-level"))
        named = {claim.name for claim in spec.resourceClaims}
        errors += _validate_claims(requirements.claims, named, path["claims"])
    for side, amounts in (("limits", requirements.limits), ("requests", requirements.requests)):
        for name in amounts:
            if not resource_name_errors(name) and not is_pod_level_resource(name):
                errors.append(field.not_supported(path[side].key(name), name, _COMPUTE))
    errors += _validate_lists(requirements, resource_name_errors, path)
    for name, total in aggregate_container_requests(spec).items():
        mine = requirements.requests.get(name)
        if mine is not None and total.value > mine.value:
            detail = f"must be greater than or equal to aggregate container requests of {total}"
            errors.append(field.invalid(path["requests"].key(name), mine.text, detail))
    return errors + _validate_container_limits(spec, requirements, path)


def _validate_container_limits(
    spec: api.PodSpec, requirements: api.ResourceRequirements, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, container in enumerate(spec.containers):
        for name, limit in container.resources.limits.items():
            mine = requirements.limits.get(name)
            if mine is not None and limit.value > mine.value:
                here = path["containers"].index(position).key(name)["limits"]
                detail = f"must be less than or equal to pod limits of {mine}"
                errors.append(field.invalid(here, limit.text, detail))
    return errors


def _validate_lists(requirements: api.ResourceRequirements, check: NameCheck, path: Path) -> list[FieldError]:
    limits, requests = requirements.limits, requirements.requests
    errors: list[FieldError] = []
    for name, amount in limits.items():
        errors += _validate_entry(name, amount, check, path, "limits")
    for name, amount in requests.items():
        errors += _validate_entry(name, amount, check, path, "requests")
        limit = limits.get(name)
        if limit is None:
            if not is_overcommit_allowed(name):
                detail = "Limit must be set for non overcommitable resources"
                errors.append(field.required(path["limits"], detail))
        elif amount.value != limit.value and not is_overcommit_allowed(name):
            detail = f"must be equal to {name} limit of {limit}"
            errors.append(field.invalid(path["requests"], amount.text, detail))
        elif amount.value > limit.value:
            detail = f"must be less than or equal to {name} limit of {limit}"
            errors.append(field.invalid(path["requests"], amount.text, detail))
    asked = limits.keys() | requests.keys()
    if any(is_huge_page(name) for name in asked) and not asked & _COMPUTE:
        errors.append(field.forbidden(path, "HugePages require cpu or memory"))
    return errors


def _validate_entry(name: str, amount: Quantity, check: NameCheck, path: Path, side: str) -> list[FieldError]:
    messages = check(name)
    if not messages and amount.value >= 0 and name in _CONTAINER:
        return []  # nearly always: the path need not be built
    here = path[side].key(name)
    errors = [field.invalid(here, name, message) for message in messages]
    errors += validate_amount(name, amount, here)
    if is_huge_page(name) and not _is_multiple_of_page(name, amount):
        detail = f"{amount} is not positive integer multiple of {name}"
        errors.append(field.invalid(here, amount.text, detail))
    return errors


def _is_multiple_of_page(name: str, amount: Quantity) -> bool:
    try:
        page = Quantity(name.removeprefix(HUGE_PAGES)).value
    except ValueError:
        return False
    return page > 0 and amount.value % page == 0


def _validate_claims(
    claims: Iterable[api.CoreResourceClaim], known: Collection[str], path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, claim in enumerate(claims):
        here = path.index(position)
        if not claim.name:
            errors.append(field.required(here))
            continue
        key = f"{claim.name}/{claim.request}" if claim.request else claim.name
        if claim.request:
            messages = names.dns1123_label(claim.request)
            errors += [field.invalid(here["request"], claim.request, message) for message in messages]
        # A claim without a request takes in all its requests.
        overlaps = not claim.request and any(s.startswith(f"{claim.name}/") for s in seen)
        if claim.name in seen or overlaps:
            errors.append(field.duplicate(here, claim.name))
        elif key in seen:
            errors.append(field.duplicate(here, key))
        seen.add(key)
        if claim.name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            errors.append(FieldError(field.NOT_FOUND, str(here), claim.name, detail))
    return errors


def aggregate_container_requests(spec: api.PodSpec) -> dict[str, Quantity]:
    """What the containers of a pod request in all; init containers count while they run."""
    return _aggregate(spec, lambda container: container.resources.requests)


def aggregate_container_limits(spec: api.PodSpec) -> dict[str, Quantity]:
    """What the limits of a pod's containers come to."""
    return _aggregate(spec, lambda container: container.resources.limits)


def _aggregate(
    spec: api.PodSpec, amounts: Callable[[api.Container], Mapping[str, Quantity]]
) -> dict[str, Quantity]:
    total: dict[str, Quantity] = {}
    for container in spec.containers:
        _add(total, amounts(container))
    # Restartable init containers run beside everything that starts after them.
    beside: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.initContainers:
        now = dict(beside)
        _add(now, amounts(container))
        if container.restartPolicy == "Always":
            _add(total, amounts(container))
            beside = now
        for name, amount in now.items():
            peak[name] = max(peak.get(name, amount), amount)
    for name, amount in peak.items():
        total[name] = max(total.get(name, amount), amount)
    return total


def _add(total: dict[str, Quantity], amounts: Mapping[str, Quantity]) -> None:
    for name, amount in amounts.items():
        known = total.get(name)
        total[name] = amount if known is None else add(known, amount)


def add(first: Quantity, second: Quantity) -> Quantity:
    """The sum, in the notation of the first that is not zero."""
    if not first.value:
        return second
    whole = first.value + second.value
    if first.text.endswith("i") and whole % 1024 == 0:
        return Quantity(f"{int(whole) // 1024}Ki")
    return Quantity(f"{whole:f}")
