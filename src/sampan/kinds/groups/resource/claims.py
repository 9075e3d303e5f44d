"""ResourceClaim and ResourceClaimTemplate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_AGE, column
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.groups.resource.selectors import (
    expressions_errors,
    selectors_errors,
    tolerations_errors,
)
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_API_VERSION: Final = "resource.k8s.io/v1"
_REQUESTS_MAX: Final = 32
_FIRST_AVAILABLE_MAX: Final = 8
_CONSTRAINTS_MAX: Final = 32
_CONFIGS_MAX: Final = 32
_RESERVED_FOR_MAX: Final = 256
_MODES: Final = ("All", "ExactCount")

# What a template may not say of the claims that will be made of it.
_NOT_OF_TEMPLATES: Final = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def claim_names(pod: api.Pod) -> Sequence[str]:
    """The names of the claims that the pod uses, that for its extended resources among them."""
    if not pod.spec.resourceClaims and pod.status.extendedResourceClaimStatus is None:
        return ()  # as nearly every pod
    made = {status.name: status.resourceClaimName for status in pod.status.resourceClaimStatuses}
    names = [claim.resourceClaimName or made.get(claim.name) for claim in pod.spec.resourceClaims]
    if pod.status.extendedResourceClaimStatus is not None:
        names.append(pod.status.extendedResourceClaimStatus.resourceClaimName)
    return [name for name in names if name]


def results_of(claim: api.ResourceClaim) -> Sequence[api.DeviceRequestAllocationResult]:
    """The devices that a claim has."""
    allocation = claim.status.allocation
    return allocation.devices.results if allocation is not None and allocation.devices is not None else ()


def default_claim(obj: Any) -> None:
    """A request is for one device where nothing is said."""
    _default_spec(obj.spec)


def default_template(obj: Any) -> None:
    """The defaults of the claims that will be made."""
    _default_spec(obj.spec.spec)


def _default_spec(spec: Any) -> None:
    spec.devices = spec.devices or api.DeviceClaim()
    for request in spec.devices.requests:
        if request.exactly is not None:
            _default_request(request.exactly)
        for alternative in request.firstAvailable:
            _default_request(alternative)


def _default_request(request: Any) -> None:
    if request.derivedAttributes:
        request.derivedAttributes = []  # alpha, and off
    request.allocationMode = request.allocationMode or "ExactCount"
    if request.allocationMode == "ExactCount" and not request.count:
        request.count = 1
    for toleration in request.tolerations:
        toleration.operator = toleration.operator or "Equal"


def validate_claim(obj: Any) -> list[FieldError]:
    """Every error of a ResourceClaim's spec."""
    return _spec_errors(obj.spec, SPEC)


def validate_template(obj: Any) -> list[FieldError]:
    """Every error of the claims that a template makes."""
    errors: list[FieldError] = []
    if (metadata := obj.spec.metadata) is not None:
        for name in _NOT_OF_TEMPLATES:
            if getattr(metadata, name):
                spelt = "uID" if name == "uid" else name
                errors.append(field.forbidden(SPEC["metadata"][spelt], "cannot be set"))
    return errors + _spec_errors(obj.spec.spec, SPEC["spec"])


def _spec_errors(spec: Any, path: Path) -> list[FieldError]:
    devices, path = spec.devices or api.DeviceClaim(), path["devices"]
    errors: list[FieldError] = []
    requests = devices.requests
    if len(requests) > _REQUESTS_MAX:
        errors.append(field.too_many(path["requests"], len(requests), _REQUESTS_MAX))
    seen: set[str] = set()
    for position, request in enumerate(requests):
        at = path["requests"][position]
        errors += checks.required_name(request.name, names.dns1123_label, at["name"])
        if request.name in seen:
            errors.append(field.duplicate(at["name"], request.name))
        seen.add(request.name)
        errors += _request_errors(request, at)
    known = {request.name for request in requests}
    known |= {f"{r.name}/{s.name}" for r in requests for s in r.firstAvailable}
    errors += _constraints_errors(devices.constraints, path["constraints"], known)
    return errors + _configs_errors(devices.config, path["config"], known)


def _request_errors(request: Any, path: Path) -> list[FieldError]:
    count = (request.exactly is not None) + bool(request.firstAvailable)
    if count == 0:
        detail = "exactly one of `exactly` or `firstAvailable` is required"
        return [field.required(path, detail)]
    if count == 2:
        detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [field.invalid(path, None, detail)]
    if request.exactly is not None:
        return _device_errors(request.exactly, path["exactly"])
    alternatives, path = request.firstAvailable, path["firstAvailable"]
    errors: list[FieldError] = []
    if len(alternatives) > _FIRST_AVAILABLE_MAX:
        errors.append(field.too_many(path, len(alternatives), _FIRST_AVAILABLE_MAX))
    seen: set[str] = set()
    for position, alternative in enumerate(alternatives):
        at = path[position]
        errors += checks.required_name(alternative.name, names.dns1123_label, at["name"])
        if alternative.name in seen:
            errors.append(field.duplicate(at["name"], alternative.name))
        seen.add(alternative.name)
        errors += _device_errors(alternative, at)
    return errors


def _device_errors(request: Any, path: Path) -> list[FieldError]:
    errors = checks.required_name(request.deviceClassName, names.dns1123_subdomain, path["deviceClassName"])
    errors += selectors_errors(request.selectors, path["selectors"])
    count = request.count or 0
    if request.allocationMode == "All":
        if count != 0:
            detail = "must not be specified when allocationMode is 'All'"
            errors.append(field.invalid(path["count"], count, detail))
    elif request.allocationMode == "ExactCount":
        if count <= 0:
            errors.append(field.invalid(path["count"], count, "must be greater than zero"))
    else:
        errors.append(field.not_supported(path["allocationMode"], request.allocationMode or "", _MODES))
    return errors + tolerations_errors(request.tolerations, path["tolerations"])


def _named_errors(requests: Sequence[str], known: set[str], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, name in enumerate(requests):
        if name not in known:
            detail = "must be the name of a request in the claim or the name of a request and a subrequest "
            detail += "separated by '/'"
            errors.append(field.invalid(path[position], name, detail))
        if name in requests[:position]:
            errors.append(field.duplicate(path[position], name))
    return errors


def _constraints_errors(constraints: Sequence[Any], path: Path, known: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(constraints) > _CONSTRAINTS_MAX:
        errors.append(field.too_many(path, len(constraints), _CONSTRAINTS_MAX))
    for position, constraint in enumerate(constraints):
        at = path[position]
        errors += _named_errors(constraint.requests, known, at["requests"])
        if constraint.matchAttribute is None and constraint.distinctAttribute is None:
            detail = (
                'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields '
            )
            detail += "are set"  # kube-apiserver's words, though none is
            errors.append(field.required(at, detail))
        elif constraint.matchAttribute is not None and constraint.distinctAttribute is not None:
            detail = "exactly one of matchAttribute or distinctAttribute is required"
            errors.append(field.invalid(at, None, detail))
    return errors


def _configs_errors(configs: Sequence[Any], path: Path, known: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    if len(configs) > _CONFIGS_MAX:
        errors.append(field.too_many(path, len(configs), _CONFIGS_MAX))
    for position, config in enumerate(configs):
        at = path[position]
        errors += _named_errors(config.requests, known, at["requests"])
        if config.opaque is None:
            errors.append(field.required(at["opaque"]))
            continue
        errors += driver_name_errors(config.opaque.driver, at["opaque"]["driver"])
        if config.opaque.parameters is None:
            errors.append(field.required(at["opaque"]["parameters"]))
    return errors


def validate_claim_create(obj: Any) -> list[FieldError]:
    """What is wrong with the expressions of a new ResourceClaim."""
    return _expressions_errors(obj.spec, SPEC)


def validate_template_create(obj: Any) -> list[FieldError]:
    """The same of a new template."""
    return _expressions_errors(obj.spec.spec, SPEC["spec"])


def _expressions_errors(spec: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, request in enumerate(spec.devices.requests if spec.devices is not None else ()):
        at = path["devices"]["requests"][position]
        if request.exactly is not None:
            errors += expressions_errors(request.exactly.selectors, at["exactly"]["selectors"])
        for number, alternative in enumerate(request.firstAvailable):
            errors += expressions_errors(alternative.selectors, at["firstAvailable"][number]["selectors"])
    return errors


def validate_claim_update(new: Any, old: Any) -> list[FieldError]:
    """A claim asks for the same for life."""
    return checks.fixed(new.spec, old.spec, SPEC)


def validate_claim_status(new: Any, old: Any) -> list[FieldError]:
    """What was allocated stays until it is given back, and only what is allocated can be reserved."""
    allocation, users = new.status.allocation, new.status.reservedFor
    path, errors = STATUS["reservedFor"], []
    if len(users) > _RESERVED_FOR_MAX:
        errors.append(field.too_many(path, len(users), _RESERVED_FOR_MAX))
    seen: set[str] = set()
    for position, user in enumerate(users):
        for name in ("resource", "name", "uid"):
            if not getattr(user, name):
                errors.append(field.required(path[position][name]))
        if user.uid in seen:
            errors.append(field.duplicate(path[position]["uid"], user.uid))
        seen.add(user.uid)
    if users and allocation is None:
        detail = "may not be specified when `allocated` is not set"
        errors.append(field.forbidden(path, detail))
    added = [user for user in users if user not in old.status.reservedFor]
    if new.metadata.deletionTimestamp is not None and added:
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(field.forbidden(path, detail))
    if allocation is not None and old.status.allocation is not None:
        errors += checks.immutable(allocation, old.status.allocation, STATUS["allocation"])
    return errors


def _state(obj: Any) -> str:
    deleted = obj.metadata.deletionTimestamp is not None
    states = ["deleted"] if deleted else []
    if obj.status.allocation is not None:
        states.append("allocated")
        states += ["reserved"] if obj.status.reservedFor else []
    elif not deleted:
        states.append("pending")
    return ",".join(states)


CLAIM: Final = Kind(
    api_version=_API_VERSION,
    kind="ResourceClaim",
    plural="resourceclaims",
    told_alone="change",
    status=True,
    status_keeps_metadata=True,
    default=default_claim,
    validate=validate_claim,
    validate_create=validate_claim_create,
    validate_update=validate_claim_update,
    validate_status_update=validate_claim_status,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column(
            "State",
            _state,
            description="A summary of the current state (allocated, pending, reserved, etc.).",
        ),
        AGE,
    ),
)
TEMPLATE: Final = Kind(
    api_version=_API_VERSION,
    kind="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    told_alone="change",
    default=default_template,
    validate=validate_template,
    validate_create=validate_template_create,
    validate_update=validate_claim_update,
    name_errors=names.dns1123_subdomain,
    columns=NAME_AND_AGE,
)
