"""Endpoints: the addresses behind a Service, in the form before EndpointSlices."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sampan.kinds.core.addresses import is_ipv6, validate_ip, validate_not_special
from sampan.kinds.core.cells import NONE
from sampan.kinds.core.service_validation import validate_port_entry
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_SHOWN: Final = 3


def default_endpoints(endpoints: api.Endpoints) -> None:
    """Ports are TCP unless they say otherwise."""
    for subset in endpoints.subsets:
        for port in subset.ports:
            port.protocol = port.protocol or "TCP"


def validate_endpoints(endpoints: api.Endpoints) -> list[FieldError]:
    """Each subset has addresses that pods could have, and proper ports."""
    errors: list[FieldError] = []
    for position, subset in enumerate(endpoints.subsets):
        path = Path("subsets").index(position)
        if not subset.addresses and not subset.notReadyAddresses:
            errors.append(field.required(path, "must specify `addresses` or `notReadyAddresses`"))
        for at, address in enumerate(subset.addresses):
            errors += _validate_address(address, path["addresses"].index(at))
        for at, address in enumerate(subset.notReadyAddresses):
            errors += _validate_address(address, path["notReadyAddresses"].index(at))
        for at, port in enumerate(subset.ports):
            errors += validate_port_entry(port, len(subset.ports) > 1, path["ports"].index(at))
    return errors


def _validate_address(address: api.EndpointAddress, path: Path) -> list[FieldError]:
    errors = validate_ip(address.ip, path["ip"])
    if address.hostname:
        messages = names.dns1123_label(address.hostname)
        errors += [field.invalid(path["hostname"], address.hostname, message) for message in messages]
    if address.nodeName is not None:
        messages = names.dns1123_subdomain(address.nodeName)
        errors += [field.invalid(path["nodeName"], address.nodeName, message) for message in messages]
    return errors + validate_not_special(address.ip, path["ip"])


def _cell(endpoints: api.Endpoints, _now: datetime) -> str:
    if not endpoints.subsets:
        return NONE
    shown: list[str] = []
    for subset in endpoints.subsets:
        for port in subset.ports or (None,):
            for address in subset.addresses:
                host = f"[{address.ip}]" if port and is_ipv6(address.ip) else address.ip
                shown.append(f"{host}:{port.port}" if port else host)
    text = ",".join(shown[:_SHOWN])
    return text if len(shown) <= _SHOWN else f"{text} + {len(shown) - _SHOWN} more..."


KIND: Final = Kind(
    api_version="v1",
    kind="Endpoints",
    plural="endpoints",
    singular="endpoints",
    short=("ep",),
    default=default_endpoints,
    validate=validate_endpoints,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, Column("Endpoints", _cell, description="Addresses and ports that are ready."), AGE),
)
