"""The kinds of apiregistration.k8s.io/v1: APIService."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column, condition
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError

_PORT_DEFAULT: Final = 443
_GROUP_PRIORITY_MAX: Final = 20_000
_VERSION_PRIORITY_MAX: Final = 1_000


def default(obj: Any) -> None:
    """A Service answers on the port of HTTPS where nothing is said."""
    if obj.spec.service is not None and obj.spec.service.port is None:
        obj.spec.service.port = _PORT_DEFAULT


def validate(obj: Any) -> list[FieldError]:
    """Every error of an APIService: ValidateAPIService."""
    spec, name = obj.spec, obj.metadata.name or ""
    group, version = spec.group or "", spec.version or ""
    errors: list[FieldError] = []
    required_name = f"{version}.{group}"
    if name != required_name:
        detail = f'must be `spec.version+"."+spec.group`: "{required_name}"'
        errors.append(field.invalid(METADATA["name"], name, detail))
    if (base := obj.metadata.generateName) and base != required_name:
        detail = f'must be `spec.version+"."+spec.group`: "{required_name}"'
        errors.append(field.invalid(METADATA["generateName"], base, detail))
    # The legacy group has no name of its own and is this server's for good.
    if group:
        errors += checks.named(group, names.dns1123_subdomain(group), SPEC["group"])
    elif version != "v1":
        detail = "only v1 may have an empty group and it better be legacy kube"
        errors.append(field.required(SPEC["group"], detail))
    errors += checks.named(version, names.dns1035_label(version), SPEC["version"])
    for field_name, highest in (
        ("groupPriorityMinimum", _GROUP_PRIORITY_MAX),
        ("versionPriority", _VERSION_PRIORITY_MAX),
    ):
        value = getattr(spec, field_name)
        if not 0 < value <= highest:
            detail = f"must be positive and less than {highest}"
            errors.append(field.invalid(SPEC[field_name], value, detail))
    return errors + (_local_errors(spec) if spec.service is None else _service_errors(spec))


def _local_errors(spec: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.caBundle:
        detail = "local APIServices may not have a caBundle"
        errors.append(field.invalid(SPEC["caBundle"], f"{len(spec.caBundle)} bytes", detail))
    if spec.insecureSkipTLSVerify:
        detail = "local APIServices may not have insecureSkipTLSVerify"
        errors.append(field.invalid(SPEC["insecureSkipTLSVerify"], True, detail))
    return errors


def _service_errors(spec: Any) -> list[FieldError]:
    service, path = spec.service, SPEC["service"]
    errors = [field.required(path[name]) for name in ("namespace", "name") if not getattr(service, name)]
    if service.port is not None and names.port_number(service.port):
        detail = "port is not valid: must be between 1 and 65535, inclusive"
        errors.append(field.invalid(path["port"], service.port, detail))
    if spec.insecureSkipTLSVerify and spec.caBundle:
        detail = "may not be true if caBundle is present"
        errors.append(field.invalid(SPEC["insecureSkipTLSVerify"], True, detail))
    return errors


def _service(obj: Any) -> str:
    service = obj.spec.service
    return "Local" if service is None else f"{service.namespace}/{service.name}"


def _available(obj: Any) -> str:
    found = condition(obj.status.conditions, "Available")
    if found is None:
        return "Unknown"
    return "True" if found.status == "True" else f"{found.status} ({found.reason or ''})"


API_SERVICE: Final = Kind(
    api_version="apiregistration.k8s.io/v1",
    kind="APIService",
    plural="apiservices",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    status=True,
    default=default,
    validate=validate,
    prepare_create=checks.clear_status,
    name_errors=names.path_segment_name,
    columns=(
        NAME,
        column("Service", _service, description="The reference to the service that hosts this API endpoint."),
        column("Available", _available, description="Whether this service is available."),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (API_SERVICE,)
