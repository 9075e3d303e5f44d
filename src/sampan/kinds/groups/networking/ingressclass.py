"""IngressClass."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.cells import NONE
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError

_SCOPES: Final = ("Cluster", "Namespace")
_CONTROLLER_MAX_BYTES: Final = 250


def default(obj: Any) -> None:
    """Parameters belong to the cluster where nothing is said."""
    parameters = obj.spec.parameters
    if parameters is not None and parameters.scope is None:
        parameters.scope = "Cluster"


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: validateIngressClassSpec."""
    controller = obj.spec.controller or ""
    errors: list[FieldError] = []
    if len(controller.encode()) > _CONTROLLER_MAX_BYTES:
        errors.append(field.too_long(SPEC["controller"], _CONTROLLER_MAX_BYTES))
    errors += checks.domain_prefixed_path(controller, SPEC["controller"])
    return errors + _parameters_errors(obj.spec.parameters)


def _parameters_errors(parameters: Any) -> list[FieldError]:
    if parameters is None:
        return []
    path, errors = SPEC["parameters"], []
    if parameters.apiGroup is not None:
        rule = names.dns1123_subdomain(parameters.apiGroup)
        errors += checks.named(parameters.apiGroup, rule, path["apiGroup"])
    for name in ("kind", "name"):
        errors += checks.required_name(getattr(parameters, name), names.path_segment_name, path[name])
    if parameters.scope is None:
        return [*errors, field.required(path["scope"])]
    errors += checks.one_of(parameters.scope, _SCOPES, path["scope"])
    if parameters.scope == "Namespace":
        if not parameters.namespace:
            detail = "`parameters.scope` is set to 'Namespace'"
            errors.append(field.required(path["namespace"], detail))
        else:
            errors += checks.named(
                parameters.namespace, names.dns1123_label(parameters.namespace), path["namespace"]
            )
    elif parameters.scope == "Cluster" and parameters.namespace is not None:
        errors.append(field.forbidden(path["namespace"], "`parameters.scope` is set to 'Cluster'"))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Ingresses of a class stay with the controller they were given to."""
    return checks.immutable(new.spec.controller or "", old.spec.controller or "", SPEC["controller"])


def _parameters(obj: Any) -> str:
    parameters = obj.spec.parameters
    if parameters is None:
        return NONE
    group = f".{parameters.apiGroup}" if parameters.apiGroup is not None else ""
    return f"{parameters.kind}{group}/{parameters.name}"


KIND: Final = Kind(
    api_version="networking.k8s.io/v1",
    kind="IngressClass",
    plural="ingressclasses",
    change_first=True,
    namespaced=CLUSTER,
    generation=True,
    default=default,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Controller", lambda c: c.spec.controller or "", description="Who fulfils Ingresses."),
        column("Parameters", _parameters, description="A reference to more configuration."),
        AGE,
    ),
)
