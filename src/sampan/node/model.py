"""The values of the pod state machine: what is known of a pod, what can happen to it, what can be ordered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from sampan.node.names import PodKey
from sampan.node.runtimes.runtime import Container, Sandbox, State
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
    """A pod on its way out: what its status says of it, and when grace ends."""

    kind: EndKind
    deadline: datetime
    grace_s: int
    reason: str = ""
    message: str = ""


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
    doing: frozenset[str] = frozenset()
    retries: Mapping[str, Retry] = msgspec.field(default_factory=dict)
    ending: Ending | None = None
    rejected: Trouble | None = None
    start_time: datetime | None = None
    api_gone: bool = False
    deletion_done: bool = False
    forgotten: bool = False
    look_again: bool = False
    reported: api.PodStatus | None = None
    timer_at: datetime | None = None


# --- events -----------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True):
    """Something that happened."""


class PodSeen(Event, frozen=True):
    """The API has the pod like this (added or updated)."""

    pod: api.Pod


class PodGone(Event, frozen=True):
    """The API has the pod no more."""


class Observed(Event, frozen=True):
    """The runtime's listing of this pod; `as_of` is when the listing was begun."""

    sandboxes: tuple[Sandbox, ...]
    containers: tuple[Container, ...]
    as_of: datetime


class Done(Event, frozen=True):
    """The instruction with this key was carried out. `result` depends on the instruction."""

    key: str
    result: Any = None


class Failed(Event, frozen=True):
    """The instruction with this key could not be carried out."""

    key: str
    reason: str
    message: str


class Probed(Event, frozen=True):
    """One run of a probe against the instance `container_id`."""

    name: str
    container_id: str
    kind: ProbeKind
    ok: bool
    output: str = ""


class Tick(Event, frozen=True):
    """The time that the machine asked to be woken at has come."""


class Rejected(Event, frozen=True):
    """The node's admission refused the pod."""

    reason: str
    message: str


class Evicted(Event, frozen=True):
    """The node needs what the pod uses."""

    reason: str
    message: str
    grace_s: int


# --- instructions -----------------------------------------------------------------------------------------


class Instruction(msgspec.Struct, frozen=True):
    """Something to do. Those with a `key` answer with Done or Failed under it; the others do not answer."""

    @property
    def key(self) -> str:
        return ""


class PrepareVolumes(Instruction, frozen=True):
    @property
    def key(self) -> str:
        return "volumes"


class RemoveVolumes(Instruction, frozen=True):
    @property
    def key(self) -> str:
        return "volumes-remove"


class EnsureImage(Instruction, frozen=True):
    """Have the image in the runtime. Done's result is the `ImageReady`."""

    container: str
    image: str
    pull_policy: str

    @property
    def key(self) -> str:
        return f"image/{self.container}"


class ImageReady(msgspec.Struct, frozen=True):
    reference: str


class RunSandbox(Instruction, frozen=True):
    """Done's result is a `SandboxUp`."""

    attempt: int

    @property
    def key(self) -> str:
        return "sandbox"


class SandboxUp(msgspec.Struct, frozen=True):
    id: str
    ips: tuple[str, ...]


class StartContainer(Instruction, frozen=True):
    """Create and start. Done's result is a `ContainerUp`."""

    container: str
    attempt: int
    sandbox_id: str
    image_ref: str
    ips: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"start/{self.container}"


class ContainerUp(msgspec.Struct, frozen=True):
    id: str
    started_at: datetime
    image_ref: str = ""
    resources: api.ResourceRequirements | None = None
    # It was made but could not be started: counts as a run that failed at once.
    start_error: str = ""


class PostStart(Instruction, frozen=True):
    container: str
    container_id: str
    ips: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"post-start/{self.container_id}"


class StopContainer(Instruction, frozen=True):
    """preStop (unless `pre_stop` is false), then TERM, then KILL, all within `grace_s`."""

    container: str
    container_id: str
    grace_s: float
    pre_stop: bool
    ips: tuple[str, ...] = ()
    hurry: int = 0

    @property
    def key(self) -> str:
        return f"stop/{self.container_id}" + (f"/{self.hurry}" if self.hurry else "")


class RemoveContainer(Instruction, frozen=True):
    container_id: str

    @property
    def key(self) -> str:
        return f"remove/{self.container_id}"


class StopSandbox(Instruction, frozen=True):
    sandbox_id: str

    @property
    def key(self) -> str:
        return f"stop-sandbox/{self.sandbox_id}"


class RemoveSandbox(Instruction, frozen=True):
    sandbox_id: str

    @property
    def key(self) -> str:
        return f"remove-sandbox/{self.sandbox_id}"


class ResizeContainer(Instruction, frozen=True):
    """Give the running container the resources of the pod's spec."""

    container: str
    container_id: str
    resources: api.ResourceRequirements

    @property
    def key(self) -> str:
        return f"resize/{self.container_id}"


class StartProbe(Instruction, frozen=True):
    container: str
    container_id: str
    kind: ProbeKind
    started_at: datetime
    ips: tuple[str, ...]


class StopProbe(Instruction, frozen=True):
    container: str
    container_id: str
    kind: ProbeKind


class ReportStatus(Instruction, frozen=True):
    status: api.PodStatus


class FinishDeletion(Instruction, frozen=True):
    """Delete the API object with grace 0 and the pod's uid as precondition, after the last status."""

    @property
    def key(self) -> str:
        return "finish-deletion"


class SetTimer(Instruction, frozen=True):
    """Send Tick at `at`; None takes the timer back. There is one timer for each pod."""

    at: datetime | None


class Relist(Instruction, frozen=True):
    """Look at the pod's part of the runtime again."""


class Note(Instruction, frozen=True):
    """Record an Event about the pod (or one of its containers)."""

    type: str
    reason: str
    message: str
    container: str = ""


class Forget(Instruction, frozen=True):
    """Nothing is left of the pod; drop its worker, its logs and its directory."""
