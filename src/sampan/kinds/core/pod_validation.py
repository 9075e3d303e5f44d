"""What makes a pod, and the pod template of any workload, valid: all errors at once, in Kubernetes' words.

Follows ValidatePodSpec of k8s.io/kubernetes/pkg/apis/core/validation. It runs on every create, so paths are
built only for what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sampan.kinds.core import apparmor, known_specs, seccomp
from sampan.kinds.core.addresses import validate_ip
from sampan.kinds.core.choices import validate_choice
from sampan.kinds.core.container_validation import Surroundings, validate_containers
from sampan.kinds.core.resources import (
    container_resource_name_errors,
    validate_amounts,
    validate_pod_resources,
)
from sampan.kinds.core.scheduling_validation import (
    validate_affinity,
    validate_spread_constraints,
    validate_tolerations,
)
from sampan.kinds.core.security_validation import (
    validate_host_namespaces,
    validate_host_process,
    validate_os,
    validate_pod_security,
)
from sampan.kinds.core.volume_validation import validate_volumes
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_annotations, validate_labels
from sampan.schema import api

MIRROR: Final = "kubernetes.io/config.mirror"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"

_KNOWN: Final = known_specs.KnownSpecs()
# Those of templates, which may hold what a pod may not.
_KNOWN_IN_TEMPLATES: Final = known_specs.KnownSpecs()
_SPEC: Final = Path("spec")
_ANNOTATIONS: Final = Path("metadata.annotations")
_INT32_MAX: Final = 2**31 - 1
_RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
_DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")
_NAMESERVERS_MAX: Final = 3
_SEARCHES_MAX: Final = 32
_SEARCH_CHARS_MAX: Final = 2048
_HOSTNAME_MAX: Final = 64
_RESPONDERS_MAX: Final = 10
_NAMED: Final = (
    ("serviceAccountName", names.dns1123_subdomain),
    ("nodeName", names.dns1123_subdomain),
    ("hostname", names.dns1123_label),
    ("subdomain", names.dns1123_label),
    ("priorityClassName", names.dns1123_subdomain),
    ("runtimeClassName", names.dns1123_subdomain),
)
# Not the same when it is empty as when it is left out.
_SET_OR_NOT: Final = "runtimeClassName"


def validate_pod(pod: api.Pod) -> list[FieldError]:
    """Every error of a pod, beside its metadata, that is found on creation and on updates alike."""
    spec = pod.spec
    errors = (
        _validate_annotations(pod.metadata.annotations, spec, _ANNOTATIONS)
        if pod.metadata.annotations
        else []
    )
    shape = known_specs.shape(spec)
    if shape in _KNOWN:
        errors += _validate_node_name(spec, _SPEC)
    else:
        found = validate_pod_spec(spec, _SPEC, pod)
        if not found:
            _KNOWN.add(shape)
        errors += found
    if not spec.serviceAccountName:
        errors += _validate_no_tokens(spec)
    if spec.nodeName and spec.schedulingGates:
        detail = "cannot be set until all schedulingGates have been cleared"
        errors.append(field.forbidden(_SPEC["nodeName"], detail))
    return errors


def validate_pod_create(pod: api.Pod) -> list[FieldError]:
    """What is wrong only with a new pod."""
    errors: list[FieldError] = []
    if pod.metadata.annotations:
        errors = apparmor.contradictions(pod.metadata.annotations, pod.spec, _SPEC)
    if not pod.spec.ephemeralContainers:
        return errors
    return [*errors, field.forbidden(_SPEC["ephemeralContainers"], "cannot be set on create")]


def validate_pod_template(template: api.PodTemplateSpec, path: Path) -> list[FieldError]:
    """Every error of the template of a workload; its metadata has only labels and annotations."""
    meta = template.metadata
    errors = validate_labels(meta.labels, path["labels"])
    if meta.annotations:
        here = path["annotations"]
        errors += validate_annotations(meta.annotations, here)
        errors += _validate_annotations(meta.annotations, template.spec, here)
    shape = known_specs.shape(template.spec)
    if shape in _KNOWN_IN_TEMPLATES:
        errors += _validate_node_name(template.spec, path["spec"])
    else:
        found = validate_pod_spec(template.spec, path["spec"])
        if not found:
            _KNOWN_IN_TEMPLATES.add(shape)
        errors += found
    if meta.annotations:
        errors += apparmor.contradictions(meta.annotations, template.spec, path["spec"])
    if template.spec.ephemeralContainers:
        detail = "ephemeral containers not allowed in pod template"
        errors.append(field.forbidden(path["spec"]["ephemeralContainers"], detail))
    return errors


def _validate_node_name(spec: api.PodSpec, path: Path) -> list[FieldError]:
    """What a spec of a known shape may still have wrong."""
    if not spec.nodeName:
        return []
    messages = names.dns1123_subdomain(spec.nodeName)
    return [field.invalid(path["nodeName"], spec.nodeName, message) for message in messages]


def validate_pod_spec(spec: api.PodSpec, path: Path, pod: api.Pod | None = None) -> list[FieldError]:
    """Every error of a pod spec; `pod` is whose it is, None for a template."""
    errors: list[FieldError] = []
    if spec.terminationGracePeriodSeconds is None:
        errors.append(field.required(path["terminationGracePeriodSeconds"]))
    volumes: dict[str, api.Volume] = {}
    if spec.volumes:
        volumes, wrong = validate_volumes(spec.volumes, pod, path["volumes"])
        errors += wrong
    claims = {claim.name for claim in spec.resourceClaims if claim.name}
    if spec.resourceClaims:
        errors += _validate_resource_claims(spec.resourceClaims, path["resourceClaims"])
    around = Surroundings(spec, volumes, claims, pod is not None)
    errors += validate_containers(around, path)
    if spec.resources is not None:
        errors += validate_pod_resources(spec, path["resources"])
    if spec.hostNetwork:
        errors += _validate_host_network_ports(spec, path["containers"], pod is not None)
    errors += validate_choice(spec.restartPolicy, _RESTART_POLICIES, path["restartPolicy"])
    errors += validate_choice(spec.dnsPolicy, _DNS_POLICIES, path["dnsPolicy"])
    if spec.nodeSelector:
        errors += validate_labels(spec.nodeSelector, path["nodeSelector"])
    errors += _validate_security(spec, path)
    errors += _validate_scheduling(spec, path)
    if spec.dnsConfig is not None or spec.dnsPolicy == "None":
        errors += _validate_dns_config(spec, path["dnsConfig"])
    for name, check in _NAMED:
        value = getattr(spec, name)
        if value or (value is not None and name == _SET_OR_NOT):
            errors += [field.invalid(path[name], value, message) for message in check(value)]
    errors += _validate_rare(spec, path)
    return errors


def _validate_security(spec: api.PodSpec, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.securityContext is not None:
        errors += validate_pod_security(spec, spec.securityContext, path["securityContext"])
    if spec.hostPID or spec.hostUsers is False:
        errors += validate_host_namespaces(spec, path)
    if _has_windows_options(spec):
        errors += validate_host_process(spec, path)
    if spec.os is not None:
        errors += validate_os(spec, path)
    return errors


def _has_windows_options(spec: api.PodSpec) -> bool:
    contexts = [spec.securityContext, *(c.securityContext for c in (*spec.containers, *spec.initContainers))]
    return any(context is not None and context.windowsOptions is not None for context in contexts)


def _validate_scheduling(spec: api.PodSpec, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.affinity is not None:
        errors += validate_affinity(spec.affinity, path["affinity"])
    for position, ready in enumerate(spec.readinessGates):
        here = path["readinessGates"].index(position)["conditionType"]
        messages = names.qualified_name(ready.conditionType)
        errors += [field.invalid(here, ready.conditionType, message) for message in messages]
    seen: set[str] = set()
    for position, gate in enumerate(spec.schedulingGates):
        here = path["schedulingGates"].index(position)
        errors += [field.invalid(here, gate.name, message) for message in names.qualified_name(gate.name)]
        if gate.name in seen:
            errors.append(field.duplicate(here, gate.name))
        seen.add(gate.name)
    if spec.schedulingGroup is not None:
        name, here = spec.schedulingGroup.podGroupName, path["schedulingGroup"]
        if name is None:
            errors.append(field.invalid(here, "", "must specify one of: `podGroupName`"))
        else:
            errors += [
                field.invalid(here["podGroupName"], name, message)
                for message in names.dns1123_subdomain(name)
            ]
    if spec.topologySpreadConstraints:
        here = path["topologySpreadConstraints"]
        errors += validate_spread_constraints(spec.topologySpreadConstraints, here)
    if spec.tolerations:
        errors += validate_tolerations(spec.tolerations, path["tolerations"])
    if spec.preemptionPolicy is not None:
        errors += validate_choice(spec.preemptionPolicy, _PREEMPTION_POLICIES, path["preemptionPolicy"])
    return errors


def _validate_rare(spec: api.PodSpec, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    deadline_s = spec.activeDeadlineSeconds
    if deadline_s is not None:
        messages = names.in_range(deadline_s, 1, _INT32_MAX)
        errors += [field.invalid(path["activeDeadlineSeconds"], deadline_s, message) for message in messages]
    for position, alias in enumerate(spec.hostAliases):
        here = path["hostAliases"].index(position)
        errors += validate_ip(alias.ip, here["ip"])
        for at, host in enumerate(alias.hostnames):
            messages = names.dns1123_subdomain(host)
            errors += [field.invalid(here["hostnames"].index(at), host, message) for message in messages]
    if spec.overhead:
        here = path["overhead"]["limits"]
        errors += validate_amounts(spec.overhead, container_resource_name_errors, here)
    if spec.hostnameOverride is not None:
        errors += _validate_hostname_override(spec, spec.hostnameOverride, path["hostnameOverride"])
    if len(spec.evictionResponders) > _RESPONDERS_MAX:
        here = path["evictionResponders"]
        errors.append(field.too_many(here, len(spec.evictionResponders), _RESPONDERS_MAX))
    return errors


def _validate_hostname_override(spec: api.PodSpec, name: str, path: Path) -> list[FieldError]:
    errors = [field.too_long(path, _HOSTNAME_MAX)] if len(name) > _HOSTNAME_MAX else []
    errors += [field.invalid(path, name, message) for message in names.dns1123_subdomain(name)]
    if spec.setHostnameAsFQDN:
        errors.append(field.forbidden(path, "may not be specified when setHostnameAsFQDN is true"))
    if spec.hostNetwork:
        errors.append(field.forbidden(path, "may not be specified when hostNetwork is true"))
    return errors


def _validate_resource_claims(claims: Sequence[api.PodResourceClaim], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, claim in enumerate(claims):
        here = path.index(position)
        if not claim.name:
            errors.append(field.required(here["name"]))
        elif claim.name in seen:
            errors.append(field.duplicate(here["name"], claim.name))
        else:
            messages = names.dns1123_label(claim.name)
            errors += [field.invalid(here["name"], claim.name, message) for message in messages]
            seen.add(claim.name)
        sources = ("resourceClaimName", "resourceClaimTemplateName")
        given = {name: getattr(claim, name) for name in sources if getattr(claim, name) is not None}
        if len(given) > 1:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(field.invalid(here, _claim_shown(claim), detail))
        elif not given:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(field.invalid(here, _claim_shown(claim), detail))
        for name, value in given.items():
            errors += [field.invalid(here[name], value, m) for m in names.dns1123_subdomain(value)]
    return errors


def _claim_shown(claim: api.PodResourceClaim) -> dict[str, str | None]:
    # As the original prints its own type.
    return {
        "Name": claim.name,
        "ResourceClaimName": claim.resourceClaimName,
        "ResourceClaimTemplateName": claim.resourceClaimTemplateName,
    }


def _validate_host_network_ports(spec: api.PodSpec, path: Path, is_pod: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    detail = "must match `containerPort` when `hostNetwork` is true"
    for position, container in enumerate(spec.containers):
        for at, port in enumerate(container.ports):
            host_port = port.hostPort or 0
            # In a template it may be left out: the pod gets it.
            if (is_pod or host_port) and host_port != port.containerPort:
                here = path.index(position)["ports"].index(at)["hostPort"]
                errors.append(field.invalid(here, host_port, detail))
    return errors


def _validate_dns_config(spec: api.PodSpec, path: Path) -> list[FieldError]:
    config = spec.dnsConfig
    if config is None:
        return [field.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
    servers, searches = config.nameservers, config.searches
    if spec.dnsPolicy == "None" and not servers:
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [field.required(path["nameservers"], detail)]
    errors: list[FieldError] = []
    if len(servers) > _NAMESERVERS_MAX:
        detail = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        errors.append(field.invalid(path["nameservers"], servers, detail))
    for position, server in enumerate(servers):
        errors += validate_ip(server, path["nameservers"].index(position))
    if len(searches) > _SEARCHES_MAX:
        detail = f"must not have more than {_SEARCHES_MAX} search paths"
        errors.append(field.invalid(path["searches"], searches, detail))
    if len(" ".join(searches)) > _SEARCH_CHARS_MAX:
        detail = (
            f"must not have more than {_SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        )
        errors.append(field.invalid(path["searches"], searches, detail))
    for position, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            messages = names.dns1123_subdomain_with_underscore(name)
            errors += [field.invalid(path["searches"].index(position), name, message) for message in messages]
    for position, option in enumerate(config.options):
        if not option.name:
            errors.append(field.required(path["options"].index(position), "must not be empty"))
    return errors


def _validate_annotations(annotations: dict[str, str], spec: api.PodSpec, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    mirror, cost = annotations.get(MIRROR), annotations.get(DELETION_COST)
    if mirror is not None and not spec.nodeName:
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(field.invalid(path.key(MIRROR), mirror, detail))
    if cost is not None and not _is_int32(cost):
        errors.append(field.invalid(path.key(DELETION_COST), cost, "must be a 32bit integer"))
    errors += seccomp.annotation_errors(annotations, path)
    if any(key.startswith(apparmor.APP_ARMOR) for key in annotations):
        errors += apparmor.annotation_errors(annotations, spec, path)
    return errors


def _is_int32(text: str) -> bool:
    # Go's ParseInt, with the leading zeros and plus signs refused that Kubernetes refuses.
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits[0] == "0"):
        return False
    return -_INT32_MAX - 1 <= int(text) <= _INT32_MAX


def _validate_no_tokens(spec: api.PodSpec) -> list[FieldError]:
    detail = "must not be specified when serviceAccountName is not set"
    return [
        field.forbidden(
            _SPEC["volumes"].index(position)["projected"]["sources"].index(at)["serviceAccountToken"], detail
        )
        for position, volume in enumerate(spec.volumes)
        if volume.projected is not None
        for at, source in enumerate(volume.projected.sources)
        if source.serviceAccountToken is not None
    ]
