"""Ingress."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from sampan.kinds.core.cells import NONE
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_IN_PATH: Final = ("//", "/./", "/../", "%2f", "%2F")
_AT_END_OF_PATH: Final = ("/..", "/.")
_SHOWN_MAX: Final = 3


def validate(obj: Any) -> list[FieldError]:
    """Every error of an Ingress: ValidateIngressCreate."""
    spec, errors = obj.spec, []
    if _CLASS_ANNOTATION in obj.metadata.annotations and spec.ingressClassName is not None:
        path = METADATA["annotations"][_CLASS_ANNOTATION]
        value = obj.metadata.annotations[_CLASS_ANNOTATION]
        errors.append(field.invalid(path, value, "can not be set when the class field is also set"))
    if not spec.rules and spec.defaultBackend is None:
        detail = "either `defaultBackend` or `rules` must be specified"
        errors.append(field.invalid(SPEC, spec.rules, detail))
    if spec.defaultBackend is not None:
        errors += _backend_errors(spec.defaultBackend, SPEC["defaultBackend"])
    for position, rule in enumerate(spec.rules):
        errors += _rule_errors(rule, SPEC["rules"][position])
    for position, tls in enumerate(spec.tls):
        errors += _tls_errors(tls, SPEC["tls"][position])
    if spec.ingressClassName is not None:
        rule = names.dns1123_subdomain(spec.ingressClassName)
        errors += checks.named(spec.ingressClassName, rule, SPEC["ingressClassName"])
    return errors


def _tls_errors(tls: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, host in enumerate(tls.hosts):
        errors += _host_errors(host, path["hosts"][position])
    if tls.secretName:
        rule = names.dns1123_subdomain(tls.secretName)
        errors += checks.named(tls.secretName, rule, path["secretName"])
    return errors


def _host_errors(host: str, path: Path) -> list[FieldError]:
    rule = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
    return checks.named(host, rule(host), path)


def _rule_errors(rule: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if rule.host:
        if _is_address(rule.host):
            errors.append(field.invalid(path["host"], rule.host, "must be a DNS name, not an IP address"))
        errors += _host_errors(rule.host, path["host"])
    if rule.http is None:
        return errors
    paths, path = rule.http.paths, path["http"]["paths"]
    if not paths:
        errors.append(field.required(path))
    for position, entry in enumerate(paths):
        errors += _path_errors(entry, path[position])
        errors += _backend_errors(entry.backend, path[position]["backend"])
    return errors


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _path_errors(entry: Any, path: Path) -> list[FieldError]:
    text, at = entry.path or "", path["path"]
    if not entry.pathType:
        return [field.required(path["pathType"], "pathType must be specified")]
    if entry.pathType not in _PATH_TYPES:
        return [field.not_supported(path["pathType"], entry.pathType, _PATH_TYPES)]
    if entry.pathType == "ImplementationSpecific":
        if text and not text.startswith("/"):
            return [field.invalid(at, text, "must be an absolute path")]
        return []
    errors: list[FieldError] = []
    if not text.startswith("/"):
        errors.append(field.invalid(at, text, "must be an absolute path"))
    if text:
        errors += [field.invalid(at, text, f"must not contain '{p}'") for p in _IN_PATH if p in text]
        errors += [
            field.invalid(at, text, f"cannot end with '{p}'") for p in _AT_END_OF_PATH if text.endswith(p)
        ]
    return errors


def _backend_errors(backend: Any, path: Path) -> list[FieldError]:
    resource = backend.resource if backend is not None else None
    service = backend.service if backend is not None else None
    if resource is not None and service is not None:
        return [field.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _resource_errors(resource, path["resource"])
    if service is None:
        return [field.invalid(path, "", "resource or service backend is required")]
    errors: list[FieldError] = []
    if not service.name:
        errors.append(field.required(path["service"]["name"]))
    else:
        rule = names.dns1123_label(service.name)
        errors += checks.named(service.name, rule, path["service"]["name"])
    name = service.port.name if service.port is not None else None
    number = service.port.number if service.port is not None else None
    if name and number:
        errors.append(field.invalid(path, "", "cannot set both port name & port number"))
    elif name:
        errors += checks.named(name, names.port_name(name), path["service"]["port"]["name"])
    elif number:
        at = path["service"]["port"]["number"]
        errors += [field.invalid(at, number, message) for message in names.port_number(number)]
    else:
        errors.append(field.required(path, "port name or number is required"))
    return errors


def _resource_errors(resource: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("kind", "name"):
        errors += checks.required_name(getattr(resource, name), names.path_segment_name, path[name])
    if resource.apiGroup is not None:
        errors += checks.named(
            resource.apiGroup, names.dns1123_subdomain(resource.apiGroup), path["apiGroup"]
        )
    return errors


def _hosts(obj: Any) -> str:
    hosts: list[str] = []
    more = False
    for rule in obj.spec.rules:
        # As kubectl counts: a rule after the third host, with a host or not, makes it "more".
        more = more or len(hosts) == _SHOWN_MAX
        if not more and rule.host:
            hosts.append(rule.host)
    text = ",".join(hosts) or "*"
    return f"{text} + {len(obj.spec.rules) - _SHOWN_MAX} more..." if more else text


def _address(obj: Any) -> str:
    balancer = obj.status.loadBalancer
    found = {i.ip or i.hostname or "" for i in balancer.ingress} if balancer is not None else set()
    return ",".join(sorted(found - {""}))


def warnings(obj: Any, old: Any) -> list[str]:
    """Of the annotation that the class of an Ingress stood in before it was a field."""
    if old is not None or _CLASS_ANNOTATION not in obj.metadata.annotations:
        return []
    return [f"annotation \"{_CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]


KIND: Final = Kind(
    api_version="networking.k8s.io/v1",
    kind="Ingress",
    plural="ingresses",
    short=("ing",),
    status=True,
    generation=True,
    warnings=warnings,
    validate=validate,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Class", lambda i: i.spec.ingressClassName or NONE, description="The class of the ingress."),
        column("Hosts", _hosts, description="Hosts that requests are matched against."),
        column("Address", _address, description="Where the load balancer answers."),
        column("Ports", lambda i: "80, 443" if i.spec.tls else "80", description="Ports that open."),
        AGE,
    ),
)
