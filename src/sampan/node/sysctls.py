"""Which kernel settings a pod may have: those that are its own and harm no other. Pure."""

from __future__ import annotations

from typing import Final

from sampan.schema import api

_IPC: Final = "IPC"
_NET: Final = "Net"
# Setting: the namespace that it belongs to.
SAFE: Final = {
    "kernel.shm_rmid_forced": _IPC,
    "net.ipv4.ip_local_port_range": _NET,
    "net.ipv4.ip_local_reserved_ports": _NET,
    "net.ipv4.ip_unprivileged_port_start": _NET,
    "net.ipv4.ping_group_range": _NET,
    "net.ipv4.tcp_fin_timeout": _NET,
    "net.ipv4.tcp_keepalive_intvl": _NET,
    "net.ipv4.tcp_keepalive_probes": _NET,
    "net.ipv4.tcp_keepalive_time": _NET,
    "net.ipv4.tcp_notsent_lowat": _NET,
    "net.ipv4.tcp_rmem": _NET,
    "net.ipv4.tcp_slow_start_after_idle": _NET,
    "net.ipv4.tcp_syncookies": _NET,
    "net.ipv4.tcp_wmem": _NET,
}


def refused_sysctl(pod: api.Pod) -> str:
    """Why the pod's sysctls cannot be granted, in kubelet's words; empty where they can."""
    spec = pod.spec
    for each in spec.securityContext.sysctls if spec.securityContext is not None else ():
        name = dotted(each.name or "")
        namespace = SAFE.get(name)
        if namespace is None:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if (spec.hostIPC and namespace == _IPC) or (spec.hostNetwork and namespace == _NET):
            return f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled'
    return ""


def dotted(name: str) -> str:
    """The setting's name with dots: where its first separator is a slash, slashes and dots change places."""
    first = next((char for char in name if char in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))
