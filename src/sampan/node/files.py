"""The seam between the agent and the disk of a node: volumes, mounts, termination messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sampan.node.model import NodeFacts
from sampan.node.runtimes.runtime import Container, Mount
from sampan.schema import api


class PodFiles(Protocol):
    """What a pod has on the disk. Prepare and remove are idempotent."""

    async def prepare(self, pod: api.Pod, node: NodeFacts) -> None:
        """Make every volume that the pod mounts. Raises VolumeError."""
        ...

    async def mounts(
        self,
        pod: api.Pod,
        container: api.Container,
        attempt: int,
        env: Mapping[str, str],
        node: NodeFacts,
        pod_ips: tuple[str, ...],
    ) -> list[Mount]:
        """The mounts of one instance, with /etc/hosts and the termination log. Raises ConfigError."""
        ...

    def image_directory(self, pod: api.Pod, volume: api.Volume) -> str:
        """Where the files of an image volume are to be mounted."""
        ...

    def refresh(self, pod: api.Pod) -> None:
        """The pod's labels, annotations or spec changed: volumes that show them follow soon."""
        ...

    def termination_message(self, uid: str, container: Container) -> str:
        """What an exited container left as its last words."""
        ...

    async def remove(self, pod: api.Pod) -> None:
        """Unmount and delete the pod's volumes."""
        ...

    async def forget(self, pod: api.Pod) -> None:
        """Delete what is left of a pod: its directory and its logs."""
        ...


class NoFiles:
    """For simulated nodes: there is no disk."""

    async def prepare(self, pod: api.Pod, node: NodeFacts) -> None:
        return None

    async def mounts(
        self,
        pod: api.Pod,
        container: api.Container,
        attempt: int,
        env: Mapping[str, str],
        node: NodeFacts,
        pod_ips: tuple[str, ...],
    ) -> list[Mount]:
        return []

    def image_directory(self, pod: api.Pod, volume: api.Volume) -> str:
        return ""

    def refresh(self, pod: api.Pod) -> None:
        return None

    def termination_message(self, uid: str, container: Container) -> str:
        return container.message

    async def remove(self, pod: api.Pod) -> None:
        return None

    async def forget(self, pod: api.Pod) -> None:
        return None
