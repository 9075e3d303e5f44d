"""What a pod, and the pod template of any workload, gets where its author left a field out.

Follows k8s.io/kubernetes/pkg/apis/core/v1/defaults.go. Everything here is idempotent and changes its
argument in place. `default_pod_spec` holds for templates too; `default_pod` adds what only a pod gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sampan.kinds.core.images import pull_policy
from sampan.kinds.core.resources import (
    aggregate_container_limits,
    aggregate_container_requests,
    is_huge_page,
    is_overcommit_allowed,
    is_pod_level_resource,
)
from sampan.kinds.core.volume_defaults import NO_DIVISOR, default_volume
from sampan.machinery.quantity import Quantity
from sampan.schema import api

if TYPE_CHECKING:
    AnyContainer = api.Container | api.EphemeralContainer

GRACE_PERIOD_S: Final = 30
SCHEDULER_NAME: Final = "default-scheduler"
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
LEAST_GRACE_S: Final = 1


def default_pod(pod: api.Pod) -> None:
    """Fill in a Pod: its spec, and what Kubernetes gives to pods but not to templates."""
    spec = pod.spec
    default_pod_spec(spec)
    if (spec.terminationGracePeriodSeconds or 0) < 0:
        spec.terminationGracePeriodSeconds = LEAST_GRACE_S  # what such a pod always got
    for containers in (spec.containers, spec.initContainers):
        for container in containers:
            _requests_from_limits(container.resources)
    if spec.resources is not None:
        _default_pod_resources(spec, spec.resources)
    if spec.enableServiceLinks is None:
        spec.enableServiceLinks = True
    if spec.hostNetwork:
        for container in (*spec.containers, *spec.initContainers):
            for port in container.ports:
                port.hostPort = port.hostPort or port.containerPort
    _align_pod_ips(pod.status)


def _align_pod_ips(status: api.PodStatus) -> None:
    # Clients that know only podIP change only that one, so it wins where the two differ.
    if not status.podIP:
        status.podIP = status.podIPs[0].ip if status.podIPs else status.podIP
    elif not status.podIPs or status.podIPs[0].ip != status.podIP:
        status.podIPs = [api.PodIP(ip=status.podIP)]


def default_pod_template(template: api.PodTemplateSpec) -> None:
    """Fill in the template of a workload."""
    default_pod_spec(template.spec)


def default_pod_spec(spec: api.PodSpec) -> None:
    """Fill in what every pod spec has, be it a pod's or a template's."""
    if not spec.dnsPolicy:
        spec.dnsPolicy = "ClusterFirst"
    if not spec.restartPolicy:
        spec.restartPolicy = "Always"
    if spec.securityContext is None:
        spec.securityContext = api.PodSecurityContext()
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = GRACE_PERIOD_S
    if not spec.schedulerName:
        spec.schedulerName = SCHEDULER_NAME
    account = spec.serviceAccountName or spec.serviceAccount
    if account:  # serviceAccount is the old name of serviceAccountName; both always read the same
        spec.serviceAccountName = spec.serviceAccount = account
    if spec.evictionResponders:
        spec.evictionResponders = []  # alpha, and off: dropped without a word
    if spec.overhead:
        round_to_milli(spec.overhead)
    if spec.resources is not None:
        _round_requirements(spec.resources)
    for volume in spec.volumes:
        default_volume(volume)
    for container in spec.containers:
        default_container(container)
    for container in spec.initContainers:
        default_container(container)
    for ephemeral in spec.ephemeralContainers:
        default_container(ephemeral)


def default_container(container: AnyContainer) -> None:
    """Fill in a container of any of the three lists."""
    if not container.imagePullPolicy:
        container.imagePullPolicy = pull_policy(container.image or "")
    if not container.terminationMessagePath:
        container.terminationMessagePath = TERMINATION_MESSAGE_PATH
    if not container.terminationMessagePolicy:
        container.terminationMessagePolicy = "File"
    for port in container.ports:
        if not port.protocol:
            port.protocol = "TCP"
    for variable in container.env:
        if variable.valueFrom is not None:
            _default_env_source(variable.valueFrom)
    if container.resources.limits or container.resources.requests:
        _round_requirements(container.resources)
    for probe in (container.livenessProbe, container.readinessProbe, container.startupProbe):
        if probe is not None:
            _default_probe(probe)
    for mount in container.volumeMounts:
        if mount.bindMountOptions:
            mount.bindMountOptions = []  # alpha, and off: dropped without a word
    if container.lifecycle is not None and container.lifecycle.stopSignal is not None:
        container.lifecycle.stopSignal = None  # alpha, and off: dropped without a word
        if container.lifecycle == api.Lifecycle():
            container.lifecycle = None
    if container.lifecycle is not None:
        for handler in (container.lifecycle.postStart, container.lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                _default_http_get(handler.httpGet)


def round_to_milli(resources: dict[str, Quantity]) -> None:
    """Round amounts finer than a thousandth up, as Kubernetes does with every resource list."""
    for name, amount in resources.items():
        if amount.text[-1] in "nu" or "e-" in amount.text:
            resources[name] = Quantity(f"{amount.milli()}m")


def _round_requirements(requirements: api.ResourceRequirements) -> None:
    round_to_milli(requirements.limits)
    round_to_milli(requirements.requests)


def _requests_from_limits(requirements: api.ResourceRequirements) -> None:
    for name, limit in requirements.limits.items():
        requirements.requests.setdefault(name, limit)


def _default_env_source(source: api.EnvVarSource) -> None:
    if source.fieldRef is not None and not source.fieldRef.apiVersion:
        source.fieldRef.apiVersion = "v1"
    if source.resourceFieldRef is not None and source.resourceFieldRef.divisor is None:
        source.resourceFieldRef.divisor = NO_DIVISOR
    if source.fileKeyRef is not None and source.fileKeyRef.optional is None:
        source.fileKeyRef.optional = False


def _default_probe(probe: api.Probe) -> None:
    probe.timeoutSeconds = probe.timeoutSeconds or 1
    probe.periodSeconds = probe.periodSeconds or 10
    probe.successThreshold = probe.successThreshold or 1
    probe.failureThreshold = probe.failureThreshold or 3
    if probe.httpGet is not None:
        _default_http_get(probe.httpGet)
    if probe.grpc is not None:
        probe.grpc.service = probe.grpc.service or ""
        probe.grpc.mode = None  # alpha, and off: dropped without a word


def _default_http_get(action: api.HTTPGetAction) -> None:
    action.path = action.path or "/"
    action.scheme = action.scheme or "HTTP"
    action.protocol = None  # alpha, and off: dropped without a word


def _default_pod_resources(spec: api.PodSpec, resources: api.ResourceRequirements) -> None:
    # The order matters: a limit that is filled in for huge pages is what their request then defaults to.
    if resources.limits or resources.requests:
        for name, limit in aggregate_container_limits(spec).items():
            if is_huge_page(name) and name not in resources.requests:
                resources.limits.setdefault(name, limit)
    if resources.limits:
        _pod_requests_from_containers(spec, resources)
    elif resources.requests:
        _pod_limits_from_containers(spec, resources)


def _pod_requests_from_containers(spec: api.PodSpec, resources: api.ResourceRequirements) -> None:
    for name, request in aggregate_container_requests(spec).items():
        if is_pod_level_resource(name) and is_overcommit_allowed(name):
            resources.requests.setdefault(name, request)
    for name, limit in resources.limits.items():
        if is_pod_level_resource(name):
            resources.requests.setdefault(name, limit)


def _pod_limits_from_containers(spec: api.PodSpec, resources: api.ResourceRequirements) -> None:
    restartable = [c for c in spec.initContainers if c.restartPolicy == "Always"]
    for name, limit in aggregate_container_limits(spec).items():
        if not (is_pod_level_resource(name) and is_overcommit_allowed(name)):
            continue
        if all(name in c.resources.limits for c in (*spec.containers, *restartable)):
            resources.limits.setdefault(name, limit)
