"""What a pod's status may say of the devices of its containers (`allocatedResourcesStatus`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

CLAIM: Final = "claim:"
HEALTHY: Final = "Healthy"
UNHEALTHY: Final = "Unhealthy"
UNKNOWN: Final = "Unknown"
MOST_MESSAGE_BYTES: Final = 1024
_STATES: Final = frozenset({HEALTHY, UNHEALTHY, UNKNOWN})
_NO_CLAIM: Final = (
    "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when "
    "container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"
)
_NO_RESOURCE: Final = "must match one of the container's resource requests"


def validate_allocated_resources(pod: api.Pod, path: Path) -> list[FieldError]:
    """The statuses below `path`: what the container asks for, known states, each device once."""
    status = pod.status
    errors: list[FieldError] = []
    for name, containers in (
        ("containerStatuses", pod.spec.containers),
        ("initContainerStatuses", pod.spec.initContainers),
    ):
        for position, each in enumerate(getattr(status, name)):
            if each.allocatedResourcesStatus:
                spec = next((c for c in containers if c.name == each.name), None)
                here = path[name].index(position)["allocatedResourcesStatus"]
                errors += _validate(each.allocatedResourcesStatus, spec, status, here)
    for position, each in enumerate(status.ephemeralContainerStatuses):
        if each.allocatedResourcesStatus:
            here = path["ephemeralContainerStatuses"].index(position)["allocatedResourcesStatus"]
            errors.append(field.forbidden(here, "must not be specified in container status"))
    return errors


def title(used: api.CoreResourceClaim) -> str:
    """How the status calls the devices of a claim, or of one request of it, that a container uses."""
    return f"{CLAIM}{used.name}/{used.request}" if used.request else f"{CLAIM}{used.name}"


def _validate(
    resources: Sequence[api.ResourceStatus], spec: api.Container | None, status: api.PodStatus, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, resource in enumerate(resources):
        here = path.index(position)
        # A container that is not in the spec is passed over, as Kubernetes does.
        if spec is not None and not _is_asked_for(resource.name, spec, status):
            detail = _NO_CLAIM if resource.name.startswith(CLAIM) else _NO_RESOURCE
            errors.append(field.invalid(here["name"], resource.name, detail))
        errors += _validate_devices(resource.resources, here["resources"])
    return errors


def _is_asked_for(name: str, spec: api.Container, status: api.PodStatus) -> bool:
    resources = spec.resources or api.ResourceRequirements()
    if not name.startswith(CLAIM):
        return name in resources.requests
    if any(name == title(used) for used in resources.claims):
        return True
    extended = status.extendedResourceClaimStatus
    claim, _, request = name.removeprefix(CLAIM).partition("/")
    if extended is None or not request or claim != extended.resourceClaimName:
        return False
    for mapping in extended.requestMappings:
        if (mapping.containerName, mapping.requestName) == (spec.name, request):
            amount = resources.requests.get(mapping.resourceName)
            if amount is not None and amount.milli():
                return True
    return False


def _validate_devices(devices: Sequence[api.ResourceHealth], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, device in enumerate(devices):
        here = path.index(position)
        if device.health not in _STATES:
            errors.append(field.not_supported(here["health"], device.health or "", _STATES))
        if device.message == "":
            errors.append(field.required(here["message"], "must be non-empty if specified"))
        elif device.message is not None and len(device.message.encode()) > MOST_MESSAGE_BYTES:
            errors.append(field.too_long(here["message"], MOST_MESSAGE_BYTES))
        if device.resourceID in seen:
            errors.append(field.duplicate(here["resourceID"], device.resourceID))
        seen.add(device.resourceID)
    return errors
