"""What is allowed in a pod and yet worth a word: the Warning headers of pods and pod templates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sampan.kinds.core import known_specs
from sampan.kinds.core.apparmor import APP_ARMOR
from sampan.kinds.core.seccomp import SECCOMP_CONTAINER, SECCOMP_POD
from sampan.machinery import names
from sampan.schema import api

# Where specs of templates without annotations stood, and what was said of them.
_SAID: Final[known_specs.Remembered[tuple[str, list[str]]]] = known_specs.Remembered()
_WHOLE: Final = ("memory", "ephemeral-storage")
_SECCOMP_WORDS: Final = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_SYSCTLS_WORDS: Final = 'non-functional in v1.11+; use the "sysctls" field instead'
_ANNOTATIONS: Final = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": _SYSCTLS_WORDS,
    "security.alpha.kubernetes.io/unsafe-sysctls": _SYSCTLS_WORDS,
}
# Volumes that no node can mount any more: the field, its name in warnings, and since when.
VOLUMES: Final = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
# Labels of nodes that have others in their place: since when, and which.
REPLACED_LABELS: Final = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_NODE_LABELS: Final = {
    old: f'deprecated since {since}; use "{new}" instead' for old, (since, new) in REPLACED_LABELS.items()
}
_NO_SELECTOR: Final = "labelSelector: a null labelSelector results in matching no pod"


def pod_warnings(pod: api.Pod, old: api.Pod | None) -> list[str]:
    """Of a new pod; updates of pods come from controllers, which nobody reads."""
    if old is not None:
        return []
    warnings = _host_name(pod.metadata.name or "", "the Pod's hostname")
    warnings += _warnings(pod.metadata, pod.spec, "")
    return warnings


def template_warnings(template: api.PodTemplateSpec, path: str, old: api.PodTemplateSpec | None) -> list[str]:
    """Of a pod template that stands at `path`: a new one (`old` is None) or one that an update changes."""
    if template == old:
        return []
    at = path + "."
    if template.metadata.annotations:
        return _warnings(template.metadata, template.spec, at)
    shape = known_specs.shape(template.spec)
    if known_specs.names_tokens(shape):
        shape = None  # warnings quote the names of volumes
    said = _SAID.get(shape)
    if said is None or said[0] != at:
        said = at, _warnings(template.metadata, template.spec, at)
        _SAID.put(shape, said)
    return list(said[1])


def workload_warnings(obj: Any, old: Any) -> list[str]:
    """Of what makes pods from `spec.template` and names them after itself."""
    warnings = [] if old is not None else name_warnings(obj)
    before = None if old is None else old.spec.template
    return warnings + template_warnings(obj.spec.template, "spec.template", before)


def name_warnings(obj: Any) -> list[str]:
    """Of the name of what names pods after itself."""
    return _host_name(obj.metadata.name or "", "Pod names and hostnames")


def claim_fractions(spec: api.PersistentVolumeClaimSpec, path: str) -> list[str]:
    """Sizes that are no whole number of bytes, in a claim's spec that stands at `path`."""
    asked, where = spec.resources, f"{path}.resources"
    return [
        *_fractions(asked.requests, f"{where}.requests", ("storage",)),
        *_fractions(asked.limits, f"{where}.limits", ("storage",)),
    ]


def _fractions(amounts: Mapping[str, Any], path: str, resources: Iterable[str] = _WHOLE) -> Iterator[str]:
    for resource in resources:
        amount = amounts.get(resource)
        if amount is not None and amount.value % 1:
            yield f'{path}[{resource}]: fractional byte value "{amount.text}" is invalid, must be an integer'


def ip_warnings(address: str, path: str) -> list[str]:
    """Of addresses that are written in a way that parsers read differently."""
    if "." not in address or ":" in address:
        return []
    parts = address.split(".")
    if any(len(part) > 1 and part.startswith("0") and part.isdigit() for part in parts):
        plain = ".".join(part.lstrip("0") or "0" for part in parts)
        return [f'{path}: non-standard IP address "{address}" will be considered invalid in a future '
                f'Kubernetes release: use "{plain}"']  # fmt: skip
    return []


def _host_name(name: str, use: str) -> list[str]:
    errors = names.dns1123_label(name)
    if not errors:
        return []
    return [
        f"metadata.name: this is used in {use}, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(errors)}]"
    ]


def _warnings(metadata: Any, spec: api.PodSpec, path: str) -> list[str]:
    at = f"{path}spec."
    warnings: list[str] = []
    if spec.nodeSelector:
        warnings += _labels_of_nodes(spec.nodeSelector, f"{at}nodeSelector")
    if spec.affinity is not None and spec.affinity.nodeAffinity is not None:
        warnings += _node_affinity(spec.affinity.nodeAffinity, f"{at}affinity.nodeAffinity.")
    for position, constraint in enumerate(spec.topologySpreadConstraints):
        warnings += _spread(constraint, f"{at}topologySpreadConstraints[{position}].")
    if metadata.annotations:
        warnings += _annotations(metadata.annotations, f"{path}metadata.annotations")
    if spec.volumes:
        warnings += _volumes(spec.volumes, f"{at}volumes")
    if spec.hostAliases:
        ips = [alias.ip or "" for alias in spec.hostAliases]
        warnings += _repeated(ips, f"{at}hostAliases", "ip")
    if spec.imagePullSecrets:
        secrets = [secret.name or "" for secret in spec.imagePullSecrets]
        warnings += _repeated(secrets, f"{at}imagePullSecrets", "name")
        warnings += [
            f'{at}imagePullSecrets[{position}].name: invalid empty name ""'
            for position, name in enumerate(secrets)
            if not name
        ]
    if spec.overhead:
        warnings += _fractions(spec.overhead, f"{at}overhead")
    warnings += _containers(metadata.annotations, spec, path)
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        warnings.append(
            f"{at}terminationGracePeriodSeconds: must be >= 0; "
            "negative values are invalid and will be treated as 1"
        )
    if spec.affinity is not None:
        for name in ("podAffinity", "podAntiAffinity"):
            warnings += _pod_affinity(getattr(spec.affinity, name), f"{at}affinity.{name}.")
    if spec.dnsConfig is not None:
        for position, server in enumerate(spec.dnsConfig.nameservers):
            warnings += ip_warnings(server, f"{at}dnsConfig.nameservers[{position}]")
    for position, alias in enumerate(spec.hostAliases):
        warnings += ip_warnings(alias.ip or "", f"{at}hostAliases[{position}].ip")
    return warnings


def _labels_of_nodes(labels: Iterable[str], path: str) -> list[str]:
    return [f"{path}[{key}]: {_NODE_LABELS[key]}" for key in labels if key in _NODE_LABELS]


def _node_affinity(affinity: api.NodeAffinity, path: str) -> list[str]:
    warnings: list[str] = []
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution
    if required is not None:
        where = f"{path}requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        for position, term in enumerate(required.nodeSelectorTerms):
            warnings += _term(term, f"{where}[{position}].", values=False)
    for position, weighted in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution):
        where = f"{path}preferredDuringSchedulingIgnoredDuringExecution[{position}].preference."
        if weighted.preference is not None:
            warnings += _term(weighted.preference, where, values=True)
    return warnings


def _term(term: api.NodeSelectorTerm, path: str, *, values: bool) -> list[str]:
    warnings: list[str] = []
    for position, wanted in enumerate(term.matchExpressions):
        where = f"{path}matchExpressions[{position}]"
        if wanted.key in _NODE_LABELS:
            warnings.append(f"{where}.key: {wanted.key} is {_NODE_LABELS[wanted.key]}")
        if not values:
            continue
        for index, value in enumerate(wanted.values):
            warnings += [
                f"{where}.values[{index}]: {value} is invalid, {why}" for why in names.label_value(value)
            ]
    return warnings


def _spread(constraint: api.TopologySpreadConstraint, path: str) -> list[str]:
    warnings: list[str] = []
    key = constraint.topologyKey
    if key in _NODE_LABELS:
        warnings.append(f"{path}topologyKey: {key} is {_NODE_LABELS[key]}")
    if constraint.labelSelector is None:
        warnings.append(path + _NO_SELECTOR)
    return warnings


def _annotations(annotations: Mapping[str, str], path: str) -> list[str]:
    return [f"{path}[{key}]: {words}" for key, words in _ANNOTATIONS.items() if key in annotations]


def _volumes(volumes: Sequence[api.Volume], path: str) -> list[str]:
    warnings: list[str] = []
    for position, volume in enumerate(volumes):
        for field, name, words in VOLUMES:
            if getattr(volume, field) is not None:
                warnings.append(f"{path}[{position}].{name}: {words}")
        if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
            where = f"{path}[{position}].ephemeral.volumeClaimTemplate.spec"
            warnings += claim_fractions(volume.ephemeral.volumeClaimTemplate.spec, where)
        if volume.projected is not None and not volume.projected.sources:
            warnings.append(f'volume "{volume.name}" (Projected) has no sources provided')
    return warnings


def _repeated(values: Sequence[str], path: str, name: str) -> list[str]:
    return [
        f'{path}[{position}].{name}: duplicate {name} "{value}"'
        for position, value in enumerate(values)
        if value in values[:position]
    ]


def _containers(annotations: Mapping[str, str], spec: api.PodSpec, path: str) -> list[str]:
    warnings: list[str] = []
    ports: list[tuple[str, Any]] = []
    for kind in ("initContainers", "containers"):
        for position, container in enumerate(getattr(spec, kind)):
            where = f"{path}spec.{kind}[{position}]."
            if annotations:
                warnings += _profiles(annotations, spec, container, path)
            resources = container.resources
            if resources.limits:
                warnings += _fractions(resources.limits, f"{where}resources.limits")
            if resources.requests:
                warnings += _fractions(resources.requests, f"{where}resources.requests")
            if len(container.env) > 1:
                warnings += _hidden(container.env, f"{where}env")
            ports += [(f"{where}ports[{index}]", port) for index, port in enumerate(container.ports)]
    if ports:
        warnings += _ports(ports)
    if annotations and SECCOMP_POD in annotations:
        context = spec.securityContext
        if context is None or context.seccompProfile is None:
            warnings.append(f"{path}metadata.annotations[{SECCOMP_POD}]: {_SECCOMP_WORDS}")
    return warnings


def _profiles(annotations: Mapping[str, str], spec: api.PodSpec, container: Any, path: str) -> list[str]:
    context, warnings = container.securityContext, []
    key = SECCOMP_CONTAINER + container.name
    if key in annotations and (context is None or context.seccompProfile is None):
        warnings.append(f"{path}metadata.annotations[{key}]: {_SECCOMP_WORDS}")
    key = APP_ARMOR + container.name
    # Of pods themselves it is said before the annotation is copied.
    if path and key in annotations and (context is None or context.appArmorProfile is None):
        whole = spec.securityContext.appArmorProfile if spec.securityContext is not None else None
        if whole is None:
            warnings.append(
                f"{path}metadata.annotations[{key}]: deprecated since v1.30; "
                'use the "appArmorProfile" field instead'
            )
    return warnings


def _hidden(env: Sequence[api.EnvVar], path: str) -> list[str]:
    warnings: list[str] = []
    seen: set[str] = set()
    for position, variable in enumerate(env):
        name, value = variable.name, variable.value or ""
        own = f"$({name})"
        if name in seen and (variable.valueFrom is not None or value == own or own not in value):
            warnings.append(
                f'{path}[{position}]: hides previous definition of "{name}", '
                "which may be dropped when using apply"
            )
        seen.add(name)
    return warnings


def _ports(ports: Sequence[tuple[str, Any]]) -> list[str]:
    warnings: list[str] = []
    by_number: dict[tuple[int, str], list[tuple[str, Any]]] = {}
    by_name: dict[str, str] = {}
    named: list[str] = []
    for where, port in ports:
        if port.hostIP and not port.hostPort:
            shown = f"Name:{port.name or ''} HostPort:0 ContainerPort:{port.containerPort}"
            shown += f" Protocol:{port.protocol or ''} HostIP:{port.hostIP}"
            warnings.append(f"{where}: hostIP set without hostPort: {{{shown}}}")
        others = by_number.setdefault((port.containerPort, port.protocol or ""), [])
        for there, other in others:
            how = _clash(port, other)
            if how:
                warnings.append(f"{where}: {how} port definition with {there}")
        others.append((where, port))
        if port.name:
            first = by_name.setdefault(port.name, where)
            if first != where:
                named.append(
                    f'{where}: duplicate port name "{port.name}" with {first}, '
                    f"services and probes that select ports by name will use {first}"
                )
    return warnings + named


def _clash(one: Any, other: Any) -> str:
    mine, its = one.hostPort or 0, other.hostPort or 0
    if (one.hostIP or "") == (other.hostIP or "") and mine == its:
        return "duplicate"
    if not mine or not its:
        return "overlapping"
    return "dangerously ambiguous" if mine == its and bool(one.hostIP) != bool(other.hostIP) else ""


def _pod_affinity(affinity: Any, path: str) -> list[str]:
    if affinity is None:
        return []
    warnings = [
        f"{path}requiredDuringSchedulingIgnoredDuringExecution[{position}].{_NO_SELECTOR}"
        for position, term in enumerate(affinity.requiredDuringSchedulingIgnoredDuringExecution)
        if term.labelSelector is None
    ]
    return warnings + [
        f"{path}preferredDuringSchedulingIgnoredDuringExecution[{position}].podAffinityTerm.{_NO_SELECTOR}"
        for position, weighted in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution)
        if weighted.podAffinityTerm is not None and weighted.podAffinityTerm.labelSelector is None
    ]
