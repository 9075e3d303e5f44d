"""What a private containerd is told: pure text from a few choices.

The keys follow containerd 1.6 and 1.7 (configuration version 2). containerd 2.x still reads version 2 and
migrates it; what its migration does not know (`sandbox_image` moved, `conf_dir` kept) is all in this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

# Where distributions put the CNI plugins, best first.
CNI_BIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
CNI_PLUGINS = ("bridge", "host-local", "loopback")
NAMESPACE = "k8s.io"

# A unix socket's path must fit sun_path (108 bytes with its NUL); containerd appends `.ttrpc` to it.
MAX_SOCKET_PATH_BYTES = 100

# Linux network interface names have at most 15 bytes.
MAX_INTERFACE_NAME = 15

# Parts that a node does not need; each costs start-up time, or warns where its kernel module is absent.
DISABLED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.monitor.v1.cgroups",
    "io.containerd.nri.v1.nri",
)


class RuntimeHandler(msgspec.Struct, frozen=True, kw_only=True):
    """A RuntimeClass handler besides `runc`, e.g. gVisor's `runsc`."""

    name: str
    runtime_type: str
    binary: str = ""


class ContainerdConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The choices behind the configuration files. Paths are absolute."""

    data_dir: str  # all of it lives below here
    sandbox_image: str
    cni_bin_dir: str = "/usr/lib/cni"
    bridge: str = "sampan0"
    pod_subnets: tuple[str, ...] = ("10.244.0.0/24",)
    mtu: int = 0  # 0: the kernel's choice
    snapshotter: str = "overlayfs"
    systemd_cgroup: bool = False
    restrict_oom_score_adj: bool = True
    socket: str = ""  # empty: in data_dir
    log_level: str = "warn"
    handlers: tuple[RuntimeHandler, ...] = ()

    @property
    def root(self) -> str:
        return str(PurePosixPath(self.data_dir) / "root")

    @property
    def state(self) -> str:
        return str(PurePosixPath(self.data_dir) / "state")

    @property
    def address(self) -> str:
        return self.socket or str(PurePosixPath(self.data_dir) / "containerd.sock")

    @property
    def config_path(self) -> str:
        return str(PurePosixPath(self.data_dir) / "config.toml")

    @property
    def cni_conf_dir(self) -> str:
        return str(PurePosixPath(self.data_dir) / "cni")

    @property
    def ipam_dir(self) -> str:
        return str(PurePosixPath(self.data_dir) / "ipam")

    @property
    def certs_dir(self) -> str:
        return str(PurePosixPath(self.data_dir) / "certs.d")

    @property
    def log_path(self) -> str:
        return str(PurePosixPath(self.data_dir) / "containerd.log")


def bridge_name(cluster_id: str) -> str:
    """The bridge of a cluster: `sampan-` and as much of the id as an interface name holds."""
    return ("sampan-" + "".join(c for c in cluster_id if c.isalnum()))[:MAX_INTERFACE_NAME]


def problems(config: ContainerdConfig) -> list[str]:
    """What makes the configuration impossible: sentences; empty where it is sound."""
    found = []
    if len(config.address.encode()) > MAX_SOCKET_PATH_BYTES:
        found.append(
            f"The socket path {config.address} is longer than {MAX_SOCKET_PATH_BYTES} bytes, which unix "
            "sockets do not allow; give a shorter data directory or a socket path of its own."
        )
    if len(config.bridge) > MAX_INTERFACE_NAME:
        found.append(f"The bridge name {config.bridge} is longer than {MAX_INTERFACE_NAME} letters.")
    if not config.pod_subnets:
        found.append("The pod network has no subnet; name at least one, such as 10.244.0.0/24.")
    return found


def render_config(config: ContainerdConfig) -> str:
    """containerd's config.toml."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    tables: list[tuple[str, Mapping[str, object]]] = [
        (
            "",
            {
                "version": 2,
                "root": config.root,
                "state": config.state,
                "oom_score": 0,
                "disabled_plugins": list(DISABLED_PLUGINS),
            },
        ),
        ("grpc", {"address": config.address}),
        ("debug", {"level": config.log_level}),
        (
            cri,
            {
                "sandbox_image": config.sandbox_image,
                "restrict_oom_score_adj": config.restrict_oom_score_adj,
                "netns_mounts_under_state_dir": True,
                "stream_server_address": "127.0.0.1",
                "stream_server_port": "0",
                "enable_unprivileged_ports": True,
                "enable_unprivileged_icmp": True,
                "tolerate_missing_hugetlb_controller": True,
            },
        ),
        (f"{cri}.cni", {"bin_dir": config.cni_bin_dir, "conf_dir": config.cni_conf_dir, "max_conf_num": 1}),
        (f"{cri}.registry", {"config_path": config.certs_dir}),
        (f"{cri}.containerd", {"snapshotter": config.snapshotter, "default_runtime_name": "runc"}),
    ]
    runc = RuntimeHandler(name="runc", runtime_type="io.containerd.runc.v2")
    for handler in (runc, *config.handlers):
        tables.extend(_handler_tables(cri, handler, config))
    return "\n".join(_table(name, values) for name, values in tables)


def _handler_tables(
    cri: str, handler: RuntimeHandler, config: ContainerdConfig
) -> list[tuple[str, Mapping[str, object]]]:
    name = f"{cri}.containerd.runtimes.{handler.name}"
    tables: list[tuple[str, Mapping[str, object]]] = [(name, {"runtime_type": handler.runtime_type})]
    if handler.runtime_type == "io.containerd.runc.v2":
        # runc's own state would else lie at /run/containerd/runc, shared with every other containerd.
        options: dict[str, object] = {"SystemdCgroup": config.systemd_cgroup, "Root": f"{config.state}/runc"}
        if handler.binary:
            options["BinaryName"] = handler.binary
        tables.append((f"{name}.options", options))
    return tables


def _table(name: str, values: Mapping[str, object]) -> str:
    # JSON's strings, booleans, integers and lists of them are also TOML's.
    lines = [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in values.items()]
    return "\n".join([f"[{name}]"] * bool(name) + lines) + "\n"


def render_cni(config: ContainerdConfig) -> str:
    """The CNI configuration list: a bridge with host-local addresses.

    Masquerading and host ports are left to the service proxy, which owns the node's nftables rules: what the
    portmap plugin writes is shared by all its users, and so stays when a cluster goes.
    """
    bridge: dict[str, object] = {
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": True,
        "isDefaultGateway": True,
        "ipMasq": False,
        # A pod reaches itself through a Service only if the bridge sends frames back where they came from.
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": config.ipam_dir,
            "ranges": [[{"subnet": subnet}] for subnet in config.pod_subnets],
        },
    }
    if config.mtu:
        bridge["mtu"] = config.mtu
    network = {"cniVersion": "0.4.0", "name": config.bridge, "plugins": [bridge]}
    return msgspec.json.format(msgspec.json.encode(network), indent=2).decode()


def render_hosts(registry: str, *, plain_http: bool) -> str:
    """The hosts.toml of one registry (`host:port`) in certs.d."""
    scheme = "http" if plain_http else "https"
    server = f"{scheme}://{registry}"
    return f'server = "{server}"\n\n[host."{server}"]\ncapabilities = ["pull", "resolve"]\n'


def files(config: ContainerdConfig, plain_http_registries: tuple[str, ...] = ()) -> dict[str, str]:
    """Every file that containerd reads, by absolute path."""
    written = {
        config.config_path: render_config(config),
        str(PurePosixPath(config.cni_conf_dir) / "10-sampan.conflist"): render_cni(config),
    }
    for registry in plain_http_registries:
        path = PurePosixPath(config.certs_dir) / registry / "hosts.toml"
        written[str(path)] = render_hosts(registry, plain_http=True)
    return written
