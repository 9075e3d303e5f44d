"""The values of the pod state machine: what is known of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from sampan.node.names import PodKey
from sampan.node.runtimes.runtime import State
from sampan.schema import api


class Role(StrEnum):
    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"


class ProbeKind(StrEnum):
    LIVENESS = "liveness"
    READINESS = "readiness"
    STARTUP = "startup"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a container. `known_at`: a listing older than this says nothing about its absence."""

    id: str
    attempt: int
    state: State
    image: str = ""
    image_ref: str = ""
    hash: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    known_at: datetime
    # The exit was concluded, not read from the runtime: a listing may still tell the truth.
    guessed: bool = False
    resources: api.ResourceRequirements | None = None
    sandbox_id: str = ""
    # The runtime has it no more.
    removed: bool = False


class Retry(msgspec.Struct, frozen=True):
    """Work that failed `count` times in a row and may be tried again at `at`."""

    count: int
    at: datetime


class Trouble(msgspec.Struct, frozen=True):
    """Why something waits: the reason and message that statuses show."""

    reason: str
    message: str


class Tally(msgspec.Struct, frozen=True):
    """Consecutive results of one probe and what they add up to (None: not decided yet)."""

    successes: int = 0
    failures: int = 0
    healthy: bool | None = None


class Doom(msgspec.Struct, frozen=True):
    """Why a running container is to be stopped and, where the policy says so, started again."""

    message: str
    grace_s: int | None = None


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one container of the pod over its instances."""

    name: str
    role: Role
    current: Instance | None = None
    previous: Instance | None = None
    # The reference that the image check answered; empty until the next start has an image.
    image_ref: str = ""
    trouble: Trouble | None = None
    pull_retry: Retry | None = None
    backoff_s: float = 0.0
    backoff_at: datetime | None = None
    backoff_told: bool = False
    hook_done: bool = False
    # Restart at the next exit whatever the policy says (the image was changed).
    force_restart: bool = False
    doom: Doom | None = None
    # Its instance ran in a sandbox that died: an init container has to run again.
    stale: bool = False
    # When the stop that is under way ends with KILL; None while nobody stops it.
    stop_by: datetime | None = None
    tallies: Mapping[ProbeKind, Tally] = msgspec.field(default_factory=dict)
    probing: frozenset[ProbeKind] = frozenset()
    ready: bool = False
    started: bool = False


class SandboxPhase(StrEnum):
    READY = "ready"
    DEAD = "dead"
    STOPPED = "stopped"


class SandboxRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    attempt: int
    phase: SandboxPhase
    ips: tuple[str, ...] = ()
    known_at: datetime


class EndKind(StrEnum):
    """Why a pod is wound down. Later ones override earlier ones."""

    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A pod on its way out: what its status says of it, and when grace ends.

    `disruption`: it goes for the node's sake, which whoever made it may want to know.
    """

    kind: EndKind
    deadline: datetime
    grace_s: int
    reason: str = ""
    message: str = ""
    disruption: bool = False


class Volumes(StrEnum):
    NONE = "none"
    READY = "ready"
    REMOVED = "removed"


class NodeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod's status and environment say of its node."""

    name: str
    ips: tuple[str, ...]
    runtime: str = "containerd"
    allocatable_cpu_milli: int = 0
    allocatable_memory_bytes: int = 0


class PodState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one pod on this node."""

    pod: api.Pod
    key: PodKey
    node: NodeFacts
    observed: bool = False
    sandbox: SandboxRecord | None = None
    containers: Mapping[str, ContainerRecord] = msgspec.field(default_factory=dict)
    # Dead containers and sandboxes that nobody needs any more.
    old_containers: tuple[str, ...] = ()
    old_sandboxes: tuple[str, ...] = ()
    volumes: Volumes = Volumes.NONE
    # The digests that image volumes were resolved to, by the volume's name.
    image_volumes: Mapping[str, str] = msgspec.field(default_factory=dict)
    # How the devices are that drivers have given to containers, by container.
    devices: Mapping[str, tuple[api.ResourceStatus, ...]] = msgspec.field(default_factory=dict)
    doing: frozenset[str] = frozenset()
    retries: Mapping[str, Retry] = msgspec.field(default_factory=dict)
    ending: Ending | None = None
    rejected: Trouble | None = None
    start_time: datetime | None = None
    api_gone: bool = False
    deletion_done: bool = False
    # It goes without a last status: nothing holds it, so that nobody would see that.
    unseen: bool = False
    forgotten: bool = False
    look_again: bool = False
    reported: api.PodStatus | None = None
    timer_at: datetime | None = None
