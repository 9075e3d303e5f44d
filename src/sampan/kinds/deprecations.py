"""Served versions that Kubernetes has deprecated, and what it tells those who use them."""

from __future__ import annotations

from typing import Final

from sampan.schema.definitions import GroupVersionKind

# Kind: the minor version that deprecated it, the one that removes it (0: none), what to use instead.
_DEPRECATED: Final[dict[tuple[str, str, str], tuple[int, int, str]]] = {
    ("", "v1", "ComponentStatus"): (19, 0, ""),
    ("", "v1", "Endpoints"): (33, 0, "discovery.k8s.io/v1 EndpointSlice"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "FlowSchema"): (
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 FlowSchema",
    ),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "PriorityLevelConfiguration"): (
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration",
    ),
}


def warning(gvk: GroupVersionKind, version: str) -> str:
    """The Warning for requests to this kind on a server of `version` ("1.37"); "" where there is none."""
    found = _DEPRECATED.get((gvk.group, gvk.version, gvk.kind))
    if found is None:
        return ""
    since, removed, instead = found
    if int(version.split(".")[1]) < since:
        return ""
    text = f"{gvk.api_version} {gvk.kind} is deprecated in v1.{since}+"
    if removed:
        text += f", unavailable in v1.{removed}+"
    return f"{text}; use {instead}" if instead else text
