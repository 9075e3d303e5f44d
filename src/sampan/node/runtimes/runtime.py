"""The runtime Protocol: what a node agent needs from whatever runs its pods.

The shape follows CRI (a sandbox that holds a pod's namespaces, containers inside it), reduced to values.
Implementations: `cri` (containerd and friends), `process` (plain host processes), `simulated`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from sampan.base.errors import SampanError


class RuntimeFailure(SampanError):
    """The runtime could not do it. `reason` is the CamelCase word that pod statuses show."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as the runtime sees it, before any container. Its host ports are the service proxy's."""

    namespace: str
    name: str
    uid: str
    attempt: int = 0
    hostname: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    log_directory: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    sysctls: Mapping[str, str] = msgspec.field(default_factory=dict)
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    runtime_handler: str = ""


class Mount(msgspec.Struct, frozen=True):
    host_path: str
    container_path: str
    readonly: bool = False
    # none, HostToContainer or Bidirectional
    propagation: str = "None"


class DeviceNode(msgspec.Struct, frozen=True):
    """A device of the host that the container may use: to read (r), write (w) and make its node (m)."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


class Resources(msgspec.Struct, frozen=True):
    cpu_shares: int = 0
    cpu_quota_us: int = 0
    cpu_period_us: int = 100_000
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0


class Security(msgspec.Struct, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    no_new_privileges: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    # RuntimeDefault, Unconfined, or Localhost/<profile>
    seccomp: str = "Unconfined"


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    attempt: int
    image: str  # the image reference that ensure_image returned
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    # A runtime whose containers see the host's devices anyway may pass them over.
    devices: tuple[DeviceNode, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    # Relative to the sandbox's log_directory; written in CRI log format by the runtime.
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    # The container whose processes this one sees, where the pod does not share them anyway (debuggers).
    target_id: str = ""
    resources: Resources = Resources()
    security: Security = Security()


class State(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    namespace: str
    name: str
    uid: str
    attempt: int
    ready: bool
    created_at: datetime
    ips: tuple[str, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class Container(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: State
    image: str  # as asked for
    image_ref: str  # as resolved (digest or id)
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    reason: str = ""  # "OOMKilled", "Error", "Completed"
    message: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class Image(msgspec.Struct, frozen=True):
    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    # The image's own user: uid, or name where uid is None.
    uid: int | None = None
    username: str = ""
    # The runtime itself needs it: never removed.
    pinned: bool = False


class Credentials(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    identity_token: str = ""


class Listing(msgspec.Struct, frozen=True):
    """Everything of ours in the runtime, with full status of each container."""

    sandboxes: tuple[Sandbox, ...]
    containers: tuple[Container, ...]


class ExecResult(msgspec.Struct, frozen=True):
    exit_code: int
    stdout: bytes
    stderr: bytes


class Usage(msgspec.Struct, frozen=True):
    """A container's consumption. `disk_bytes`: what it has written beside its volumes and logs."""

    container_id: str
    cpu_total_ns: int
    memory_working_set_bytes: int
    disk_bytes: int = 0


class Session(Protocol):
    """A running exec or attach: bytes in, bytes out."""

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, bytes) for stdout and (2, bytes) for stderr until both end."""
        ...

    async def wait(self) -> int:
        """The exit code (0 for attach)."""
        ...

    async def close(self) -> None:
        """Let go; an exec'd process is not waited for."""
        ...


class Runtime(Protocol):
    """Runs sandboxes and containers on one node. Every method may raise RuntimeFailure.

    Stopping and removing are idempotent: what is not there is a success.
    """

    name: str  # "containerd", "process", "simulated"

    async def version(self) -> str:
        """`containerd://1.6.20`, as node.status.nodeInfo has it. Fails where it is not ready."""
        ...

    async def list(self) -> Listing: ...

    def exits(self) -> AsyncIterator[str]:
        """Container or sandbox ids as they exit, without end: a hint to look again, never the only source."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        """Make and start the sandbox with its network; returns its id. Cleans up after itself on failure."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None: ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it with all that is in it, stopped or not."""
        ...

    async def create_container(self, sandbox_id: str, sandbox: SandboxSpec, spec: ContainerSpec) -> str: ...

    async def start_container(self, container_id: str) -> datetime:
        """When it started, by the engine's clock: the moment that `list` will give from now on."""
        ...

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        """TERM, then KILL after `grace_s`; returns once it has exited."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def update_resources(self, container_id: str, resources: Resources) -> None: ...

    async def reopen_log(self, container_id: str) -> None:
        """Write to a new file at the log's path from now on: called once the old one has been moved away."""
        ...

    async def find_image(self, reference: str) -> Image | None: ...

    async def pull_image(self, reference: str, credentials: Credentials | None) -> Image: ...

    async def list_images(self) -> Sequence[Image]: ...

    async def remove_image(self, reference: str) -> None: ...

    async def mount_image(self, image: Image, name: str, directory: str) -> None:
        """Make the files of an image appear at `directory`, read-only, as the volume `name`.

        What is mounted already stays. Fails where the engine has no images of files.
        """
        ...

    async def release_image(self, name: str) -> None:
        """Give up what `mount_image` made for that name, once its directory is unmounted."""
        ...

    async def image_directory(self) -> str:
        """A directory of the file system that holds the images; empty where images take up no space."""
        ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run to the end. Raises TimeoutError when it takes longer (and kills it)."""
        ...

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool) -> Session: ...

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> Session: ...

    async def open_port(self, sandbox_id: str, port: int) -> tuple[int, int]:
        """A connected socket to localhost:`port` inside the sandbox's network: (fd, address family).

        The caller owns the fd. Raises ConnectionError where nothing listens.
        """
        ...

    async def usage(self) -> Sequence[Usage]: ...

    async def close(self) -> None: ...
