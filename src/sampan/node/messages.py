"""What can happen to a pod, and what can be ordered for it: the machine's events and instructions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from sampan.node.model import ProbeKind
from sampan.node.runtimes.runtime import Container, Sandbox
from sampan.schema import api

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


class DevicesSeen(Event, frozen=True):
    """How the devices are that the pod's containers have, by container."""

    devices: Mapping[str, tuple[api.ResourceStatus, ...]]


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
    """The node needs what the pod uses (`disruption`), or the pod uses more than it may."""

    reason: str
    message: str
    grace_s: int
    disruption: bool = False


# --- instructions -----------------------------------------------------------------------------------------


class Instruction(msgspec.Struct, frozen=True):
    """Something to do. Those with a `key` answer with Done or Failed under it; the others do not answer."""

    @property
    def key(self) -> str:
        return ""


class PrepareVolumes(Instruction, frozen=True):
    """Have ready what the pod's containers mount and which devices they use. Done has, by container, how
    these devices are.
    """

    @property
    def key(self) -> str:
        return "volumes"


class RemoveVolumes(Instruction, frozen=True):
    @property
    def key(self) -> str:
        return "volumes-remove"


class EnsureImage(Instruction, frozen=True):
    """Have the image, and those that the container mounts, in the runtime. Done has the `ImageReady`."""

    container: str
    image: str
    pull_policy: str

    @property
    def key(self) -> str:
        return f"image/{self.container}"


class ImageReady(msgspec.Struct, frozen=True):
    """`volumes`: what the image volumes that the container mounts were resolved to, by the volume's name."""

    reference: str
    volumes: Mapping[str, str] = msgspec.field(default_factory=dict)


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
    # The instance whose processes an ephemeral container is to see.
    target_id: str = ""

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
