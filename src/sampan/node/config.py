"""What a node agent is told when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

KUBELET_PORT: Final = 10250
MAX_PODS: Final = 110
# How often the runtime is looked at though nobody said that something changed.
RELIST_S: Final = 10.0
LEASE_RENEW_S: Final = 10.0
LEASE_DURATION_S: Final = 40
STATUS_PERIOD_S: Final = 300.0
VOLUME_SYNC_S: Final = 60.0
# Runtime calls and volume preparations under way at once on one node.
CONCURRENCY: Final = 16
PULLS: Final = 5


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A node agent's settings. Times in seconds; paths are directories.

    Without `root_dir` nothing is written to the disk: volumes are a no-op (simulated nodes).
    `capacity` and `reserved` are resource names with quantities (`{"cpu": "4", "memory": "8Gi"}`); what
    `capacity` leaves out is read from the machine.
    """

    node_name: str
    node_ips: tuple[str, ...]
    root_dir: str = ""
    log_dir: str = "/var/log/pods"
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    max_pods: int = MAX_PODS
    kubelet_port: int = KUBELET_PORT
    kubelet_version: str = "v1.37.0"
    capacity: Mapping[str, str] = msgspec.field(default_factory=dict)
    reserved: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    taints: tuple[str, ...] = ()  # key=value:Effect
    provider_id: str = ""
    relist_s: float = RELIST_S
    lease_renew_s: float = LEASE_RENEW_S
    lease_duration_s: int = LEASE_DURATION_S
    status_period_s: float = STATUS_PERIOD_S
    volume_sync_s: float = VOLUME_SYNC_S
    concurrency: int = CONCURRENCY
    pulls: int = PULLS

    @property
    def pods_dir(self) -> str:
        return f"{self.root_dir}/pods" if self.root_dir else ""
