"""The kinds of discovery.k8s.io/v1: EndpointSlice."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column, shortened
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.kinds.loopback import LoopbackEndpoints
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_ENDPOINTS_MAX: Final = 1000
_PORTS_MAX: Final = 20_000
_ADDRESSES_MAX: Final = 100
_HINTS_MAX: Final = 8


def default(obj: Any) -> None:
    """Ports have an empty name and TCP where nothing is said."""
    for port in obj.ports:
        port.name = "" if port.name is None else port.name
        port.protocol = "TCP" if port.protocol is None else port.protocol
    for endpoint in obj.endpoints:
        # Topology left the API with v1beta1; v1 says zone and nodeName.
        endpoint.deprecatedTopology = {}
        endpoint.conditions = endpoint.conditions or api.EndpointConditions()  # by value in Go


def validate(obj: Any) -> list[FieldError]:
    """Every error of a slice: ValidateEndpointSlice."""
    errors = checks.required_one_of(obj.addressType, _ADDRESS_TYPES, Path("addressType"))
    return errors + _endpoints_errors(obj) + _ports_errors(obj.ports, Path("ports"))


def _endpoints_errors(obj: Any) -> list[FieldError]:
    path = Path("endpoints")
    if len(obj.endpoints) > _ENDPOINTS_MAX:
        return [field.too_many(path, len(obj.endpoints), _ENDPOINTS_MAX)]
    errors: list[FieldError] = []
    for position, endpoint in enumerate(obj.endpoints):
        at = path[position]
        errors += _addresses_errors(endpoint.addresses, obj.addressType, at["addresses"])
        if endpoint.nodeName is not None:
            rule = names.dns1123_subdomain(endpoint.nodeName)
            errors += checks.named(endpoint.nodeName, rule, at["nodeName"])
        errors += meta.validate_labels(endpoint.deprecatedTopology, at["deprecatedTopology"])
        if endpoint.hostname is not None:
            errors += checks.named(endpoint.hostname, names.dns1123_label(endpoint.hostname), at["hostname"])
        errors += _hints_errors(endpoint.hints, at["hints"])
    return errors


def _addresses_errors(addresses: Sequence[str], type: str, path: Path) -> list[FieldError]:
    if not addresses:
        return [field.required(path)]
    if len(addresses) > _ADDRESSES_MAX:
        return [field.too_many(path, len(addresses), _ADDRESSES_MAX)]
    errors: list[FieldError] = []
    for position, address in enumerate(addresses):
        at = path[position]
        if type == "FQDN":
            errors += _domain_errors(address, at)
        else:
            errors += _ip_errors(address, type, at)
    return errors


def _domain_errors(name: str, path: Path) -> list[FieldError]:
    messages = names.dns1123_subdomain(name.removesuffix("."))
    if not messages and "." not in name.removesuffix("."):
        messages = ["should be a domain with at least two segments separated by dots"]
    return checks.named(name, messages, path)


def _ip_errors(text: str, type: str, path: Path) -> list[FieldError]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        return [field.invalid(path, text, detail)]
    wanted = {"IPv4": 4, "IPv6": 6}.get(type)
    if wanted is not None and address.version != wanted:
        return [field.invalid(path, text, f"must be an {type} address")]
    loopback = address.is_loopback and not LoopbackEndpoints.allowed
    for wrong, name in (
        (address.is_unspecified, f"unspecified ({text})"),
        (loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
    ):
        if wrong:
            return [field.invalid(path, text, f"may not be {name}")]
    return []


def _hints_errors(hints: Any, path: Path) -> list[FieldError]:
    if hints is None:
        return []
    if len(hints.forZones) > _HINTS_MAX:
        return [field.too_many(path["forZones"], len(hints.forZones), _HINTS_MAX)]
    errors = _hinted_errors(hints.forZones, names.label_value, path["forZones"])
    if len(hints.forNodes) > _HINTS_MAX:
        return [*errors, field.too_many(path["forNodes"], len(hints.forNodes), _HINTS_MAX)]
    return errors + _hinted_errors(hints.forNodes, names.dns1123_subdomain, path["forNodes"])


def _hinted_errors(places: Sequence[Any], rule: names.NameErrors, path: Path) -> list[FieldError]:
    """Zones or nodes that an endpoint is for."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, place in enumerate(places):
        at = path[position]["name"]
        if place.name in seen:
            errors.append(field.duplicate(at, place.name))
        seen.add(place.name)
        errors += checks.named(place.name, rule(place.name), at)
    return errors


def _ports_errors(ports: Sequence[Any], path: Path) -> list[FieldError]:
    if len(ports) > _PORTS_MAX:
        return [field.too_many(path, len(ports), _PORTS_MAX)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, port in enumerate(ports):
        at, name = path[position], port.name or ""
        if name:
            errors += checks.named(name, names.dns1123_label(name), at["name"])
        if name in seen:
            errors.append(field.duplicate(at["name"], name))
        seen.add(name)
        errors += checks.one_of(port.protocol, _PROTOCOLS, at["protocol"])
        if port.appProtocol is not None:
            rule = names.qualified_name(port.appProtocol)
            errors += checks.named(port.appProtocol, rule, at["appProtocol"])
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """A slice holds addresses of one type for life."""
    return checks.fixed(new.addressType, old.addressType, Path("addressType"))


def _port(port: Any) -> str:
    if port.port is not None:
        return str(port.port)
    return "*" if port.name is None else port.name


def warnings(obj: Any, old: Any) -> list[str]:
    """Of addresses that proxies do not serve, in what is new."""
    fqdn = old is None and obj.addressType == "FQDN"
    return ["spec.addressType: FQDN endpoints are deprecated"] if fqdn else []


def prepare_update(new: Any, old: Any) -> None:
    """Labels say whose the slice is: a change of them counts as well."""
    if new.metadata.labels != old.metadata.labels:
        new.metadata.generation = (old.metadata.generation or 0) + 1


ENDPOINT_SLICE: Final = Kind(
    api_version="discovery.k8s.io/v1",
    kind="EndpointSlice",
    plural="endpointslices",
    generation=True,
    prepare_update=prepare_update,
    default=default,
    warnings=warnings,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("AddressType", lambda s: s.addressType),
        column("Ports", lambda s: shortened([_port(port) for port in s.ports])),
        column("Endpoints", lambda s: shortened([a for e in s.endpoints for a in e.addresses])),
        AGE,
    ),
)

KINDS: Final[tuple[Kind, ...]] = (ENDPOINT_SLICE,)
