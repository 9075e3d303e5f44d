"""A cluster's settings and where everything of it lies on disk."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from sampan.base.errors import SampanError
from sampan.schema.definitions import NEWEST

RUNTIMES: Final = ("containerd", "process", "simulated")
DEFAULT_PORT: Final = 6443
DOMAIN: Final = "cluster.local"
# Pod and Service ranges are tried in this order until two are found that no route of the machine uses.
_POD_RANGES: Final = tuple(f"10.{second}.0.0/16" for second in range(244, 200, -1))
_SERVICE_RANGES: Final = tuple(f"10.{second}.0.0/16" for second in range(96, 140))


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `sampan up` decided on the first start; kept in config.json and the same ever after."""

    # Names bridges, tables and namespaces of this cluster on the machine; unique among its clusters.
    id: str
    port: int = DEFAULT_PORT
    kubernetes_version: str = NEWEST
    runtime: str = "containerd"
    nodes: int = 1
    pod_range: str = _POD_RANGES[0]
    service_range: str = _SERVICE_RANGES[0]
    # CIDRs, ranges and addresses for Services of type LoadBalancer; empty: the nodes' own addresses.
    load_balancer_pool: tuple[str, ...] = ()
    # Files of the user: an audit policy, where its log goes ("": logs/audit.log), an EncryptionConfiguration.
    audit_policy: str = ""
    audit_log: str = ""
    # Node groups for the cluster autoscaler.
    autoscaler_config: str = ""
    # A DeschedulerPolicy; empty: nobody deschedules.
    descheduler_config: str = ""
    encryption_config: str = ""
    # An AuthenticationConfiguration: issuers whose tokens are honoured.
    authentication_config: str = ""
    # A KubeSchedulerConfiguration.
    scheduler_config: str = ""
    # Further versions to serve, as kube-apiserver's --runtime-config: "scheduling.k8s.io/v1beta1=true".
    runtime_config: tuple[str, ...] = ()
    # When nodes evict pods, as for kubelet: "memory.available<500Mi"; the rest keeps its default.
    eviction_hard: tuple[str, ...] = ()
    # Flags of kube-controller-manager: "endpointslice-updates-batch-period=500ms".
    controller_manager_args: tuple[str, ...] = ()

    @property
    def version(self) -> tuple[int, ...]:
        """The served version of Kubernetes, as numbers: (1, 37)."""
        return tuple(int(part) for part in self.kubernetes_version.split(".")[:2])

    @property
    def service_ip(self) -> str:
        """The address of the `kubernetes` Service: the first of the range."""
        return str(ipaddress.ip_network(self.service_range)[1])

    @property
    def dns_ip(self) -> str:
        """The address of the kube-dns Service: the tenth of the range, as everywhere."""
        return str(ipaddress.ip_network(self.service_range)[10])

    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node-{number}" for number in range(1, self.nodes + 1))

    def pod_subnet(self, node_number: int) -> str:
        """The /24 of a node, numbered from 0."""
        network = ipaddress.IPv4Network(self.pod_range)
        return f"{network.network_address + 256 * node_number}/24"

    def node_ip(self, node_number: int) -> str:
        """Where a node is reached: its pods' gateway, which stays when the machine changes networks."""
        if self.runtime != "containerd":
            return "127.0.0.1"
        return str(ipaddress.ip_network(self.pod_subnet(node_number))[1])

    def bridge(self, node_number: int) -> str:
        """The node's bridge; interface names have at most 15 characters."""
        return f"sampan-{self.id}-{node_number}"


class Layout(msgspec.Struct, frozen=True):
    """The paths below a data directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def authority(self) -> Path:
        return self.pki / "ca.crt"

    @property
    def store(self) -> Path:
        return self.root / "store" / "state.db"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def credentials_made(self) -> Path:
        """There once this start's credentials are whole: parts may be loaded before that, but not begin."""
        return self.run / "credentials"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name

    def processes(self, node: str) -> Path:
        """Where the process runtime of a node keeps its records."""
        return self.node(node) / "processes"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"


def default_root() -> Path:
    """Where data lives unless --data-dir says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/sampan")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sampan"


def load(layout: Layout) -> Settings | None:
    """An existing cluster's settings; None where there is none. Raises SampanError for a damaged file."""
    try:
        data = layout.config.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise SampanError(f"Cannot read {layout.config}: {problem.strerror}. Run as its owner.") from problem
    try:
        return msgspec.json.decode(data, type=Settings)
    except msgspec.DecodeError as problem:
        raise SampanError(
            f"{layout.config} is damaged ({problem}). Restore it from a backup, or start over with "
            f"`sampan down --delete --data-dir {layout.root}`."
        ) from problem


def save(layout: Layout, settings: Settings) -> None:
    """Write the settings, whole or not at all. Raises OSError, and then leaves no new directory behind."""
    is_new = not layout.root.exists()
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = layout.config.with_suffix(".new")
    try:
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(settings)) + b"\n")
        fresh.replace(layout.config)
    except OSError:
        fresh.unlink(missing_ok=True)
        if is_new:
            layout.root.rmdir()
        raise


def salvage(layout: Layout) -> Settings | None:
    """What the nodes' files tell of a cluster whose config.json is damaged: enough to remove it."""
    names = sorted(path.name for path in (layout.root / "nodes").glob("node-*"))
    networks = layout.root.glob("nodes/*/containerd/cni/*.conflist")
    bridges = [msgspec.json.decode(path.read_bytes())["name"] for path in networks]
    if not bridges:
        return None
    return Settings(id=bridges[0].split("-")[1], nodes=len(names))


def free_ranges(routed: Iterable[str]) -> tuple[str, str]:
    """A pod range and a Service range that overlap none of the machine's routes. Raises SampanError."""
    taken = [ipaddress.ip_network(route, strict=False) for route in routed]
    free = [
        next((r for r in ranges if not any(ipaddress.ip_network(r).overlaps(t) for t in taken)), None)
        for ranges in (_POD_RANGES, _SERVICE_RANGES)
    ]
    pods, services = free
    if pods is None or services is None:
        raise SampanError(
            "Every address range that Sampan tries for pods and Services (10.201.0.0/16 to 10.244.0.0/16, "
            "10.96.0.0/16 to 10.139.0.0/16) is routed on this machine already. Remove a route that is not "
            "needed."
        )
    return pods, services
