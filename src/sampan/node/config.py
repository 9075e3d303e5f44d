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
# kubelet's containerLogMaxSize and containerLogMaxFiles.
LOG_MOST_BYTES: Final = 10 << 20
LOG_FILES: Final = 5
LOG_CHECK_S: Final = 10.0
# kubelet's imageGCHighThresholdPercent, imageGCLowThresholdPercent and imageMinimumGCAge.
IMAGE_GC_HIGH_PERCENT: Final = 85
IMAGE_GC_LOW_PERCENT: Final = 80
IMAGE_LEAST_AGE_S: Final = 120.0
IMAGE_GC_PERIOD_S: Final = 300.0
# kubelet's evictionHard, but for the disks: its 10 % and 15 % of a developer's disk are often gone before the
# first pod is there, and would be tens of gigabytes.
EVICTION_HARD: Final = {
    "memory.available": "100Mi",
    "nodefs.available": "1Gi",
    "nodefs.inodesFree": "1%",
    "imagefs.available": "1Gi",
    "imagefs.inodesFree": "1%",
}
# kubelet's housekeeping interval and evictionPressureTransitionPeriod.
EVICTION_PERIOD_S: Final = 10.0
PRESSURE_TRANSITION_S: Final = 300.0
# Runtime calls and volume preparations under way at once on one node.
CONCURRENCY: Final = 16
# Sandboxes made at once are twice the machine's CPUs, and no fewer than this.
SANDBOXES_LEAST: Final = 4
PULLS: Final = 5


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A node agent's settings. Times in seconds; paths are directories.

    Without `root_dir` nothing is written to the disk: volumes are a no-op (simulated nodes).
    A container's log is rotated at `log_most_bytes`; `log_files` of them are kept, the current one included.
    Unused images go when their file system is fuller than `image_gc_high_percent`, until it is at
    `image_gc_low_percent`; `pinned_images` stay, since no registry has them.
    Below the amounts or parts of `eviction_hard` the node is short of something, and evicts pods; a condition
    that told so holds until it has been well for `pressure_transition_s`.
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
    # How long the status of a pod whose containers are starting may wait for what comes of it.
    status_hold_s: float = 0.0
    volume_sync_s: float = VOLUME_SYNC_S
    concurrency: int = CONCURRENCY
    sandboxes: int = 0  # made at once; 0: by the number of CPUs
    pulls: int = PULLS
    log_most_bytes: int = LOG_MOST_BYTES
    log_files: int = LOG_FILES
    log_check_s: float = LOG_CHECK_S
    image_gc_high_percent: int = IMAGE_GC_HIGH_PERCENT
    image_gc_low_percent: int = IMAGE_GC_LOW_PERCENT
    image_least_age_s: float = IMAGE_LEAST_AGE_S
    image_gc_period_s: float = IMAGE_GC_PERIOD_S
    pinned_images: tuple[str, ...] = ()
    eviction_hard: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(EVICTION_HARD))
    eviction_period_s: float = EVICTION_PERIOD_S
    pressure_transition_s: float = PRESSURE_TRANSITION_S

    @property
    def pods_dir(self) -> str:
        return f"{self.root_dir}/pods" if self.root_dir else ""

    @property
    def local_path_dir(self) -> str:
        """Where local-path volumes are; they outlive their pods."""
        return f"{self.root_dir}/local-path" if self.root_dir else ""
