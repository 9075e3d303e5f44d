"""IPAddress and ServiceCIDR: which addresses Services have and may have."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from sampan.kinds.core.cells import NONE
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_CIDRS_MAX: Final = 2


def ip_address_name(value: str) -> list[str]:
    """The name is the address, written the one canonical way."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(address) == value else [f'must be in canonical form ("{address}")']


def validate_ip_address(obj: Any) -> list[FieldError]:
    """Every error of an IPAddress: it belongs to something."""
    parent, path = obj.spec.parentRef, SPEC["parentRef"]
    if parent is None:
        return [field.required(path)]
    errors: list[FieldError] = []
    if parent.group:
        errors += checks.named(parent.group, names.dns1123_subdomain(parent.group), path["group"])
    errors += checks.required_name(parent.resource, names.path_segment_name, path["resource"])
    errors += checks.required_name(parent.name, names.path_segment_name, path["name"])
    if parent.namespace:
        errors += checks.named(parent.namespace, names.path_segment_name(parent.namespace), path["namespace"])
    return errors


def validate_ip_address_update(new: Any, old: Any) -> list[FieldError]:
    """An address changes hands only by being made anew."""
    return checks.fixed(new.spec.parentRef, old.spec.parentRef, SPEC["parentRef"])


def _parent(obj: Any) -> str:
    parent = obj.spec.parentRef
    if parent is None:
        return NONE
    resource = f"{parent.resource}.{parent.group}" if parent.group else parent.resource
    return "/".join(part for part in (resource.lower(), parent.namespace, parent.name) if part)


def validate_service_cidr(obj: Any) -> list[FieldError]:
    """One range, or one of each family: ValidateServiceCIDR."""
    cidrs, path = obj.spec.cidrs, SPEC["cidrs"]
    if not cidrs:
        return [field.required(path, "at least one CIDR required")]
    if len(cidrs) > _CIDRS_MAX:
        detail = "may only hold up to 2 values"
        return [field.invalid(path, cidrs, detail)]
    errors = [error for position, cidr in enumerate(cidrs) for error in _cidr_errors(cidr, path[position])]
    if not errors and len({ipaddress.ip_network(cidr).version for cidr in cidrs}) != len(cidrs):
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(field.invalid(path, cidrs, detail))
    return errors


def _cidr_errors(text: str, path: Path) -> list[FieldError]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        return [field.invalid(path, text, detail)]
    if "/" in text and str(network) == text:
        return []
    return [field.invalid(path, text, f'must be in canonical form ("{network}")')]


def validate_service_cidr_update(new: Any, old: Any) -> list[FieldError]:
    """A range can only gain one of the other family."""
    before, after, path = old.spec.cidrs, new.spec.cidrs, SPEC["cidrs"]
    if len(before) == len(after):
        pairs = enumerate(zip(after, before, strict=True))
        return [error for at, (now, was) in pairs for error in checks.immutable(now, was, path[at])]
    if len(before) == 1 and len(after) == _CIDRS_MAX:
        errors = checks.immutable(after[0], before[0], path[0])
        return [*errors, *validate_service_cidr(new)] if errors else []
    return checks.immutable(after or None, before, path)


IP_ADDRESS: Final = Kind(
    api_version="networking.k8s.io/v1",
    kind="IPAddress",
    plural="ipaddresses",
    short=("ip",),
    namespaced=CLUSTER,
    validate=validate_ip_address,
    validate_update=validate_ip_address_update,
    name_errors=ip_address_name,
    columns=(NAME, column("ParentRef", _parent)),
)
SERVICE_CIDR: Final = Kind(
    api_version="networking.k8s.io/v1",
    kind="ServiceCIDR",
    plural="servicecidrs",
    told_alone="change",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    prepare_create=checks.clear_status,
    validate=validate_service_cidr,
    validate_update=validate_service_cidr_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, column("CIDRs", lambda sc: ",".join(sc.spec.cidrs)), AGE),
)
