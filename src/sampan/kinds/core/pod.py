"""Pod: containers that are placed on a node together and share its network."""

from __future__ import annotations

from typing import Final

import msgspec

from sampan.kinds.core import apparmor
from sampan.kinds.core.phases import is_finished
from sampan.kinds.core.pod_columns import COLUMNS
from sampan.kinds.core.pod_defaults import LEAST_GRACE_S, default_pod
from sampan.kinds.core.pod_update import (
    prepare_ephemeral_containers_update,
    prepare_pod_resize,
    prepare_status_update,
    validate_ephemeral_containers_update,
    validate_pod_resize,
    validate_pod_status_update,
    validate_pod_update,
)
from sampan.kinds.core.pod_validation import validate_pod, validate_pod_create
from sampan.kinds.core.pod_warnings import pod_warnings
from sampan.kinds.core.qos import qos_class
from sampan.kinds.kind import Kind, SubresourceUpdate
from sampan.machinery import names
from sampan.schema import api

PROXY_VERBS: Final = ("create", "delete", "get", "patch", "update")

_GATED: Final = "SchedulingGated"
_GATED_MESSAGE: Final = "Scheduling is blocked due to non-empty scheduling gates"


def prepare_create(pod: api.Pod) -> None:
    """A new pod is pending; its class is decided once and for all."""
    pod.status = api.PodStatus(phase="Pending", qosClass=qos_class(pod.spec))
    if pod.spec.schedulingGates:
        pod.status.conditions = [
            api.PodCondition(
                type="PodScheduled",
                status="False",
                reason=_GATED,
                message=_GATED_MESSAGE,
                lastTransitionTime=pod.metadata.creationTimestamp,
            )
        ]
    _apply_match_label_keys(pod)
    apparmor.copy_annotations(pod)


def grace_period_s(pod: api.Pod, asked_s: int | None) -> int:
    """Seconds that a delete leaves a pod: what the caller asks for, else what its spec says.

    Whatever was asked, there is none before the pod is placed or after it ended.
    """
    if not pod.spec.nodeName or is_finished(pod):
        return 0
    period_s = pod.spec.terminationGracePeriodSeconds or 0 if asked_s is None else asked_s
    return LEAST_GRACE_S if period_s < 0 else period_s


def _apply_match_label_keys(pod: api.Pod) -> None:
    # The scheduler sees plain selectors; the keys become requirements when the pod is made.
    for constraint in pod.spec.topologySpreadConstraints:
        if constraint.matchLabelKeys and constraint.labelSelector is not None:
            _require(constraint.labelSelector, constraint.matchLabelKeys, "In", pod.metadata.labels)
    affinity = pod.spec.affinity
    if affinity is None:
        return
    for part in (affinity.podAffinity, affinity.podAntiAffinity):
        if part is None:
            continue
        for term in part.requiredDuringSchedulingIgnoredDuringExecution:
            _merge_label_keys(term, pod.metadata.labels)
        for weighted in part.preferredDuringSchedulingIgnoredDuringExecution:
            if weighted.podAffinityTerm is not None:
                _merge_label_keys(weighted.podAffinityTerm, pod.metadata.labels)


def _merge_label_keys(term: api.PodAffinityTerm, labels: dict[str, str]) -> None:
    if term.labelSelector is None:
        return
    for keys, operator in ((term.matchLabelKeys, "In"), (term.mismatchLabelKeys, "NotIn")):
        _require(term.labelSelector, keys, operator, labels)


def _require(selector: api.LabelSelector, keys: list[str], operator: str, labels: dict[str, str]) -> None:
    selector.matchExpressions += [
        api.LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
        for key in keys
        if key in labels
    ]


def _pod_ips(pod: api.Pod) -> str:
    return ",".join(address.ip for address in pod.status.podIPs)


class _SelectedSpec(msgspec.Struct):
    nodeName: str | None = None
    restartPolicy: str | None = None
    schedulerName: str | None = None
    serviceAccountName: str | None = None
    hostNetwork: bool | None = None


class _SelectedIP(msgspec.Struct):
    ip: str = ""


class _SelectedStatus(msgspec.Struct):
    phase: str | None = None
    podIP: str | None = None
    podIPs: list[_SelectedIP] = msgspec.field(default_factory=list)
    nominatedNodeName: str | None = None


class Selected(msgspec.Struct):
    """What field selectors see of a pod: agents watch those of their node, so that every change is read."""

    spec: _SelectedSpec = msgspec.field(default_factory=_SelectedSpec)
    status: _SelectedStatus = msgspec.field(default_factory=_SelectedStatus)


KIND: Final = Kind(
    api_version="v1",
    kind="Pod",
    plural="pods",
    short=("po",),
    categories=("all",),
    status=True,
    generation=True,
    default=default_pod,
    early_warnings=apparmor.copied,
    warnings=pod_warnings,
    validate=validate_pod,
    validate_create=validate_pod_create,
    validate_update=validate_pod_update,
    validate_status_update=validate_pod_status_update,
    prepare_create=prepare_create,
    subresource_updates={
        "status": SubresourceUpdate(prepare_status_update),
        "ephemeralcontainers": SubresourceUpdate(
            prepare_ephemeral_containers_update, validate_ephemeral_containers_update
        ),
        "resize": SubresourceUpdate(prepare_pod_resize, validate_pod_resize),
    },
    name_errors=names.dns1123_subdomain,
    field_selectors={
        "spec.nodeName": lambda pod: pod.spec.nodeName or "",
        "spec.restartPolicy": lambda pod: pod.spec.restartPolicy or "",
        "spec.schedulerName": lambda pod: pod.spec.schedulerName or "",
        "spec.serviceAccountName": lambda pod: pod.spec.serviceAccountName or "",
        "spec.hostNetwork": lambda pod: "true" if pod.spec.hostNetwork else "false",
        "status.phase": lambda pod: pod.status.phase or "",
        "status.podIP": lambda pod: pod.status.podIP or "",
        "status.podIPs": _pod_ips,
        "status.nominatedNodeName": lambda pod: pod.status.nominatedNodeName or "",
    },
    selected=Selected,
    columns=COLUMNS,
    grace_period_s=grace_period_s,
    subresources=(
        ("pods/attach", "PodAttachOptions", ("create", "get")),
        ("pods/binding", "Binding", ("create",)),
        ("pods/ephemeralcontainers", "Pod", ("get", "patch", "update")),
        ("pods/eviction", "policy/v1/Eviction", ("create",)),
        ("pods/exec", "PodExecOptions", ("create", "get")),
        ("pods/log", "Pod", ("get",)),
        ("pods/portforward", "PodPortForwardOptions", ("create", "get")),
        ("pods/proxy", "PodProxyOptions", PROXY_VERBS),
        ("pods/resize", "Pod", ("get", "patch", "update")),
    ),
)
