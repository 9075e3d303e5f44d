"""The seam between the agent and what drivers give to pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sampan.node.drivers.edits import NONE, Edits
from sampan.schema import api


class PodResources(Protocol):
    """Devices of pods. Prepare and release are idempotent."""

    async def prepare(self, pod: api.Pod) -> None:
        """Have everything ready that the pod's containers will use. Raises RuntimeFailure and ApiError."""
        ...

    async def edits(self, pod: api.Pod, container: api.Container) -> Edits:
        """What one of its containers gets of that. Raises RuntimeFailure."""
        ...

    def health(self, pod: api.Pod) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        """By container, how the devices are that it has, as its status is to show them."""
        ...

    async def release(self, pod: api.Pod) -> None:
        """The pod's containers have ended: give everything back. Raises RuntimeFailure."""
        ...


class NoResources:
    """For simulated nodes: there are no drivers."""

    async def prepare(self, pod: api.Pod) -> None:
        return None

    async def edits(self, pod: api.Pod, container: api.Container) -> Edits:
        return NONE

    def health(self, pod: api.Pod) -> Mapping[str, tuple[api.ResourceStatus, ...]]:
        return {}

    async def release(self, pod: api.Pod) -> None:
        return None
