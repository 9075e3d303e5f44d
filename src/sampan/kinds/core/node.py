"""Node: a machine that runs pods."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from sampan.kinds.core.addresses import cidr_family, validate_cidr
from sampan.kinds.core.cells import NONE, UNKNOWN
from sampan.kinds.core.pod import PROXY_VERBS
from sampan.kinds.core.pod_defaults import round_to_milli
from sampan.kinds.core.resources import validate_amount
from sampan.kinds.core.scheduling_validation import validate_taints
from sampan.kinds.core.warnings import node_warnings
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path, quoted
from sampan.schema import api

_POD_CIDRS: Final = Path("spec.podCIDRs")
_is_feature: Final = re.compile("[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*").fullmatch
_FEATURE_WORDS: Final = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature "
    "or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
_TAINTS: Final = Path("metadata.taints")  # where Kubernetes reports them, though they stand in the spec
_ROLE_PREFIX: Final = "node-role.kubernetes.io/"
_ROLE: Final = "kubernetes.io/role"


def default_node(node: api.Node) -> None:
    """Allocatable is all of the capacity until the node says otherwise; podCIDR and podCIDRs agree."""
    status, spec = node.status, node.spec
    round_to_milli(status.capacity)
    round_to_milli(status.allocatable)
    if status.capacity and not status.allocatable:
        status.allocatable = dict(status.capacity)
    if status.nodeInfo is None:  # this and the next are embedded by value in Go, so they are always written
        status.nodeInfo = api.NodeSystemInfo()
    if status.daemonEndpoints is None:
        status.daemonEndpoints = api.NodeDaemonEndpoints(kubeletEndpoint=api.DaemonEndpoint())
    if not spec.podCIDR:
        spec.podCIDR = spec.podCIDRs[0] if spec.podCIDRs else spec.podCIDR
    elif not spec.podCIDRs or spec.podCIDRs[0] != spec.podCIDR:
        spec.podCIDRs = [spec.podCIDR]  # the older field wins where the two differ


def validate_node(node: api.Node) -> list[FieldError]:
    """Taints, amounts and address ranges."""
    errors = validate_taints(node.spec.taints, _TAINTS)
    errors += _validate_amounts(node)
    cidrs = node.spec.podCIDRs
    for position, cidr in enumerate(cidrs):
        errors += validate_cidr(cidr, _POD_CIDRS.index(position))
    for position, feature in enumerate(node.status.declaredFeatures):
        if not _is_feature(feature):
            detail = f"invalid feature name {quoted(feature)}: {_FEATURE_WORDS}"
            errors.append(field.invalid(Path("status.declaredFeatures").index(position), feature, detail))
    if len(cidrs) > 1:
        if len(cidrs) > 2 or {cidr_family(cidr) for cidr in cidrs} != {4, 6}:
            detail = "may specify no more than one CIDR for each IP family"
            errors.append(field.invalid(_POD_CIDRS, cidrs, detail))
        for position, cidr in enumerate(cidrs):
            if cidr in cidrs[:position]:
                errors.append(field.duplicate(_POD_CIDRS.index(position), cidr))
    return errors


def validate_node_update(node: api.Node, old: api.Node) -> list[FieldError]:
    """Ranges and the provider's name are set once."""
    errors: list[FieldError] = []
    if old.spec.podCIDRs and node.spec.podCIDRs != old.spec.podCIDRs:
        detail = 'node updates may not change podCIDR except from "" to valid'
        errors.append(field.forbidden(_POD_CIDRS, detail))
    if old.spec.providerID and node.spec.providerID != old.spec.providerID:
        what = "modified" if node.spec.providerID else "cleared"
        errors.append(field.invalid(Path("spec.providerID"), None, f"field cannot be {what} once set"))
    if (node.spec.externalID or "") != (old.spec.externalID or ""):
        errors.append(field.forbidden(Path("spec.externalID"), "may not be updated"))
    return errors


def validate_status_update(node: api.Node, _old: api.Node) -> list[FieldError]:
    """Amounts are valid and no address is listed twice."""
    errors = _validate_amounts(node)
    seen: set[tuple[str, str]] = set()
    for position, address in enumerate(node.status.addresses):
        if (address.type, address.address) in seen:
            errors.append(field.duplicate(Path("status.addresses").index(position), address))
        seen.add((address.type, address.address))
    return errors


def _validate_amounts(node: api.Node) -> list[FieldError]:
    errors: list[FieldError] = []
    for side, amounts in (("capacity", node.status.capacity), ("allocatable", node.status.allocatable)):
        for name, amount in amounts.items():
            errors += validate_amount(name, amount, Path("status")[side][name])
    return errors


def _status(node: api.Node, _now: datetime) -> str:
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"]
    if node.spec.unschedulable:
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: api.Node, _now: datetime) -> str:
    labels = node.metadata.labels
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE, ""))
    return ",".join(sorted(roles - {""})) or NONE


def _address(kind: str) -> Column:
    return Column(
        f"{kind.removesuffix('IP')}-IP",
        lambda node, _now: next((a.address for a in node.status.addresses if a.type == kind), NONE),
        description=f"The first address of the node of type {kind}.",
        priority=1,
    )


def _kernel(node: api.Node, _now: datetime) -> str:
    info = node.status.nodeInfo
    kernel = (info.kernelVersion if info else "") or UNKNOWN
    return f"{kernel} ({info.architecture})" if info and info.architecture else kernel


def _info(name: str, attribute: str, description: str, priority: int = 1) -> Column:
    def value(node: api.Node, _now: datetime) -> str:
        found = getattr(node.status.nodeInfo, attribute) if node.status.nodeInfo else ""
        return found or (UNKNOWN if priority else "")

    return Column(name, value, description=description, priority=priority)


KIND: Final = Kind(
    api_version="v1",
    kind="Node",
    plural="nodes",
    short=("no",),
    namespaced=CLUSTER,
    status=True,
    default=default_node,
    warnings=node_warnings,
    validate=validate_node,
    validate_update=validate_node_update,
    validate_status_update=validate_status_update,
    name_errors=names.dns1123_subdomain,
    field_selectors={"spec.unschedulable": lambda node: "true" if node.spec.unschedulable else "false"},
    columns=(
        NAME,
        Column("Status", _status, description="The status of the node."),
        Column("Roles", _roles, description="The roles of the node."),
        AGE,
        _info("Version", "kubeletVersion", "The version of the node agent.", priority=0),
        _address("InternalIP"),
        _address("ExternalIP"),
        _info("OS-Image", "osImage", "The operating system of the node."),
        Column("Kernel-Version", _kernel, description="The kernel of the node.", priority=1),
        _info("Container-Runtime", "containerRuntimeVersion", "The container runtime of the node."),
    ),
    subresources=(("nodes/proxy", "NodeProxyOptions", PROXY_VERBS),),
)
