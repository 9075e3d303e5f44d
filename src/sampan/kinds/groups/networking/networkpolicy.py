"""NetworkPolicy."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column, label_selector
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_TYPES: Final = ("Ingress", "Egress")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_CIDR_WORDS: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def default(obj: Any) -> None:
    """A policy is about Ingress, and about Egress where it has rules for it; ports are TCP."""
    spec = obj.spec
    spec.podSelector = spec.podSelector or api.LabelSelector()
    for rule in (*spec.ingress, *spec.egress):
        for port in rule.ports:
            port.protocol = "TCP" if port.protocol is None else port.protocol
    if not spec.policyTypes:
        spec.policyTypes = ["Ingress", "Egress"] if spec.egress else ["Ingress"]


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateNetworkPolicySpec."""
    spec = obj.spec
    errors = meta.validate_label_selector(spec.podSelector, SPEC["podSelector"])
    for position, rule in enumerate(spec.ingress):
        path = SPEC["ingress"][position]
        errors += _ports_errors(rule.ports, path["ports"])
        errors += _peers_errors(rule.from_, path["from"])
    for position, rule in enumerate(spec.egress):
        path = SPEC["egress"][position]
        errors += _ports_errors(rule.ports, path["ports"])
        errors += _peers_errors(rule.to, path["to"])
    if len(spec.policyTypes) > len(_TYPES):
        detail = "may not specify more than two policyTypes"
        return [*errors, field.invalid(SPEC["policyTypes"], spec.policyTypes, detail)]
    for position, type in enumerate(spec.policyTypes):
        errors += checks.one_of(type, _TYPES, SPEC["policyTypes"][position])
    return errors


def _ports_errors(ports: Sequence[Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, port in enumerate(ports):
        errors += _port_errors(port, path[position])
    return errors


def _port_errors(port: Any, path: Path) -> list[FieldError]:
    errors = checks.one_of(port.protocol, _PROTOCOLS, path["protocol"])
    number = port.port
    if number is None:
        if port.endPort is not None:
            detail = "may not be specified when `port` is not specified"
            errors.append(field.invalid(path["endPort"], port.endPort, detail))
    elif isinstance(number, str):
        if port.endPort is not None:
            detail = "may not be specified when `port` is non-numeric"
            errors.append(field.invalid(path["endPort"], port.endPort, detail))
        errors += checks.named(number, names.port_name(number), path["port"])
    else:
        errors += [field.invalid(path["port"], number, message) for message in names.port_number(number)]
        if port.endPort is not None:
            if port.endPort < number:
                detail = "must be greater than or equal to `port`"
                errors.append(field.invalid(path["endPort"], port.endPort, detail))
            messages = names.port_number(port.endPort)
            errors += [field.invalid(path["endPort"], port.endPort, message) for message in messages]
    return errors


def _peers_errors(peers: Sequence[Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, peer in enumerate(peers):
        errors += _peer_errors(peer, path[position])
    return errors


def _peer_errors(peer: Any, path: Path) -> list[FieldError]:
    if peer.podSelector is None and peer.namespaceSelector is None and peer.ipBlock is None:
        return [field.required(path, "must specify a peer")]
    errors = meta.validate_label_selector(peer.podSelector, path["podSelector"])
    errors += meta.validate_label_selector(peer.namespaceSelector, path["namespaceSelector"])
    if peer.ipBlock is None:
        return errors
    errors += _block_errors(peer.ipBlock, path["ipBlock"])
    if peer.podSelector is not None or peer.namespaceSelector is not None:
        errors.append(field.forbidden(path, "may not specify both ipBlock and another peer"))
    return errors


def _block_errors(block: Any, path: Path) -> list[FieldError]:
    if not block.cidr:
        return [field.required(path["cidr"])]
    network = _network(block.cidr)
    if network is None:
        return [field.invalid(path["cidr"], block.cidr, _CIDR_WORDS)]
    errors = _host_bits_errors(block.cidr, path["cidr"])
    for position, text in enumerate(block.except_):
        at, excepted = path["except"][position], _network(text)
        if excepted is None:
            errors.append(field.invalid(at, text, _CIDR_WORDS))
            continue
        errors += _host_bits_errors(text, at)
        if excepted.version != network.version or excepted == network or not _within(excepted, network):
            errors.append(field.invalid(at, text, "must be a strict subset of `cidr`"))
    return errors


def _host_bits_errors(text: str, path: Path) -> list[FieldError]:
    if ipaddress.ip_interface(text).ip == ipaddress.ip_interface(text).network.network_address:
        return []
    return [field.invalid(path, text, "must not have bits set beyond the prefix length")]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None


def _within(inner: Any, outer: Any) -> bool:
    return bool(inner.subnet_of(outer))


KIND: Final = Kind(
    api_version="networking.k8s.io/v1",
    kind="NetworkPolicy",
    plural="networkpolicies",
    short=("netpol",),
    generation=True,
    default=default,
    validate=validate,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, column("Pod-Selector", lambda policy: label_selector(policy.spec.podSelector)), AGE),
)
