"""ResourceClaim and ResourceClaimTemplate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds import gonames
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_AGE, column
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.groups.resource.common import (
    duplicates,
    each,
    fully_qualified_name_errors,
    opaque_errors,
)
from sampan.kinds.groups.resource.selectors import (
    expressions_errors,
    selectors_errors,
    tolerations_errors,
)
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_annotations, validate_labels
from sampan.schema import api

_API_VERSION: Final = "resource.k8s.io/v1"
_REQUESTS_MAX: Final = 32
_FIRST_AVAILABLE_MAX: Final = 8
_CONSTRAINTS_MAX: Final = 32
_CONFIGS_MAX: Final = 32
_RESERVED_FOR_MAX: Final = 256
_MODES: Final = ("All", "ExactCount")
_NO_REQUEST: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

# What a template may not say of the claims that will be made of it.
_NOT_OF_TEMPLATES: Final = tuple(name for name in gonames.METADATA if name not in ("labels", "annotations"))


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
        path = SPEC["metadata"]
        errors += validate_annotations(metadata.annotations, path["annotations"])
        errors += validate_labels(metadata.labels, path["labels"])
        for name in _NOT_OF_TEMPLATES:
            if (value := getattr(metadata, name)) or (name == "deletionGracePeriodSeconds" and value == 0):
                spelt = "uID" if name == "uid" else name
                errors.append(field.forbidden(path[spelt], "cannot be set"))
    return errors + _spec_errors(obj.spec.spec, SPEC["spec"])


def _spec_errors(spec: Any, path: Path) -> list[FieldError]:
    """What is wrong in its place, and then what kube-apiserver's generated checks find, which come last."""
    devices, path = spec.devices or api.DeviceClaim(), path["devices"]
    known = {request.name for request in devices.requests}
    known |= {f"{r.name}/{s.name}" for r in devices.requests for s in r.firstAvailable}
    late: list[FieldError] = []
    errors = each(
        devices.requests, _REQUESTS_MAX, lambda one, at: _request_errors(one, at, late), path["requests"]
    )
    if len(devices.requests) <= _REQUESTS_MAX:
        late += duplicates(devices.requests, lambda request: request.name, path["requests"], whole=True)
    errors += each(
        devices.constraints,
        _CONSTRAINTS_MAX,
        lambda one, at: _constraint_errors(one, at, known, late),
        path["constraints"],
    )
    return (
        errors
        + each(
            devices.config, _CONFIGS_MAX, lambda one, at: _config_errors(one, at, known, late), path["config"]
        )
        + late
    )


def _request_errors(request: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    errors = checks.named(request.name, names.dns1123_label(request.name), path["name"])
    count = (request.exactly is not None) + bool(request.firstAvailable)
    if count == 0:
        detail = "exactly one of `exactly` or `firstAvailable` is required"
        return [*errors, field.required(path, detail)]
    if count == 2:
        detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [*errors, field.invalid(path, None, detail)]
    if (exactly := request.exactly) is not None:
        at = path["exactly"]
        errors += checks.required_name(
            exactly.deviceClassName, names.dns1123_subdomain, at["deviceClassName"]
        )
        return errors + _device_errors(exactly, at, late)
    alternatives, path = request.firstAvailable, path["firstAvailable"]
    if len(alternatives) <= _FIRST_AVAILABLE_MAX:
        late += duplicates(alternatives, lambda alternative: alternative.name, path, whole=True)
    return errors + each(
        alternatives, _FIRST_AVAILABLE_MAX, lambda one, at: _alternative_errors(one, at, late), path
    )


def _alternative_errors(request: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    errors = checks.named(request.name, names.dns1123_label(request.name), path["name"])
    late += checks.required_name(request.deviceClassName, names.dns1123_subdomain, path["deviceClassName"])
    return errors + _device_errors(request, path, late)


def _device_errors(request: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    errors = selectors_errors(request.selectors, path["selectors"])
    count = request.count or 0
    if request.allocationMode == "All":
        if count != 0:
            detail = "must not be specified when allocationMode is 'All'"
            errors.append(field.invalid(path["count"], count, detail))
    elif request.allocationMode == "ExactCount":
        if count <= 0:
            errors.append(field.invalid(path["count"], count, "must be greater than zero"))
    else:
        late.append(field.not_supported(path["allocationMode"], request.allocationMode or "", _MODES))
    return errors + tolerations_errors(request.tolerations, path["tolerations"], late)


def _references_errors(
    requests: Sequence[str], known: set[str], path: Path, late: list[FieldError]
) -> list[FieldError]:
    """Names of requests, or of one and one of its alternatives."""
    if len(requests) <= _REQUESTS_MAX:
        late += duplicates(requests, lambda name: name, path)
    return each(requests, _REQUESTS_MAX, lambda name, at: _reference_errors(name, known, at), path)


def _reference_errors(name: str, known: set[str], path: Path) -> list[FieldError]:
    segments = name.split("/")
    errors: list[FieldError] = []
    if len(segments) <= 2:
        errors = [error for one in segments for error in checks.named(one, names.dns1123_label(one), path)]
    return errors if name in known else [*errors, field.invalid(path, name, _NO_REQUEST)]


def _constraint_errors(
    constraint: Any, path: Path, known: set[str], late: list[FieldError]
) -> list[FieldError]:
    errors = _references_errors(constraint.requests, known, path["requests"], late)
    for name in ("matchAttribute", "distinctAttribute"):
        if (attribute := getattr(constraint, name)) is not None:
            late += fully_qualified_name_errors(attribute, path[name])
    if constraint.matchAttribute is None and constraint.distinctAttribute is None:
        # kube-apiserver's words, though none is set; and where both are, it does not mind.
        detail = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields '
        errors.append(field.required(path, detail + "are set"))
    return errors


def _config_errors(config: Any, path: Path, known: set[str], late: list[FieldError]) -> list[FieldError]:
    errors = _references_errors(config.requests, known, path["requests"], late)
    found, found_late = opaque_errors(config.opaque, path["opaque"])
    late += found_late
    return errors + found


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


def validate_template_update(new: Any, old: Any) -> list[FieldError]:
    """What claims are made of stays as it is."""
    return checks.immutable_printed(new.spec, old.spec, SPEC)


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
    default=default_template,
    validate=validate_template,
    validate_create=validate_template_create,
    validate_update=validate_template_update,
    name_errors=names.dns1123_subdomain,
    columns=NAME_AND_AGE,
)
